//! The DPoP proof of one request (RFC 9449): new for every try, since a receiver takes each `jti` once.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::step_key::StepKey;
use crate::crypto::{random_hex, sha256};

/// The request that a proof is for.
pub struct ProofFor<'a> {
    /// The method, upper case.
    pub htm: &'a str,
    /// The URL, without query and fragment.
    pub htu: &'a str,
    /// The access token that the request carries.
    pub access_token: Option<&'a SecretString>,
    /// The `Content-Digest` that the request carries.
    pub content_digest: Option<&'a str>,
    /// The nonce that the receiver asked for.
    pub nonce: Option<&'a str>,
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

/// Return the seconds since 1970 by this machine's clock.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Sign a proof with the step's key: a JWS in its compact form (RFC 7515, section 7.1).
///
/// # Panics
/// Where the operating system has no random numbers.
pub fn sign_proof(key: &StepKey, request: &ProofFor<'_>) -> String {
    let header =
        Header { typ: Some("dpop+jwt".to_owned()), jwk: Some(key.public().clone()), ..Header::new(Algorithm::ES256) };
    let claims = Claims {
        htm: request.htm,
        htu: request.htu,
        iat: unix_now(),
        jti: random_hex::<16>(),
        ath: request.access_token.map(|token| URL_SAFE_NO_PAD.encode(sha256(token.expose_secret().as_bytes()))),
        content_digest: request.content_digest,
        nonce: request.nonce,
    };
    jsonwebtoken::encode(&header, &claims, key.private()).expect("a key that was made or read can sign")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The receiver takes a header of exactly these members (`docs/protocol.md`, The proof).
    #[test]
    fn header_of_a_proof_holds_the_public_key_and_nothing_else() {
        let (key, _) = StepKey::load_or_create(None, &"token".into());
        let request =
            ProofFor { htm: "GET", htu: "https://a.b/c", access_token: None, content_digest: None, nonce: None };
        let proof = sign_proof(&key, &request);
        let header = URL_SAFE_NO_PAD.decode(proof.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let members = |value: &Value| {
            let mut names = value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            names.sort_unstable();
            names
        };
        assert_eq!(members(&header), ["alg", "jwk", "typ"]);
        assert_eq!(members(&header["jwk"]), ["crv", "kty", "x", "y"]);
        assert_eq!((&header["alg"], &header["typ"]), (&"ES256".into(), &"dpop+jwt".into()));
    }
}
