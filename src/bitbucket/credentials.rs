//! The credential as a header, with an OAuth access token fetched where the credential is a consumer's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::BitbucketError;
use crate::console::Console;
use crate::http::{Answer, Request};
use crate::settings::BitbucketCredentials;

/// An access token this close to its end is fetched anew.
const MARGIN: Duration = Duration::from_secs(30);
/// A longer `expires_in` is cut to this.
const LONGEST_LIFETIME: u64 = 24 * 3600;

/// A credential, and the access token that was fetched with it last.
pub(super) struct Authorizer {
    credentials: BitbucketCredentials,
    fetched: Mutex<Option<(SecretString, Instant)>>,
}

/// What a request needs before it can be authorized.
pub(super) enum Authorized {
    Ready(Request),
    /// Send this first, and give its answer to [`Authorizer::keep`].
    TokenNeeded(Request),
}

#[derive(Deserialize)]
struct Fetched {
    access_token: SecretString,
    expires_in: u64,
}

impl Authorizer {
    pub(super) fn new(credentials: BitbucketCredentials) -> Self {
        Self { credentials, fetched: Mutex::default() }
    }

    fn fetched(&self) -> MutexGuard<'_, Option<(SecretString, Instant)>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add the credential to a request.
    pub(super) fn authorize(&self, request: &Request, oauth_url: &str, console: &Console) -> Authorized {
        Authorized::Ready(match &self.credentials {
            BitbucketCredentials::ApiToken { email, token } => {
                let value = basic(email, token, console);
                request.clone().secret_header(AUTHORIZATION, &value)
            }
            BitbucketCredentials::AccessToken(token) => with_bearer(request, token),
            BitbucketCredentials::OAuthConsumer { id, secret } => {
                let fetched = self.fetched();
                let alive = fetched.as_ref().filter(|(_, until)| Instant::now() + MARGIN < *until);
                let Some((token, _)) = alive else {
                    return Authorized::TokenNeeded(token_request(id, secret, oauth_url, console));
                };
                with_bearer(request, token)
            }
        })
    }

    /// Keep the access token that came, and return it. One that is dead by its `expires_in` is good for this one request.
    pub(super) fn keep(&self, answer: &Answer, console: &Console) -> Result<SecretString, BitbucketError> {
        let fetched: Fetched = serde_json::from_slice(&answer.body).map_err(|_| BitbucketError::NotAnAccessToken)?;
        console.hide(&fetched.access_token);
        let until = Instant::now() + Duration::from_secs(fetched.expires_in.min(LONGEST_LIFETIME));
        *self.fetched() = Some((fetched.access_token.clone(), until));
        Ok(fetched.access_token)
    }

    /// Forget an access token that was fetched, and return whether there was one: without, a new try would be the same again.
    pub(super) fn forget(&self) -> bool {
        self.fetched().take().is_some()
    }
}

pub(super) fn with_bearer(request: &Request, token: &SecretString) -> Request {
    let value = format!("Bearer {}", token.expose_secret());
    request.clone().secret_header(AUTHORIZATION, &value)
}

/// Source: <https://developer.atlassian.com/cloud/bitbucket/oauth-2/>
fn token_request(id: &str, secret: &SecretString, oauth_url: &str, console: &Console) -> Request {
    Request::new(Method::POST, oauth_url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .with_secret_answer()
        .secret_header(AUTHORIZATION, &basic(id, secret, console))
        .body(b"grant_type=client_credentials".to_vec())
}

/// The pair in base64 is masked like the password: it is what goes over the wire, and what an echo would encode once more.
fn basic(user: &str, password: &SecretString, console: &Console) -> String {
    let pair = SecretString::from(STANDARD.encode(format!("{user}:{}", password.expose_secret())));
    console.hide(&pair);
    format!("Basic {}", pair.expose_secret())
}
