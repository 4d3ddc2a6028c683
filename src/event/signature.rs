//! What binds a body to its request: `Content-Digest` (RFC 9530) and the signature of Standard Webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::id::EventId;
use crate::crypto::{hmac_sha256, sha256};
use crate::settings::SigningSecret;

/// Return the value of `Content-Digest` for a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256(body)))
}

/// Return the value of `webhook-signature`: one entry for each secret, so that secrets can be rotated.
pub fn webhook_signature(secrets: &[SigningSecret], id: &EventId, timestamp: u64, body: &[u8]) -> String {
    let mut signed_content = format!("{id}.{timestamp}.").into_bytes();
    signed_content.extend_from_slice(body);
    secrets
        .iter()
        .map(|secret| {
            let mac = hmac_sha256(secret.expose_key(), &signed_content);
            format!("v1,{}", STANDARD.encode(mac))
        })
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
            &"msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
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
}
