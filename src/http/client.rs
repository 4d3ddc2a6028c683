//! The one HTTP client: rustls with bundled roots, no redirects, and no answer larger than it should be.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Proxy, redirect};
use rustls::pki_types::CertificateDer;

use super::error::{HttpError, HttpSetupError};
use super::hosts;
use super::message::{Answer, Request};
use crate::console::Console;

/// No answer of this protocol comes near; a longer one is cut before it fills the memory.
const LARGEST_ANSWER: usize = 1024 * 1024;
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

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
    /// As HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
    Environment,
    /// Through no proxy: plain `http` to the machine itself must not be carried in clear text to a proxy elsewhere.
    Direct,
    /// All of them through this proxy.
    Proxy(String),
}

impl Route {
    /// Return the route to a URL that may be plain `http`.
    pub fn to(url: &str) -> Self {
        if url.starts_with("http:") { Self::Direct } else { Self::Environment }
    }
}

/// Sends requests and shows them at `DEBUG`.
pub struct Http {
    client: Client,
    connect_timeout: Duration,
    timeout: Duration,
    console: Arc<Console>,
}

impl Http {
    /// Build the client.
    pub fn new(options: &Options, console: Arc<Console>) -> Result<Self, HttpSetupError> {
        // Always less than the whole: a connection that never comes about must not look like an answer that does not.
        let connect_timeout = options.timeout.mul_f64(0.9).min(LONGEST_CONNECT);
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in &options.ca_certificates {
            roots.add(certificate.clone()).map_err(HttpSetupError::Root)?;
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(HttpSetupError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(connect_timeout)
            .timeout(options.timeout)
            .user_agent(concat!("fastapi-handoff/", env!("CARGO_PKG_VERSION")));
        match &options.route {
            Route::Environment => {}
            Route::Direct => builder = builder.no_proxy(),
            Route::Proxy(proxy) => {
                let proxy = Proxy::all(proxy).map_err(HttpSetupError::Proxy)?;
                builder = builder.proxy(proxy);
            }
        }
        for (name, addresses) in hosts::entries() {
            builder = builder.resolve_to_addrs(name, addresses);
        }
        let client = builder.build().map_err(HttpSetupError::Client)?;
        Ok(Self { client, connect_timeout, timeout: options.timeout, console })
    }

    /// Send a request and read the whole answer, whatever its status.
    pub async fn send(&self, request: &Request) -> Result<Answer, HttpError> {
        self.console.debug(|| request.describe());
        let answer = self.exchange(request).await;
        match &answer {
            Ok(answer) => self.console.debug(|| answer.describe(request)),
            Err(error) => self.console.debug(|| format!("← {error}")),
        }
        answer
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, HttpError> {
        let mut builder = self
            .client
            .request(request.method.clone(), &request.url)
            .headers(request.headers.iter().cloned().collect());
        if !request.body.is_empty() {
            builder = builder.body(request.body.clone());
        }
        let explain = |error| HttpError::new(error, &request.url, self.connect_timeout, self.timeout);
        let mut response = builder.send().await.map_err(explain)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }
}
