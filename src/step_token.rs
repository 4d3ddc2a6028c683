//! What the step token says of itself, read without verifying it: only good for telling the user early what the receiver would refuse.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::receiver_url::ReceiverUrl;

/// The receiver's leeway (`docs/protocol.md`, Constants): what lies within is left to the receiver's clock.
const LEEWAY: u64 = 60;
/// The receiver takes no longer one.
const LONGEST: usize = 8 * 1024;

/// Claims of a step token whose signature nobody has checked.
/// Source: <https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// Always a list here; Bitbucket sends one text for the default audience and an array for custom ones.
    pub audiences: Vec<String>,
    /// Unix seconds.
    pub expires_at: u64,
    /// `{…}`
    pub workspace_uuid: String,
    /// `{…}`
    pub repository_uuid: String,
    /// Absent on some builds.
    pub branch_name: Option<String>,
    /// `{…}`; deployment steps only.
    pub environment_uuid: Option<String>,
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
    workspace_uuid: String,
    repository_uuid: String,
    branch_name: Option<String>,
    deployment_environment_uuid: Option<String>,
}

/// Why the step has no identity that the receiver could accept. The advice stands apart from what happened.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct IdentityError {
    /// What is wrong.
    pub what: String,
    /// What to do, over several lines.
    pub advice: String,
}

impl IdentityError {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
        }
    }
}

impl UnverifiedClaims {
    /// Reads the payload of a compact JWS.
    ///
    /// # Errors
    /// Says what the text is instead of a step token, never showing any of it.
    pub fn read(token: &SecretString) -> Result<Self, IdentityError> {
        let malformed = |why: &str| {
            IdentityError::new(
                format!("BITBUCKET_STEP_OIDC_TOKEN is not a step token: {why}"),
                "It is set by Pipelines where the step has `oidc:`; remove any variable of the same name",
            )
        };
        let text = token.expose_secret();
        if text.len() > LONGEST {
            return Err(malformed("it is longer than 8 KiB"));
        }
        let parts = text.split('.').collect::<Vec<_>>();
        let &[_, payload, _] = parts.as_slice() else {
            return Err(malformed("it does not have three parts"));
        };
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| malformed("its second part is not base64url"))?;
        // serde's own message could quote the payload.
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| malformed("its claims are not those of a Bitbucket step"))?;
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

    /// Finds what the receiver would refuse for certain.
    ///
    /// # Errors
    /// An expired token or one that was not made for this receiver, with what mends it.
    pub fn preflight(&self, receiver: &ReceiverUrl, now: SystemTime) -> Result<(), IdentityError> {
        if !self.audiences.iter().any(|audience| audience == receiver.as_str()) {
            return Err(IdentityError::new(
                format!(
                    "the step token is not made for this receiver: expected the audience `{receiver}`, got {}",
                    quoted(&self.audiences)
                ),
                audience_yaml(receiver, "Name the receiver as an audience of the step's token"),
            ));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now > self.expires_at.saturating_add(LEEWAY) {
            return Err(IdentityError::new(
                format!("the step token expired {} ago", in_words(now - self.expires_at)),
                "A step gets one token, at its start, and cannot get a second one: run the pipe in a step of its own, \
                 or before the long part of this one",
            ));
        }
        Ok(())
    }

    /// How long the token is still good.
    #[must_use]
    pub fn time_left(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Duration::from_secs(self.expires_at.saturating_sub(now))
    }
}

/// The step has no token at all.
#[must_use]
pub fn missing(receiver: &ReceiverUrl) -> IdentityError {
    IdentityError::new(
        "this step has no OIDC token (BITBUCKET_STEP_OIDC_TOKEN is not set)",
        audience_yaml(receiver, "Give the step one, made for the receiver"),
    )
}

fn audience_yaml(receiver: &ReceiverUrl, lead: &str) -> String {
    format!("{lead}, in bitbucket-pipelines.yml:\n\n- step:\n    oidc:\n      audiences:\n        - {receiver}\n")
}

fn quoted(texts: &[String]) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts
        .iter()
        .map(|text| format!("`{text}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `1 h 2 min`, `3 min 4 s`, `5 s`
#[must_use]
pub fn in_words(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        for audience in [
            r#""https://api.acme.dev/handoff""#,
            r#"["x","https://api.acme.dev/handoff"]"#,
        ] {
            claims(audience, 1000).preflight(&receiver, at(10)).unwrap();
        }
        let error = claims(r#""ari:cloud:bitbucket::workspace/w""#, 1000)
            .preflight(&receiver, at(10))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the step token is not made for this receiver: expected the audience `https://api.acme.dev/handoff`, \
             got `ari:cloud:bitbucket::workspace/w`"
        );
        assert!(
            error.advice.contains("        - https://api.acme.dev/handoff\n"),
            "{}",
            error.advice
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
                prop_assert!(!error.what.contains(&payload));
            }
        }
    }
}
