//! The one HTTP client: rustls with bundled roots, no redirects, no answer larger than it should be, and failures told apart.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Proxy, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::console::Console;
use crate::hosts_file;

/// No answer of this protocol comes near; a longer one is cut before it fills the memory.
const LARGEST_ANSWER: usize = 1024 * 1024;
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// A request, in the parts that are needed to send it again, to show it, or to print it as a command.
#[derive(Clone)]
pub struct Request {
    /// Such as `POST`.
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// In the order they are shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// Whether the answer carries a secret that nothing could mask yet: then its body is shown nowhere.
    pub answer_is_secret: bool,
}

impl Request {
    /// Without headers and body.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            answer_is_secret: false,
        }
    }

    /// Adds a header. A value that no header can have is left out: the receiver then says what it misses.
    #[must_use]
    pub fn header(mut self, name: impl Into<HeaderName>, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name.into(), value));
        }
        self
    }

    /// Adds a header whose value is shown nowhere.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<HeaderName>, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.push((name.into(), value));
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Marks the answer as one that carries a secret.
    #[must_use]
    pub fn with_secret_answer(mut self) -> Self {
        self.answer_is_secret = true;
        self
    }

    fn describe(&self) -> String {
        let mut text = format!("→ {} {}", self.method, self.url);
        for (name, value) in &self.headers {
            let _ = write!(text, "\n{name}: {}", shown(value));
        }
        describe_body(&mut text, &self.body);
        text
    }
}

/// A header's value as it may be shown.
#[must_use]
pub fn shown(value: &HeaderValue) -> &str {
    if value.is_sensitive() {
        crate::redaction::MASK
    } else {
        value.to_str().unwrap_or("(not text)")
    }
}

/// What came back, whole.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Answer {
    /// The media type without its parameters, in lower case.
    #[must_use]
    pub fn media_type(&self) -> String {
        self.headers
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// The content coding of the body, where it has one. The pipe asks for none.
    #[must_use]
    pub fn coding(&self) -> Option<&str> {
        let coding = self
            .headers
            .get(reqwest::header::CONTENT_ENCODING)?
            .to_str()
            .ok()?
            .trim();
        (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity")).then_some(coding)
    }

    /// Whether the body is some JSON by its media type.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let media_type = self.media_type();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    fn describe(&self, with_body: bool) -> String {
        let mut text = format!("← {}", self.status);
        for name in [
            "content-type",
            "retry-after",
            "www-authenticate",
            "location",
            "date",
            "dpop-nonce",
        ] {
            if let Some(value) = self.headers.get(name) {
                let _ = write!(text, "\n{name}: {}", value.to_str().unwrap_or("(not text)"));
            }
        }
        if with_body {
            describe_body(&mut text, &self.body);
        }
        text
    }
}

fn describe_body(text: &mut String, body: &[u8]) {
    if !body.is_empty() {
        let _ = write!(text, "\n{}", String::from_utf8_lossy(body));
    }
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct NoAnswer {
    /// What happened.
    pub what: String,
    /// What to do, where that is known.
    pub advice: Option<String>,
    /// Whether another try can succeed.
    pub transient: bool,
    /// Whether the other side may have got, and acted on, the request all the same.
    pub may_have_arrived: bool,
}

/// How to build a client.
#[derive(Clone)]
pub struct Options {
    /// For one request, from the connect to the last byte of the answer.
    pub timeout: Duration,
    /// Trusted beside the bundled roots.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// How the requests leave the machine.
    pub route: Route,
}

/// How requests leave the machine.
#[derive(Clone)]
pub enum Route {
    /// As `HTTPS_PROXY` and its kin say.
    Environment,
    /// Not at all: plain `http` to the machine itself must not be carried, in clear text, to a proxy elsewhere.
    Direct,
    /// All of them through this proxy.
    Proxy(String),
}

impl Route {
    /// The one for a URL that may be plain `http`.
    #[must_use]
    pub fn to(url: &str) -> Self {
        if url.starts_with("http:") {
            Self::Direct
        } else {
            Self::Environment
        }
    }
}

/// Sends requests and shows them at `DEBUG`.
pub struct Http {
    client: Client,
    timeout: Duration,
    console: Arc<Console>,
}

impl Http {
    /// Builds the client.
    ///
    /// # Errors
    /// A certificate of `CA_CERTIFICATE` that cannot be a root, or a proxy address that is none.
    pub fn new(options: &Options, console: Arc<Console>) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for certificate in &options.ca_certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("CA_CERTIFICATE holds a certificate that cannot be a root: {error}"))?;
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(connect_timeout(options.timeout))
            .timeout(options.timeout)
            .user_agent(concat!("fastapi-handoff/", env!("CARGO_PKG_VERSION")));
        match &options.route {
            Route::Environment => {}
            Route::Direct => builder = builder.no_proxy(),
            Route::Proxy(proxy) => {
                let proxy = Proxy::all(proxy).map_err(|_| "the proxy's address is not a URL".to_owned())?;
                builder = builder.proxy(proxy);
            }
        }
        for (name, addresses) in hosts_file::entries() {
            builder = builder.resolve_to_addrs(name, addresses);
        }
        let client = builder
            .build()
            .map_err(|error| format!("the HTTP client cannot be set up: {}", chain(&error)))?;
        Ok(Self {
            client,
            timeout: options.timeout,
            console,
        })
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn send(&self, request: &Request) -> Result<Answer, NoAnswer> {
        self.console.debug(|| request.describe());
        let answer = self.exchange(request).await;
        match &answer {
            Ok(answer) => self
                .console
                .debug(|| answer.describe(!(request.answer_is_secret && answer.status.is_success()))),
            Err(error) => self.console.debug(|| format!("← {error}")),
        }
        answer
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, NoAnswer> {
        let mut builder = self
            .client
            .request(request.method.clone(), &request.url)
            .headers(request.headers.iter().cloned().collect());
        if !request.body.is_empty() {
            builder = builder.body(request.body.clone());
        }
        let mut response = builder.send().await.map_err(|error| self.explain(&error, request))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.explain(&error, request))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(NoAnswer {
                    what: "the answer is larger than 1 MiB and was cut".to_owned(),
                    advice: Some("No receiver answers that much: check RECEIVER_URL".to_owned()),
                    transient: false,
                    may_have_arrived: true,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }

    fn explain(&self, error: &reqwest::Error, request: &Request) -> NoAnswer {
        if let Some(tls) = tls_error(error) {
            return explain_tls(tls, !error.is_connect());
        }
        let text = chain(error);
        let mut advice = None;
        let what = if error.is_dns() {
            let url = reqwest::Url::parse(&request.url).ok();
            let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("of the proxy");
            format!("the host name was not found (DNS): `{host}`, or the proxy's where there is one")
        } else if text.contains("tunnel error") || text.contains("proxy") {
            advice = Some("Let the proxy of HTTPS_PROXY connect to this host, or name the host in NO_PROXY".to_owned());
            format!("the proxy did not connect through: {text}")
        } else if error.is_timeout() && error.is_connect() {
            format!("no connection within {} s", connect_timeout(self.timeout).as_secs_f64())
        } else if error.is_timeout() {
            format!("no whole answer within {} s", self.timeout.as_secs())
        } else if error.is_connect() {
            format!("no connection: {text}")
        } else {
            if text.contains("invalid HTTP version") {
                advice = Some("The pipe speaks HTTP/1.1: check that the server at that port does, too".to_owned());
            }
            format!("the connection broke before the answer was whole: {text}")
        };
        NoAnswer {
            what,
            advice,
            // A request that cannot even be built will not get better, nor will a proxy that wants a password.
            transient: !error.is_builder() && !text.contains("proxy authorization required"),
            may_have_arrived: !error.is_connect() && !error.is_builder(),
        }
    }
}

/// Always less than the whole: a connection that never comes about must not look like an answer that does not.
fn connect_timeout(timeout: Duration) -> Duration {
    timeout.mul_f64(0.9).min(LONGEST_CONNECT)
}

/// `may_have_arrived` is false only where no connection came about: a record can also break while the answer is read.
fn explain_tls(error: &rustls::Error, may_have_arrived: bool) -> NoAnswer {
    use CertificateError as C;
    let (what, advice) = match error {
        rustls::Error::InvalidCertificate(
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. },
        ) => (
            "the server's certificate is not valid now (expired, or not valid yet)",
            "Renew the certificate of the server, or check the clocks",
        ),
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => (
            "the server's certificate is for another name",
            "Check the host in the URL, or what stands in front of the server",
        ),
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => (
            "the server's certificate is from an issuer that is not trusted",
            "If it is your own CA, give its certificate as CA_CERTIFICATE (PEM)",
        ),
        rustls::Error::InvalidCertificate(_) => (
            "the server's certificate is not acceptable",
            "Look at the certificate with `openssl s_client`",
        ),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => (
            "the server does not know the host name in the URL",
            "Check the host in the URL, or what stands in front of the server",
        ),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::CertificateRequired,
        ) => (
            "the server and the pipe have no TLS in common",
            "The pipe speaks TLS 1.2 and 1.3, and has no client certificate",
        ),
        // Once a connection stands, such a record is a fault on the way.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) if !may_have_arrived => (
            "the server does not speak TLS",
            "Check the port in the URL, and that TLS is on there",
        ),
        // An alert or a broken record can be a passing fault of the network.
        _ => {
            return NoAnswer {
                what: format!("TLS failed: {error}"),
                advice: None,
                transient: true,
                may_have_arrived,
            };
        }
    };
    NoAnswer {
        what: format!("{what}: {error}"),
        advice: Some(advice.to_owned()),
        transient: false,
        may_have_arrived,
    }
}

/// The TLS error below an error. `io::Error` hides what it wraps from `source`, so it is opened.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(tls) = tls_error(inner)
        {
            return Some(tls);
        }
        current = error.source();
    }
    None
}

/// The causes of an error in one line, without reqwest's own first line: that one repeats the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut current = error.source();
    while let Some(cause) = current {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        current = cause.source();
    }
    if causes.is_empty() {
        return "no cause given".to_owned();
    }
    causes.join(": ")
}
