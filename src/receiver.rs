//! One conversation with the receiver: every request proved anew, a nonce taken where one is asked for, the access token kept while it lives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, DATE, HeaderName, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use crate::console::Console;
use crate::http::{Answer, Http, NoAnswer, Request};
use crate::proof::{self, ProofFor};
use crate::random;
use crate::receiver_url::ReceiverUrl;
use crate::refusal::Refusal;
use crate::retry::{Again, retry_after};
use crate::step_key::StepKey;
use crate::step_token::in_words;

/// From here on, a difference between the clocks is worth a line; at 60 s the receiver refuses.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(20);
/// An access token this close to its end would die on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// The refusals below 500 that another try can mend.
const PASSING: [StatusCode; 3] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
];

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: &str = "dpop-nonce";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Why one try was not enough.
#[derive(Debug)]
pub enum TryError {
    /// Another try can succeed.
    Again {
        /// What happened.
        what: String,
        /// When to try.
        again: Again,
        /// Whether the receiver may have acted on this one.
        may_have_arrived: bool,
    },
    /// No other try can.
    NoAnswer(NoAnswer),
    /// The receiver said no.
    Refused(Box<Refusal>),
}

impl From<NoAnswer> for TryError {
    fn from(no_answer: NoAnswer) -> Self {
        if no_answer.transient {
            Self::Again {
                what: no_answer.what,
                again: Again::Later,
                may_have_arrived: no_answer.may_have_arrived,
            }
        } else {
            Self::NoAnswer(no_answer)
        }
    }
}

pub(crate) struct AccessToken {
    pub(crate) secret: SecretString,
    expires_at: Instant,
    used: bool,
}

impl AccessToken {
    pub(crate) fn new(secret: SecretString, expires_in: Duration) -> Self {
        Self {
            secret,
            expires_at: Instant::now() + expires_in,
            used: false,
        }
    }

    fn is_alive(&self) -> bool {
        Instant::now() + TOKEN_MARGIN < self.expires_at
    }
}

/// The receiver, as this run sees it.
pub struct Receiver {
    pub(crate) http: Http,
    pub(crate) url: ReceiverUrl,
    pub(crate) step_token: SecretString,
    pub(crate) scope: Option<String>,
    pub(crate) console: Arc<Console>,
    key: StepKey,
    trace_id: String,
    nonce: Option<String>,
    access_token: Option<AccessToken>,
    clock_compared: bool,
}

impl Receiver {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(
        http: Http,
        url: ReceiverUrl,
        step_token: SecretString,
        key: StepKey,
        scope: Option<String>,
        console: Arc<Console>,
    ) -> Self {
        Self {
            http,
            url,
            step_token,
            scope,
            console,
            key,
            trace_id: random::token::<16>(),
            nonce: None,
            access_token: None,
            clock_compared: false,
        }
    }

    /// Adds what every request to the receiver carries: the trace, and a proof made for this one try.
    pub(crate) fn proved(
        &self,
        request: &Request,
        access_token: Option<&SecretString>,
        content_digest: Option<&str>,
    ) -> Request {
        let proof = proof::sign(
            &self.key,
            &ProofFor {
                htm: request.method.as_str(),
                htu: &request.url,
                access_token,
                content_digest,
                nonce: self.nonce.as_deref(),
            },
        );
        self.console.hide_proof(&proof);
        let traceparent = format!("00-{}-{}-01", self.trace_id, random::token::<8>());
        let mut request = request
            .clone()
            .header(TRACEPARENT, &traceparent)
            .secret_header(DPOP, &proof);
        if let Some(token) = access_token {
            request = request.secret_header(AUTHORIZATION, &format!("DPoP {}", token.expose_secret()));
        }
        request
    }

    /// Proves and sends, and sorts the answer: a success, something to try again, or a refusal.
    pub(crate) async fn send(
        &mut self,
        request: &Request,
        access_token: Option<&SecretString>,
        content_digest: Option<&str>,
    ) -> Result<Answer, TryError> {
        let mut answer = self
            .http
            .send(&self.proved(request, access_token, content_digest))
            .await?;
        // RFC 9449, section 8: any answer may bring the next nonce, and a challenge is met at once, with a new proof.
        if self.learn_nonce(&answer) && asks_for_nonce(&answer) {
            answer = self
                .http
                .send(&self.proved(request, access_token, content_digest))
                .await?;
            self.learn_nonce(&answer);
        }
        self.compare_clocks(&answer);
        if answer.status.is_success() {
            return Ok(answer);
        }
        let refusal = Refusal::read(&answer);
        let again = match answer.status {
            // Something on the way sent the request twice. A new proof gets the receipt that the first one made.
            _ if refusal.code.as_deref() == Some("proof-replayed") => Again::Now,
            status if status.is_server_error() || PASSING.contains(&status) => {
                retry_after(&answer.headers, SystemTime::now()).map_or(Again::Later, Again::After)
            }
            _ => return Err(TryError::Refused(Box::new(refusal))),
        };
        Err(TryError::Again {
            what: format!("the answer was {} ({})", answer.status.as_u16(), refusal.summary()),
            again,
            // Whoever answered so, the receiver or something before it, may have done so after the event was taken.
            may_have_arrived: true,
        })
    }

    /// Whether the answer brought a nonce that is new.
    fn learn_nonce(&mut self, answer: &Answer) -> bool {
        let Some(nonce) = answer.headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let is_new = self.nonce.as_deref() != Some(nonce);
        self.nonce = Some(nonce.to_owned());
        is_new
    }

    /// A clock that is off is the commonest cause of refused proofs, and invisible from either side alone.
    fn compare_clocks(&mut self, answer: &Answer) {
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return;
        };
        if std::mem::replace(&mut self.clock_compared, true) {
            return;
        }
        let ours = SystemTime::now();
        let (difference, direction) = match ours.duration_since(theirs) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(behind) => (behind.duration(), "behind"),
        };
        if difference >= CLOCK_DIFFERENCE {
            self.console.warn(&format!(
                "this machine's clock is {} {direction} the receiver's; beyond 60 s it refuses proofs and timestamps",
                in_words(difference.as_secs())
            ));
        }
    }

    fn alive_token(&self) -> Option<SecretString> {
        self.access_token
            .as_ref()
            .filter(|token| token.is_alive())
            .map(|token| token.secret.clone())
    }

    pub(crate) fn keep_token(&mut self, token: AccessToken) {
        self.console.hide(&token.secret);
        self.access_token = Some(token);
    }

    /// An access token that lives: from before, or exchanged now.
    pub(crate) async fn access_token(&mut self) -> Result<SecretString, TryError> {
        match self.alive_token() {
            Some(token) => Ok(token),
            None => crate::exchange::exchange(self).await.map_err(TryError::before_sending),
        }
    }

    /// Sends a request with the access token. Where a receiver takes an older one no more, the next try gets a new one.
    pub(crate) async fn send_authorized(
        &mut self,
        request: &Request,
        content_digest: Option<&str>,
    ) -> Result<Answer, TryError> {
        let token = self.access_token().await?;
        let was_good = self
            .access_token
            .as_mut()
            .is_some_and(|token| std::mem::replace(&mut token.used, true));
        match self.send(request, Some(&token), content_digest).await {
            Err(TryError::Refused(refusal))
                if was_good && matches!(refusal.code.as_deref(), Some("token-expired" | "token-invalid")) =>
            {
                self.access_token = None;
                Err(TryError::Again {
                    what: format!("the access token is no longer good ({})", refusal.summary()),
                    again: Again::Now,
                    may_have_arrived: false,
                })
            }
            other => other,
        }
    }
}

/// `error="use_dpop_nonce"`: in the body at a token endpoint, in `WWW-Authenticate` elsewhere.
fn asks_for_nonce(answer: &Answer) -> bool {
    let challenge = answer
        .headers
        .get(WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok());
    let in_body = || serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["error"] == "use_dpop_nonce");
    matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        && (challenge.is_some_and(|challenge| challenge.contains("use_dpop_nonce")) || in_body())
}

impl TryError {
    /// The same, where what failed came before the request that matters.
    fn before_sending(self) -> Self {
        match self {
            Self::Again { what, again, .. } => Self::Again {
                what: format!("exchange: {what}"),
                again,
                may_have_arrived: false,
            },
            Self::NoAnswer(no_answer) => Self::NoAnswer(NoAnswer {
                may_have_arrived: false,
                ..no_answer
            }),
            Self::Refused(refusal) => Self::Refused(refusal),
        }
    }
}
