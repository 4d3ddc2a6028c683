//! What authenticates the pipe at Bitbucket's API. The step token does not: Bitbucket refuses it there.

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use crate::bitbucket::{INCIDENT, ReportError, send};
use crate::console::Console;
use crate::environment::Mistakes;
use crate::http::{Http, Request};

/// An access token this close to its end is fetched anew.
const MARGIN: Duration = Duration::from_secs(30);

/// One of the three kinds.
pub enum Credentials {
    /// `ATLASSIAN_ACCOUNT_EMAIL` and `ATLASSIAN_API_TOKEN`: Basic.
    ApiToken {
        /// The account.
        email: String,
        /// Its token.
        token: SecretString,
    },
    /// `BITBUCKET_ACCESS_TOKEN`: Bearer.
    AccessToken(SecretString),
    /// `BITBUCKET_CLIENT_ID` and `BITBUCKET_CLIENT_SECRET`: OAuth 2.0 client credentials.
    OAuth {
        /// The consumer's key.
        id: String,
        /// The consumer's secret.
        secret: SecretString,
        /// What was fetched last, and until when it is good.
        fetched: Mutex<Option<(SecretString, Instant)>>,
    },
}

#[derive(Deserialize)]
struct Fetched {
    access_token: SecretString,
    expires_in: u64,
}

impl Credentials {
    /// Takes the first kind that is given, in the order the official toolkit looks for them. Half a pair is a mistake.
    pub fn choose(
        mistakes: &mut Mistakes,
        api_token: (Option<String>, Option<SecretString>),
        access_token: Option<SecretString>,
        oauth: (Option<String>, Option<SecretString>),
    ) -> Option<Self> {
        let missing_half = "set both, or neither";
        let api_token = match api_token {
            (Some(email), Some(token)) => Some(Self::ApiToken { email, token }),
            (Some(_), None) => {
                mistakes.add(
                    "ATLASSIAN_API_TOKEN",
                    "is missing beside ATLASSIAN_ACCOUNT_EMAIL",
                    missing_half,
                );
                None
            }
            (None, Some(_)) => {
                mistakes.add(
                    "ATLASSIAN_ACCOUNT_EMAIL",
                    "is missing beside ATLASSIAN_API_TOKEN",
                    missing_half,
                );
                None
            }
            (None, None) => None,
        };
        let oauth = match oauth {
            (Some(id), Some(secret)) => Some(Self::OAuth {
                id,
                secret,
                fetched: Mutex::default(),
            }),
            (Some(_), None) => {
                mistakes.add(
                    "BITBUCKET_CLIENT_SECRET",
                    "is missing beside BITBUCKET_CLIENT_ID",
                    missing_half,
                );
                None
            }
            (None, Some(_)) => {
                mistakes.add(
                    "BITBUCKET_CLIENT_ID",
                    "is missing beside BITBUCKET_CLIENT_SECRET",
                    missing_half,
                );
                None
            }
            (None, None) => None,
        };
        api_token.or_else(|| access_token.map(Self::AccessToken)).or(oauth)
    }

    /// The variable a reader of the log would look for.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApiToken { .. } => "ATLASSIAN_API_TOKEN",
            Self::AccessToken(_) => "BITBUCKET_ACCESS_TOKEN",
            Self::OAuth { .. } => "BITBUCKET_CLIENT_ID",
        }
    }

    /// Forgets an access token that was fetched. False where there is none, so that a new try would be the same again.
    pub(crate) fn forget_fetched(&self) -> bool {
        match self {
            Self::OAuth { fetched, .. } => lock(fetched).take().is_some(),
            Self::ApiToken { .. } | Self::AccessToken(_) => false,
        }
    }

    /// Adds the credential to a request, fetching an OAuth access token where there is none that lives.
    pub(crate) async fn authorize(
        &self,
        request: Request,
        http: &Http,
        oauth_url: &str,
        budget: Duration,
        console: &Console,
    ) -> Result<Request, ReportError> {
        let value = match self {
            Self::ApiToken { email, token } => basic(email, token, console),
            Self::AccessToken(token) => format!("Bearer {}", token.expose_secret()),
            Self::OAuth { id, secret, fetched } => {
                let alive = lock(fetched)
                    .as_ref()
                    .filter(|(_, until)| Instant::now() + MARGIN < *until)
                    .map(|(token, _)| token.clone());
                let token = match alive {
                    Some(token) => token,
                    None => fetch(id, secret, fetched, http, oauth_url, budget, console).await?,
                };
                format!("Bearer {}", token.expose_secret())
            }
        };
        Ok(request.secret_header(AUTHORIZATION, &value))
    }
}

/// Source: <https://developer.atlassian.com/cloud/bitbucket/oauth-2/>
async fn fetch(
    id: &str,
    secret: &SecretString,
    fetched: &Mutex<Option<(SecretString, Instant)>>,
    http: &Http,
    oauth_url: &str,
    budget: Duration,
    console: &Console,
) -> Result<SecretString, ReportError> {
    let request = Request::new(Method::POST, oauth_url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .with_secret_answer()
        .secret_header(AUTHORIZATION, &basic(id, secret, console))
        .body(b"grant_type=client_credentials".to_vec());
    let taken = send(http, console, &request, budget, None).await.map_err(|error| {
        ReportError::new(
            format!("no access token for BITBUCKET_CLIENT_ID: {error}"),
            "Check BITBUCKET_CLIENT_ID and BITBUCKET_CLIENT_SECRET; the OAuth consumer must be private, with the \
                 scope `repository`",
        )
    })?;
    let Ok(Fetched {
        access_token,
        expires_in,
    }) = serde_json::from_slice(&taken.answer.body)
    else {
        return Err(ReportError::new(
            "Bitbucket's answer for BITBUCKET_CLIENT_ID is not an access token",
            INCIDENT,
        ));
    };
    console.hide(&access_token);
    let until = Instant::now() + Duration::from_secs(expires_in.min(24 * 3600));
    *lock(fetched) = Some((access_token.clone(), until));
    Ok(access_token)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The pair in base64 is masked like the password: it is what goes over the wire, and what an echo would encode once more.
fn basic(user: &str, password: &SecretString, console: &Console) -> String {
    let pair = SecretString::from(STANDARD.encode(format!("{user}:{}", password.expose_secret())));
    console.hide(&pair);
    format!("Basic {}", pair.expose_secret())
}
