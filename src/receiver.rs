//! One conversation with the receiver: every request proved anew, a nonce taken where one is asked for, the access token kept while it lives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderName};
use secrecy::{ExposeSecret as _, SecretString};
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
}

impl AccessToken {
    pub(crate) fn new(secret: SecretString, expires_in: Duration) -> Self {
        Self {
            secret,
            expires_at: Instant::now() + expires_in,
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

    /// The W3C trace id of this run.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// Adds what every request to the receiver carries: the trace, and a proof made for this one try.
    pub(crate) fn proved(
        &self,
        request: Request,
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
        let traceparent = format!("00-{}-{}-01", self.trace_id, random::token::<8>());
        request.header(TRACEPARENT, &traceparent).secret_header(DPOP, &proof)
    }

    /// Sends, and sorts the answer: a success, something to try again, or a refusal.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer, TryError> {
        let answer = self.http.send(request).await?;
        self.compare_clocks(&answer);
        if answer.status.is_success() {
            return Ok(answer);
        }
        let refusal = Refusal::read(&answer);
        if self.takes_nonce(&answer) {
            return Err(TryError::Again {
                what: "the receiver asks for a DPoP nonce".to_owned(),
                again: Again::Now,
                may_have_arrived: false,
            });
        }
        match answer.status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {}
            status if status.is_server_error() => {}
            _ => return Err(TryError::Refused(Box::new(refusal))),
        }
        // With a code it is the receiver itself, which says so before it does anything; without, it is something in between.
        let may_have_arrived = refusal.code.is_none();
        Err(TryError::Again {
            what: format!("the answer was {} ({})", answer.status.as_u16(), refusal.summary()),
            again: retry_after(&answer.headers, SystemTime::now()).map_or(Again::Later, Again::After),
            may_have_arrived,
        })
    }

    /// RFC 9449, sections 8 and 9: `error="use_dpop_nonce"`, in the body at the token endpoint and in the header elsewhere.
    fn takes_nonce(&mut self, answer: &Answer) -> bool {
        if !matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return false;
        }
        let Some(nonce) = answer.headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let in_header = answer
            .headers
            .get(reqwest::header::WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("use_dpop_nonce"));
        let in_body = serde_json::from_slice::<serde_json::Value>(&answer.body)
            .is_ok_and(|body| body.get("error").and_then(serde_json::Value::as_str) == Some("use_dpop_nonce"));
        if in_header || in_body {
            self.nonce = Some(nonce.to_owned());
        }
        in_header || in_body
    }

    /// A clock that is off is the commonest cause of refused proofs, and invisible from either side alone.
    fn compare_clocks(&mut self, answer: &Answer) {
        if std::mem::replace(&mut self.clock_compared, true) {
            return;
        }
        let Some(theirs) = answer
            .headers
            .get(DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(|date| httpdate::parse_http_date(date).ok())
        else {
            return;
        };
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

    pub(crate) fn alive_token(&self) -> Option<SecretString> {
        self.access_token
            .as_ref()
            .filter(|token| token.is_alive())
            .map(|token| token.secret.clone())
    }

    pub(crate) fn keep_token(&mut self, token: AccessToken) {
        self.console.hide(&token.secret);
        self.access_token = Some(token);
    }

    pub(crate) fn drop_token(&mut self) {
        self.access_token = None;
    }

    /// An access token that lives, from before or exchanged now; and whether it is new.
    pub(crate) async fn access_token(&mut self) -> Result<(SecretString, bool), TryError> {
        if let Some(token) = self.alive_token() {
            return Ok((token, false));
        }
        Ok((crate::exchange::exchange(self).await?, true))
    }

    /// Sends a request with the access token. Where a receiver takes an older one no more, the next try gets a new one.
    pub(crate) async fn send_authorized(
        &mut self,
        request: Request,
        content_digest: Option<&str>,
    ) -> Result<Answer, TryError> {
        let (token, is_new) = self.access_token().await.map_err(TryError::before_sending)?;
        let request = self.proved(request, Some(&token), content_digest).secret_header(
            reqwest::header::AUTHORIZATION,
            &format!("DPoP {}", token.expose_secret()),
        );
        match self.send(&request).await {
            Err(TryError::Refused(refusal))
                if !is_new && matches!(refusal.code.as_deref(), Some("token-expired" | "token-invalid")) =>
            {
                self.drop_token();
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
