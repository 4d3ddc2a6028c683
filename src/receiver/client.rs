//! One conversation with the receiver: every request authenticated anew, the access token kept while it lives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderName};
use secrecy::SecretString;

use super::authentication::{Authenticate, Authorization, Challenge};
use super::error::TryError;
use super::marks::TraceId;
use super::refusal::Refusal;
use super::refusal_code::RefusalCode;
use super::token_exchange::{self, AccessToken};
use crate::console::{Console, in_words};
use crate::http::{Answer, Http, Request};
use crate::settings::ReceiverUrl;

/// From here on, a difference between the clocks is worth a line; at 60 s the receiver refuses.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(20);
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The receiver, as this run sees it.
pub struct Client {
    http: Http,
    pub(super) url: ReceiverUrl,
    pub(super) console: Arc<Console>,
    authenticator: Box<dyn Authenticate>,
    step_token: SecretString,
    scope: Option<String>,
    trace_id: TraceId,
    access_token: Option<AccessToken>,
    /// The access token of the last request, which may have been given up since.
    last_token: SecretString,
    /// Whether the receiver took `access_token` in an earlier request.
    was_taken: bool,
    /// Whether an access token was given up that the receiver had never taken.
    exchanged_anew: bool,
    clocks_compared: bool,
}

impl Client {
    pub fn new(
        http: Http,
        url: ReceiverUrl,
        step_token: SecretString,
        scope: Option<String>,
        authenticator: Box<dyn Authenticate>,
        console: Arc<Console>,
    ) -> Self {
        Self {
            http,
            url,
            console,
            authenticator,
            step_token,
            scope,
            trace_id: TraceId::random(),
            access_token: None,
            last_token: SecretString::default(),
            was_taken: false,
            exchanged_anew: false,
            clocks_compared: false,
        }
    }

    /// Return the request with what every request to the receiver carries: the trace, and its authentication.
    pub fn authenticated(&self, request: &Request, authorization: Authorization<'_>) -> Request {
        let request = request.clone().header(TRACEPARENT, &self.trace_id.traceparent());
        self.authenticator.authenticate(request, authorization)
    }

    /// Authenticate and send. What is not a success is an error.
    async fn send(&mut self, request: &Request, authorization: Authorization<'_>) -> Result<Answer, TryError> {
        let mut answer = self.http.send(&self.authenticated(request, authorization)).await?;
        if self.authenticator.learn(&answer) == Challenge::Again {
            let second = self.http.send(&self.authenticated(request, authorization)).await;
            answer = second.map_err(TryError::NoAnswerToSecondProof)?;
            self.authenticator.learn(&answer);
        }
        self.compare_clocks(&answer);
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(TryError::Refused(Box::new(Refusal::read(&answer, &self.trace_id))))
        }
    }

    /// Return an access token that lives: the one from before, or one exchanged now.
    pub(super) async fn access_token(&mut self) -> Result<SecretString, TryError> {
        if let Some(token) = self.access_token.as_ref().filter(|token| token.is_alive()) {
            return Ok(token.secret.clone());
        }
        let request = token_exchange::request(&self.url, &self.step_token, self.scope.as_deref());
        let exchanged = match self.send(&request, Authorization::default()).await {
            Ok(answer) => token_exchange::read(&answer).map_err(TryError::from),
            Err(error) => Err(error),
        };
        let token = exchanged.map_err(|error| TryError::Exchange(Box::new(error)))?;
        self.console.hide(&token.secret);
        let lifetime = token.lifetime.as_secs();
        let line = format!("{} · for {lifetime} s · bound to this step's key", token.scope);
        self.console.done("token", &self.console.clean_line(&line, 500));
        self.was_taken = false;
        Ok(self.access_token.insert(token).secret.clone())
    }

    /// Send a request with the access token. Where the receiver takes an older one no more, the next try gets a new one; so it
    /// does once where the receiver does not take a new one: its policy may have changed in between.
    pub(super) async fn send_authorized(
        &mut self,
        request: &Request,
        content_digest: Option<&str>,
    ) -> Result<Answer, TryError> {
        let token = self.access_token().await?;
        self.last_token = token.clone();
        let was_taken = std::mem::replace(&mut self.was_taken, true);
        let authorization = Authorization { access_token: Some(&token), content_digest };
        match self.send(request, authorization).await {
            Err(TryError::Refused(refusal)) if is_about_token(&refusal) && (was_taken || !self.exchanged_anew) => {
                self.exchanged_anew |= !was_taken;
                self.access_token = None;
                Err(TryError::TokenNoLongerGood(refusal))
            }
            other => other,
        }
    }

    /// Send a request with the access token of the last one: a replica may take it though another did not.
    pub(super) async fn send_with_last_token(&mut self, request: &Request) -> Result<Answer, TryError> {
        let token = self.last_token.clone();
        self.send(request, Authorization { access_token: Some(&token), content_digest: None }).await
    }

    /// Warn of a difference between the clocks: it is the commonest cause of refused proofs, and invisible from either
    /// side alone.
    fn compare_clocks(&mut self, answer: &Answer) {
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return;
        };
        if std::mem::replace(&mut self.clocks_compared, true) {
            return;
        }
        let (difference, direction) = match SystemTime::now().duration_since(theirs) {
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
}

fn is_about_token(refusal: &Refusal) -> bool {
    matches!(
        refusal.known_code(),
        Some(RefusalCode::TokenExpired | RefusalCode::TokenInvalid | RefusalCode::KeyMismatch)
    )
}
