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
use crate::retry::{Again, is_passing, retry_after};
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
    Again(Setback),
    /// No other try can.
    NoAnswer(NoAnswer),
    /// The receiver said no.
    Refused(Box<Refusal>),
}

/// A try that failed, where another one can succeed.
#[derive(Debug)]
pub struct Setback {
    /// What happened.
    pub what: String,
    /// When to try again.
    pub again: Again,
    /// Whether the receiver may have acted on this try.
    pub may_have_arrived: bool,
    /// What to do should there be no other try, where that is known.
    pub advice: Option<String>,
    /// The answer, where there was one: it explains more.
    pub refusal: Option<Box<Refusal>>,
}

impl Setback {
    /// Without advice.
    pub(crate) fn new(what: impl Into<String>, again: Again, may_have_arrived: bool) -> Self {
        Self {
            what: what.into(),
            again,
            may_have_arrived,
            advice: None,
            refusal: None,
        }
    }
}

impl Setback {
    /// A success that cannot be read.
    pub(crate) fn unreadable(answer: &Answer, what: String) -> Self {
        let Some(coding) = answer.coding() else {
            return Self::new(what, Again::Later, true);
        };
        Self {
            advice: Some(
                "Something in front of the app compresses answers though the pipe does not ask for it: switch that off for RECEIVER_URL"
                    .to_owned(),
            ),
            ..Self::new(format!("the answer is compressed (`{coding}`)"), Again::Later, true)
        }
    }
}

impl From<Setback> for TryError {
    fn from(setback: Setback) -> Self {
        Self::Again(setback)
    }
}

impl From<NoAnswer> for TryError {
    fn from(no_answer: NoAnswer) -> Self {
        if no_answer.transient {
            Self::Again(Setback {
                advice: no_answer.advice,
                ..Setback::new(no_answer.what, Again::Later, no_answer.may_have_arrived)
            })
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
            status if is_passing(status) => {
                retry_after(&answer.headers, SystemTime::now()).map_or(Again::Later, Again::After)
            }
            _ => return Err(TryError::Refused(Box::new(refusal))),
        };
        // Whoever answered so, the receiver or something before it, may have done so after the event was taken.
        let what = format!("the answer was {} ({})", answer.status.as_u16(), refusal.summary());
        Err(TryError::Again(Setback {
            refusal: Some(Box::new(refusal)),
            ..Setback::new(what, again, true)
        }))
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
                let what = format!("the access token is no longer good ({})", refusal.summary());
                Err(TryError::Again(Setback {
                    refusal: Some(refusal),
                    ..Setback::new(what, Again::Now, false)
                }))
            }
            other => other,
        }
    }
}

/// `error="use_dpop_nonce"`: in the body at a token endpoint, in `WWW-Authenticate` elsewhere.
fn asks_for_nonce(answer: &Answer) -> bool {
    // A server that takes several schemes may give each a header of its own.
    let challenges = answer.headers.get_all(WWW_AUTHENTICATE);
    let in_header = challenges
        .iter()
        .any(|challenge| challenge.to_str().is_ok_and(|text| text.contains("use_dpop_nonce")));
    let in_body = || serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["error"] == "use_dpop_nonce");
    matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) && (in_header || in_body())
}

impl TryError {
    /// The same, where what failed came before the request that matters.
    fn before_sending(self) -> Self {
        match self {
            Self::Again(setback) => Self::Again(Setback {
                what: format!("exchange: {}", setback.what),
                may_have_arrived: false,
                ..setback
            }),
            Self::NoAnswer(no_answer) => Self::NoAnswer(NoAnswer {
                may_have_arrived: false,
                ..no_answer
            }),
            Self::Refused(refusal) => Self::Refused(refusal),
        }
    }
}
