//! How a request shows who sends it: the seam for every way that a receiver, or a gateway in front of it, asks for.

use std::sync::Arc;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::console::Console;
use crate::http::{Answer, Request};
use crate::identity::{ProofFor, StepKey, sign_proof};

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: &str = "dpop-nonce";

/// What a request is authorized by, and what its authentication has to cover.
#[derive(Clone, Copy, Default)]
pub struct Authorization<'a> {
    /// Absent at the token endpoint.
    pub access_token: Option<&'a SecretString>,
    /// The value of `Content-Digest`, where the request has one.
    pub content_digest: Option<&'a str>,
}

/// What an answer asks of the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    None,
    /// The request was not acted on, but the same one, authenticated anew, can be.
    Again,
}

/// One way to authenticate requests. A gateway's own way is another implementation, applied after the receiver's.
pub trait Authenticate {
    /// Return the request with what authenticates it, made for this one try.
    fn authenticate(&self, request: Request, authorization: Authorization<'_>) -> Request;

    /// Learn from an answer what the next request has to show.
    fn learn(&mut self, answer: &Answer) -> Challenge;
}

/// A DPoP proof for each request, and the access token beside it (RFC 9449).
pub struct DpopProofs {
    key: StepKey,
    nonce: Option<String>,
    console: Arc<Console>,
}

impl DpopProofs {
    pub fn new(key: StepKey, console: Arc<Console>) -> Self {
        Self { key, nonce: None, console }
    }
}

impl Authenticate for DpopProofs {
    fn authenticate(&self, request: Request, authorization: Authorization<'_>) -> Request {
        let proof = sign_proof(
            &self.key,
            &ProofFor {
                htm: request.method.as_str(),
                htu: &request.url,
                access_token: authorization.access_token,
                content_digest: authorization.content_digest,
                nonce: self.nonce.as_deref(),
            },
        );
        self.console.hide_proof(&proof);
        let request = request.secret_header(DPOP, &proof);
        match authorization.access_token {
            Some(token) => request.secret_header(AUTHORIZATION, &format!("DPoP {}", token.expose_secret())),
            None => request,
        }
    }

    /// RFC 9449, section 8: any answer may bring the next nonce, and a challenge is met with a new proof.
    fn learn(&mut self, answer: &Answer) -> Challenge {
        let Some(nonce) = answer.headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok()) else {
            return Challenge::None;
        };
        let is_new = self.nonce.as_deref() != Some(nonce);
        self.nonce = Some(nonce.to_owned());
        if is_new && asks_for_nonce(answer) { Challenge::Again } else { Challenge::None }
    }
}

/// Return whether an answer says `use_dpop_nonce`: in the body at a token endpoint, in `WWW-Authenticate` elsewhere.
fn asks_for_nonce(answer: &Answer) -> bool {
    // A server that takes several schemes may give each a header of its own.
    let challenges = answer.headers.get_all(WWW_AUTHENTICATE);
    let in_header =
        challenges.iter().any(|challenge| challenge.to_str().is_ok_and(|text| text.contains("use_dpop_nonce")));
    let in_body = || serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["error"] == "use_dpop_nonce");
    matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) && (in_header || in_body())
}
