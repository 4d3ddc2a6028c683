//! The step token for a short-lived access token bound to the step's key: RFC 8693 with RFC 9449.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::http::{Answer, NoAnswer, Request};
use crate::receiver::{AccessToken, Receiver, Setback, TryError};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What an `expires_in` may say at most before it is taken for nonsense.
const LONGEST_LIFETIME: u64 = 24 * 3600;

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    token_type: String,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

/// Exchanges the step token; the access token is kept in the receiver and returned.
pub(crate) async fn exchange(receiver: &mut Receiver) -> Result<SecretString, TryError> {
    let request = Request::new(Method::POST, receiver.url.token())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .with_secret_answer()
        .body(form(receiver).into_bytes());
    let answer = receiver.send(&request, None, None).await?;
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| no_token(&answer))?;
    if !granted.token_type.eq_ignore_ascii_case("DPoP") {
        // A bearer token would be good in anybody's hands: not what this pipe is for.
        return Err(TryError::NoAnswer(NoAnswer {
            what: "the token endpoint gave a token that is not bound to the pipe's key (`token_type` is not `DPoP`)"
                .to_owned(),
            advice: Some("Check that RECEIVER_URL is the handoff router of the app".to_owned()),
            transient: false,
            may_have_arrived: false,
        }));
    }
    let lifetime = granted.expires_in.min(LONGEST_LIFETIME);
    receiver.keep_token(AccessToken::new(
        granted.access_token.clone(),
        Duration::from_secs(lifetime),
    ));
    let line = format!("{} · for {lifetime} s · bound to this step's key", granted.scope);
    receiver.console.done("token", &receiver.console.clean_line(&line, 500));
    Ok(granted.access_token)
}

fn form(receiver: &Receiver) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", GRANT_TYPE)
        .append_pair("subject_token", receiver.step_token.expose_secret())
        .append_pair("subject_token_type", ID_TOKEN)
        .append_pair("requested_token_type", ACCESS_TOKEN)
        .append_pair("resource", receiver.url.as_str());
    if let Some(scope) = &receiver.scope {
        form.append_pair("scope", scope);
    }
    form.finish()
}

/// JSON that is no token answer can be a passing fault; anything else is no token endpoint.
fn no_token(answer: &Answer) -> TryError {
    let what = "the answer of the token endpoint is not a token".to_owned();
    if answer.is_json() {
        Setback::unreadable(answer, what).into()
    } else {
        TryError::NoAnswer(NoAnswer {
            what,
            advice: Some("Check that RECEIVER_URL is the URL where the app mounts the handoff router".to_owned()),
            transient: false,
            may_have_arrived: false,
        })
    }
}
