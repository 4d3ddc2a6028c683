//! The step's OIDC token, read without verifying it: only good for telling the user early what the receiver would refuse.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::console::in_words;
use crate::settings::{ReceiverUrl, Uuid};

/// The receiver's leeway (`docs/protocol.md`, Constants): within it, the receiver's clock decides.
const LEEWAY: u64 = 60;
/// The receiver refuses a longer token.
const LONGEST: usize = 8 * 1024;

/// Claims of a step token whose signature nobody has checked.
/// Source: <https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// Always a list here; Bitbucket sends one text for the default audience and an array for custom ones.
    pub audiences: Vec<String>,
    /// Unix seconds.
    pub expires_at: u64,
    pub workspace_uuid: Uuid,
    pub repository_uuid: Uuid,
    /// Absent on some builds.
    pub branch_name: Option<String>,
    /// Deployment steps only.
    pub environment_uuid: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    aud: Audience,
    exp: u64,
    workspace_uuid: Uuid,
    repository_uuid: Uuid,
    branch_name: Option<String>,
    deployment_environment_uuid: Option<Uuid>,
}

/// Why the step has no identity that the receiver could accept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this step has no OIDC token (BITBUCKET_STEP_OIDC_TOKEN is not set)")]
    Missing,
    /// Shows none of the token.
    #[error("BITBUCKET_STEP_OIDC_TOKEN is not a step token: {0}")]
    Malformed(&'static str),
    #[error("the step token is not made for this receiver: expected the audience `{expected}`, got {}", quoted(got))]
    WrongAudience { expected: ReceiverUrl, got: Vec<String> },
    #[error("the step token expired {} ago", in_words(*.seconds))]
    Expired { seconds: u64 },
}

impl UnverifiedClaims {
    /// Read the claims of a step token.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`].
    pub fn read(token: &SecretString) -> Result<Self, IdentityError> {
        let text = token.expose_secret();
        if text.len() > LONGEST {
            return Err(IdentityError::Malformed("it is longer than 8 KiB"));
        }
        if text.split('.').count() != 3 {
            return Err(IdentityError::Malformed("it does not have three parts"));
        }
        // The library's own message could quote the payload.
        let payload: Payload = insecure_decode_claims(text).map_err(|error| {
            IdentityError::Malformed(match error.kind() {
                ErrorKind::Base64(_) => "its second part is not base64url",
                _ => "its claims are not those of a Bitbucket step",
            })
        })?;
        Ok(Self {
            audiences: match payload.aud {
                Audience::One(audience) => vec![audience],
                Audience::Many(audiences) => audiences,
            },
            expires_at: payload.exp,
            workspace_uuid: payload.workspace_uuid,
            repository_uuid: payload.repository_uuid,
            branch_name: payload.branch_name,
            environment_uuid: payload.deployment_environment_uuid,
        })
    }

    /// Find what the receiver would refuse for certain.
    ///
    /// # Errors
    /// [`IdentityError::WrongAudience`] or [`IdentityError::Expired`].
    pub fn preflight(&self, receiver: &ReceiverUrl, now: SystemTime) -> Result<(), IdentityError> {
        if !self.audiences.iter().any(|audience| audience == receiver.as_str()) {
            return Err(IdentityError::WrongAudience { expected: receiver.clone(), got: self.audiences.clone() });
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now > self.expires_at.saturating_add(LEEWAY) {
            return Err(IdentityError::Expired { seconds: now - self.expires_at });
        }
        Ok(())
    }

    /// Return how long the token is still good.
    pub fn time_left(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Duration::from_secs(self.expires_at.saturating_sub(now))
    }
}

fn quoted(texts: &[String]) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn token(payload: &str) -> SecretString {
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(payload)).into()
    }

    fn claims(audience: &str, expires_at: u64) -> UnverifiedClaims {
        UnverifiedClaims::read(&token(&format!(
            r#"{{"aud":{audience},"exp":{expires_at},"workspaceUuid":"{{w}}","repositoryUuid":"{{r}}"}}"#
        )))
        .unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn audience_is_read_as_text_and_as_array() {
        let receiver = ReceiverUrl::parse("https://api.acme.dev/handoff").unwrap();
        for audience in [r#""https://api.acme.dev/handoff""#, r#"["x","https://api.acme.dev/handoff"]"#] {
            claims(audience, 1000).preflight(&receiver, at(10)).unwrap();
        }
        let error = claims(r#""ari:cloud:bitbucket::workspace/w""#, 1000).preflight(&receiver, at(10)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the step token is not made for this receiver: expected the audience `https://api.acme.dev/handoff`, \
             got `ari:cloud:bitbucket::workspace/w`"
        );
    }

    #[test]
    fn expiry_is_left_to_the_receiver_within_the_leeway() {
        let receiver = ReceiverUrl::parse("https://api.acme.dev/handoff").unwrap();
        let claims = claims(r#"["https://api.acme.dev/handoff"]"#, 1000);
        claims.preflight(&receiver, at(1060)).unwrap();
        let error = claims.preflight(&receiver, at(1061)).unwrap_err();
        assert_eq!(error.to_string(), "the step token expired 1 min 1 s ago");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_or_show_it(text in "\\PC{0,300}", payload in "\\PC{12,200}") {
            let _ = UnverifiedClaims::read(&text.into());
            if let Err(error) = UnverifiedClaims::read(&token(&payload)) {
                prop_assert!(!error.to_string().contains(&payload));
            }
        }
    }
}
