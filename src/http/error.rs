//! Why no answer came, and what that says of the request.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::retry::{Arrival, Next, When};

/// Why the HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    #[error("CA_CERTIFICATE holds a certificate that cannot be a root: {0}")]
    Root(#[source] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    #[error("the proxy's address is not a URL")]
    Proxy(#[source] reqwest::Error),
    #[error("the HTTP client cannot be set up: {}", causes(.0))]
    Client(#[source] reqwest::Error),
}

/// Why no whole answer came.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the host name was not found (DNS): `{host}`, or the proxy's where there is one")]
    Dns {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the proxy did not connect through: {}", causes(.0))]
    Proxy(#[source] reqwest::Error),
    #[error("no connection within {} s", limit.as_secs_f64())]
    ConnectTimeout {
        limit: Duration,
        #[source]
        source: reqwest::Error,
    },
    #[error("no whole answer within {} s", limit.as_secs())]
    AnswerTimeout {
        limit: Duration,
        #[source]
        source: reqwest::Error,
    },
    #[error("no connection: {}", causes(.0))]
    Connect(#[source] reqwest::Error),
    #[error("the connection broke before the answer was whole: {}", causes(.0))]
    Broken(#[source] reqwest::Error),
    /// A request that cannot be built, so no other try can succeed.
    #[error("the request cannot be sent: {}", causes(.0))]
    Request(#[source] reqwest::Error),
    #[error("{problem}: {}", tls_text(source))]
    Tls {
        problem: TlsProblem,
        /// Where a connection stood, the record may have broken while the answer was read.
        arrival: Arrival,
        #[source]
        source: reqwest::Error,
    },
    #[error("the answer is larger than 1 MiB and was cut")]
    TooLarge,
}

/// What is wrong between the pipe's TLS and the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    #[error("the server's certificate is not valid now (expired, or not valid yet)")]
    NotValidNow,
    #[error("the server's certificate is for another name")]
    OtherName,
    #[error("the server's certificate is from an issuer that is not trusted")]
    UnknownIssuer,
    #[error("the server's certificate is not acceptable")]
    Certificate,
    #[error("the server does not know the host name in the URL")]
    UnknownHost,
    #[error("the server and the pipe have no TLS in common")]
    Incompatible,
    #[error("the server does not speak TLS")]
    NoTls,
    /// An alert or a broken record, which can be a passing fault of the network.
    #[error("TLS failed")]
    Other,
}

impl HttpError {
    /// Sort an error of the client that came of a request to `url` under these limits.
    pub(super) fn new(source: reqwest::Error, url: &str, connect_timeout: Duration, timeout: Duration) -> Self {
        if let Some(tls) = tls_error(&source) {
            let arrival = if source.is_connect() { Arrival::Impossible } else { Arrival::Possible };
            let problem = TlsProblem::new(tls, arrival);
            return Self::Tls { problem, arrival, source };
        }
        let text = causes(&source);
        if source.is_dns() {
            let url = reqwest::Url::parse(url).ok();
            let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("of the proxy");
            Self::Dns { host: host.to_owned(), source }
        } else if text.contains("tunnel error") || text.contains("proxy") {
            Self::Proxy(source)
        } else if source.is_timeout() && source.is_connect() {
            let limit = connect_timeout;
            Self::ConnectTimeout { limit, source }
        } else if source.is_timeout() {
            Self::AnswerTimeout { limit: timeout, source }
        } else if source.is_connect() {
            Self::Connect(source)
        } else if source.is_builder() {
            Self::Request(source)
        } else {
            Self::Broken(source)
        }
    }

    /// Return whether the other side may have got, and acted on, the request all the same.
    pub fn arrival(&self) -> Arrival {
        match self {
            Self::Proxy(source) if !source.is_connect() && !source.is_builder() => Arrival::Possible,
            Self::AnswerTimeout { .. } | Self::Broken(_) | Self::TooLarge => Arrival::Possible,
            Self::Dns { .. } | Self::Proxy(_) | Self::ConnectTimeout { .. } | Self::Connect(_) | Self::Request(_) => {
                Arrival::Impossible
            }
            Self::Tls { arrival, .. } => *arrival,
        }
    }

    /// Return whether another try can succeed.
    pub fn next(&self) -> Next {
        let is_final = match self {
            Self::Request(_) | Self::TooLarge => true,
            // A proxy that wants a password wants it again.
            Self::Proxy(source) => source.is_builder() || causes(source).contains("proxy authorization required"),
            Self::Tls { problem, .. } => *problem != TlsProblem::Other,
            _ => false,
        };
        if is_final { Next::Final } else { Next::Retry(When::Later) }
    }

    /// Return whether the server answered in another version of HTTP than the pipe's.
    pub fn is_other_http_version(&self) -> bool {
        matches!(self, Self::Broken(source) if causes(source).contains("invalid HTTP version"))
    }
}

impl TlsProblem {
    fn new(error: &rustls::Error, arrival: Arrival) -> Self {
        use CertificateError as C;
        match error {
            rustls::Error::InvalidCertificate(
                C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. },
            ) => Self::NotValidNow,
            rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => Self::OtherName,
            rustls::Error::InvalidCertificate(C::UnknownIssuer) => Self::UnknownIssuer,
            rustls::Error::InvalidCertificate(_) => Self::Certificate,
            rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => Self::UnknownHost,
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::CertificateRequired,
            ) => Self::Incompatible,
            // Once a connection stands, such a record is a fault on the way.
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) if arrival == Arrival::Impossible => {
                Self::NoTls
            }
            _ => Self::Other,
        }
    }
}

/// Return the TLS error below an error. `io::Error` hides what it wraps from `source`, so it is opened.
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

fn tls_text(error: &reqwest::Error) -> String {
    tls_error(error).map_or_else(|| causes(error), ToString::to_string)
}

/// Return the causes of an error in one line, without the first: reqwest's own repeats the URL.
fn causes(error: &reqwest::Error) -> String {
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
