//! The exchange of the step token for a short-lived access token bound to the step's key: RFC 8693 with RFC 9449.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::AnswerError;
use crate::http::{Answer, Next, Request, When};
use crate::settings::ReceiverUrl;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// A longer `expires_in` is cut to this.
const LONGEST_LIFETIME: u64 = 24 * 3600;
/// An access token this close to its end could expire on the way.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    token_type: String,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

/// An access token, and how long it is good.
pub(super) struct AccessToken {
    pub(super) secret: SecretString,
    /// Scopes separated by a space, as the receiver granted them.
    pub(super) scope: String,
    pub(super) lifetime: Duration,
    expires_at: Instant,
}

impl AccessToken {
    pub(super) fn is_alive(&self) -> bool {
        Instant::now() + MARGIN < self.expires_at
    }
}

/// Return the request that exchanges the step token.
pub(super) fn request(url: &ReceiverUrl, step_token: &SecretString, scope: Option<&str>) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", GRANT_TYPE)
        .append_pair("subject_token", step_token.expose_secret())
        .append_pair("subject_token_type", ID_TOKEN)
        .append_pair("requested_token_type", ACCESS_TOKEN)
        .append_pair("resource", url.as_str());
    if let Some(scope) = scope {
        form.append_pair("scope", scope);
    }
    Request::new(Method::POST, url.token())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .with_secret_answer()
        .body(form.finish().into_bytes())
}

/// Read the access token out of a success.
pub(super) fn read(answer: &Answer) -> Result<AccessToken, AnswerError> {
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| no_token(answer))?;
    if !granted.token_type.eq_ignore_ascii_case("DPoP") {
        // A bearer token would be good in anybody's hands: not what this pipe is for.
        return Err(AnswerError::TokenNotBound);
    }
    let lifetime = Duration::from_secs(granted.expires_in.min(LONGEST_LIFETIME));
    Ok(AccessToken {
        secret: granted.access_token,
        scope: granted.scope,
        lifetime,
        expires_at: Instant::now() + lifetime,
    })
}

/// JSON that is no token answer can be a passing fault; anything else does not come from a token endpoint.
fn no_token(answer: &Answer) -> AnswerError {
    if answer.is_json() {
        AnswerError::unreadable(answer, AnswerError::NotAToken(Next::Retry(When::Later)))
    } else {
        AnswerError::NotAToken(Next::Final)
    }
}
