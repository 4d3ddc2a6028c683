//! `SIGNING_SECRET`: a secret of Standard Webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

/// A key of 24 to 64 bytes, as the specification asks.
/// Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
#[derive(Clone)]
pub struct SigningSecret(SecretSlice<u8>);

impl SigningSecret {
    /// Read `whsec_<base64>`.
    ///
    /// # Errors
    /// Says what is wrong with the text, showing none of it.
    pub fn parse(text: &SecretString) -> Result<Self, &'static str> {
        let encoded = text.expose_secret().strip_prefix("whsec_").ok_or("does not start with `whsec_`")?;
        let key = STANDARD.decode(encoded).map_err(|_| "is not base64 after `whsec_`")?;
        if (24..=64).contains(&key.len()) {
            Ok(Self(SecretSlice::from(key)))
        } else {
            Err("is not 24 to 64 bytes long")
        }
    }

    /// Return the bytes to sign with.
    pub fn expose_key(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_signing_secret_is_refused() {
        for text in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%", "whsec_c2hvcnQ="] {
            assert!(SigningSecret::parse(&text.into()).is_err(), "{text}");
        }
    }
}
