//! A request, and the whole answer to it.

use std::fmt::Write as _;
use std::time::SystemTime;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use super::retry::{Next, When, is_passing, retry_after};
use crate::console::MASK;

/// Whether the body of a success may be shown at `DEBUG`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerBody {
    Shown,
    /// It carries a secret that nothing could mask yet.
    Secret,
}

/// A request, in the parts that are needed to send it again, to show it, or to print it as a command.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// In the order they are shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty for none.
    pub body: Vec<u8>,
    answer: AnswerBody,
}

impl Request {
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new(), answer: AnswerBody::Shown }
    }

    /// Add a header. A value that no header can have is left out: the receiver then says what it misses.
    #[must_use]
    pub fn header(mut self, name: impl Into<HeaderName>, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name.into(), value));
        }
        self
    }

    /// Add a header whose value is shown nowhere.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<HeaderName>, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.push((name.into(), value));
        }
        self
    }

    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Mark the answer as one that carries a secret.
    #[must_use]
    pub fn with_secret_answer(mut self) -> Self {
        self.answer = AnswerBody::Secret;
        self
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("→ {} {}", self.method, self.url);
        for (name, value) in &self.headers {
            let _ = write!(text, "\n{name}: {}", shown(value));
        }
        describe_body(&mut text, &self.body);
        text
    }
}

/// Return a header's value as it may be shown.
pub(super) fn shown(value: &HeaderValue) -> &str {
    if value.is_sensitive() { MASK } else { value.to_str().unwrap_or("(not text)") }
}

/// What came back, whole and whatever its status.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Answer {
    /// Return the media type without its parameters, in lower case.
    pub fn media_type(&self) -> String {
        self.headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// Return the content coding of the body, where it has one. The pipe asks for none.
    pub fn coding(&self) -> Option<&str> {
        let coding = self.headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
        (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity")).then_some(coding)
    }

    /// Return whether the body is some JSON by its media type.
    pub fn is_json(&self) -> bool {
        let media_type = self.media_type();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    /// Return whether the same request, sent again, may get another answer than this refusal or fault.
    pub fn next(&self) -> Next {
        if is_passing(self.status) {
            let wait = retry_after(&self.headers, SystemTime::now());
            Next::Retry(wait.map_or(When::Later, When::After))
        } else {
            Next::Final
        }
    }

    pub(super) fn describe(&self, request: &Request) -> String {
        let mut text = format!("← {}", self.status);
        for name in ["content-type", "retry-after", "www-authenticate", "location", "date", "dpop-nonce"] {
            if let Some(value) = self.headers.get(name) {
                let _ = write!(text, "\n{name}: {}", value.to_str().unwrap_or("(not text)"));
            }
        }
        if !(self.status.is_success() && request.answer == AnswerBody::Secret) {
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
