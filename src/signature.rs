//! What binds a body to its request: `Content-Digest` (RFC 9530) and the Standard Webhooks signature.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// The value of `Content-Digest` for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256(body)))
}

/// A Standard Webhooks secret. Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
#[derive(Clone)]
pub struct SigningSecret(SecretSlice<u8>);

impl SigningSecret {
    /// Reads `whsec_<base64>`: 24 to 64 bytes, as the specification asks.
    pub fn parse(text: &SecretString) -> Result<Self, &'static str> {
        let encoded = text
            .expose_secret()
            .strip_prefix("whsec_")
            .ok_or("does not start with `whsec_`")?;
        let key = STANDARD.decode(encoded).map_err(|_| "is not base64 after `whsec_`")?;
        let key = SecretSlice::from(key);
        if (24..=64).contains(&key.expose_secret().len()) {
            Ok(Self(key))
        } else {
            Err("is not 24 to 64 bytes long")
        }
    }

    fn sign(&self, signed_content: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret());
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed_content)))
    }
}

/// The value of `webhook-signature`: one entry for each secret, so that secrets can be rotated.
#[must_use]
pub fn webhook_signature(secrets: &[SigningSecret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut signed_content = format!("{id}.{timestamp}.").into_bytes();
    signed_content.extend_from_slice(body);
    secrets
        .iter()
        .map(|secret| secret.sign(&signed_content))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_equals_the_vector_of_standard_webhooks() {
        let secret = SigningSecret::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        let signature = webhook_signature(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn content_digest_equals_the_vector_of_rfc_9530() {
        assert_eq!(
            content_digest(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
    }

    #[test]
    fn malformed_signing_secret_is_refused() {
        for text in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%", "whsec_c2hvcnQ="] {
            assert!(SigningSecret::parse(&text.into()).is_err(), "{text}");
        }
    }
}
