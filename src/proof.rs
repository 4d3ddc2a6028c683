//! The DPoP proof of one request (RFC 9449): new for every try, since a receiver takes each `jti` once.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::random;
use crate::signature::sha256;
use crate::step_key::{PublicJwk, StepKey};

/// What a proof is for.
pub struct ProofFor<'a> {
    /// The method, upper case.
    pub htm: &'a str,
    /// The URL, without query and fragment.
    pub htu: &'a str,
    /// The access token the request carries.
    pub access_token: Option<&'a SecretString>,
    /// The `Content-Digest` the request carries.
    pub content_digest: Option<&'a str>,
    /// The nonce the receiver asked for.
    pub nonce: Option<&'a str>,
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    jwk: &'a PublicJwk,
}

#[derive(Serialize)]
struct Claims<'a> {
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Seconds since 1970 by this machine's clock.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Signs a proof with the step's key: a JWS in its compact form (RFC 7515, section 7.1).
///
/// # Panics
/// Where the operating system has no random numbers.
#[must_use]
pub fn sign(key: &StepKey, purpose: &ProofFor<'_>) -> String {
    let header = Header {
        typ: "dpop+jwt",
        alg: "ES256",
        jwk: key.public(),
    };
    let claims = Claims {
        htm: purpose.htm,
        htu: purpose.htu,
        iat: unix_now(),
        jti: random::token::<16>(),
        ath: purpose
            .access_token
            .map(|token| URL_SAFE_NO_PAD.encode(sha256(token.expose_secret().as_bytes()))),
        content_digest: purpose.content_digest,
        nonce: purpose.nonce,
    };
    let mut jws = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = key.sign(jws.as_bytes());
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
    jws
}

fn encoded(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("text and numbers always serialise"))
}
