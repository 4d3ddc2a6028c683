//! Requests to Bitbucket's API: authorized, and sent until they are taken, refused, or the budget is used up.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::time::sleep;

use super::credentials::{Authorized, Authorizer, with_bearer};
use super::error::{BitbucketError, SendError};
use crate::console::Console;
use crate::http::{Answer, Arrival, Http, HttpSetupError, Next, Options, Request, Retry, Route, When};
use crate::settings::{BitbucketCredentials, Endpoints, StepContext};

/// The proxy of Pipelines expects plain HTTP and adds TLS and the credential itself.
const API_BEHIND_PROXY: &str = "http://api.bitbucket.org";

/// Bitbucket's API, as one credential sees it.
pub struct Api {
    http: Http,
    options: Options,
    base: String,
    oauth_url: String,
    access: Arc<Access>,
    console: Arc<Console>,
}

enum Access {
    Credentials(Authorizer),
    /// The proxy of Pipelines adds the credential.
    Proxy,
}

/// The members that an answer must have, and their values.
pub type Expected<'a> = &'a [(&'a str, &'a str)];

/// What Bitbucket took.
pub struct Taken {
    pub answer: Answer,
    /// Whether an earlier try got no answer of Bitbucket's, and so may arrive yet.
    pub earlier: Arrival,
}

impl Api {
    /// Send with a credential of the user's.
    pub fn with_credentials(
        credentials: BitbucketCredentials,
        endpoints: &Endpoints,
        timeout: Duration,
        ca_certificates: Vec<CertificateDer<'static>>,
        console: Arc<Console>,
    ) -> Result<Self, HttpSetupError> {
        Ok(Self {
            base: endpoints.api.clone(),
            oauth_url: endpoints.oauth.clone(),
            access: Arc::new(Access::Credentials(Authorizer::new(credentials))),
            ..Self::behind(Route::to(&endpoints.api), timeout, ca_certificates, console)?
        })
    }

    /// Send through the proxy of Pipelines, which authorizes what the step itself may do.
    pub fn behind_proxy(
        endpoints: &Endpoints,
        timeout: Duration,
        console: Arc<Console>,
    ) -> Result<Self, HttpSetupError> {
        Self::behind(Route::Proxy(endpoints.proxy.clone()), timeout, Vec::new(), console)
    }

    fn behind(
        route: Route,
        timeout: Duration,
        ca_certificates: Vec<CertificateDer<'static>>,
        console: Arc<Console>,
    ) -> Result<Self, HttpSetupError> {
        let options = Options { timeout, ca_certificates, route };
        Ok(Self {
            http: Http::new(&options, console.clone())?,
            options,
            base: API_BEHIND_PROXY.to_owned(),
            oauth_url: String::new(),
            access: Arc::new(Access::Proxy),
            console,
        })
    }

    /// Return the same with connections of its own: for another event loop than the one that drives those in use.
    pub fn reconnected(&self) -> Result<Self, HttpSetupError> {
        Ok(Self {
            http: Http::new(&self.options, self.console.clone())?,
            options: self.options.clone(),
            base: self.base.clone(),
            oauth_url: self.oauth_url.clone(),
            access: self.access.clone(),
            console: self.console.clone(),
        })
    }

    /// Return the URL of a resource of the step's commit. Names go through percent-encoding, so that none of them can lead
    /// to another resource.
    pub fn commit_url(&self, step: &StepContext, rest: &[&str]) -> String {
        let of_commit =
            ["2.0", "repositories", step.workspace.as_str(), step.repository.as_str(), "commit", step.commit.as_str()];
        of_commit.iter().chain(rest).fold(self.base.clone(), |url, segment| {
            // `form_urlencoded` leaves nothing that has a meaning in a path, but writes a space as `+`.
            let segment = form_urlencoded::byte_serialize(segment.as_bytes()).collect::<String>();
            format!("{url}/{}", segment.replace('+', "%20"))
        })
    }

    /// Send until Bitbucket takes the request, refuses it, or `budget` is used up. It took the request where its answer is
    /// JSON that has the members of `expected`: a page of something in between, or a stale answer to an earlier request,
    /// would else pass for a success.
    pub async fn send(&self, request: &Request, expected: Expected<'_>, budget: Duration) -> Result<Taken, SendError> {
        let Access::Credentials(authorizer) = self.access.as_ref() else {
            return self.send_authorized(request, expected, budget).await;
        };
        let mut before = Arrival::Impossible;
        let mut fetched_anew = false;
        loop {
            let ready = self.authorize(authorizer, request, budget).await?;
            match self.send_authorized(&ready, expected, budget).await {
                // An OAuth access token may die before the time that was said: one hour is documented, two are answered.
                Err(error) if is_unauthorized(&error) && !fetched_anew && authorizer.forget() => {
                    fetched_anew = true;
                    before = before.max(error.arrival);
                }
                Ok(taken) => {
                    let earlier = taken.earlier.max(before);
                    return Ok(Taken { earlier, ..taken });
                }
                Err(error) => {
                    let arrival = error.arrival.max(before);
                    return Err(SendError { arrival, ..error });
                }
            }
        }
    }

    /// Add the credential, fetching an OAuth access token first where there is none that lives.
    async fn authorize(
        &self,
        authorizer: &Authorizer,
        request: &Request,
        budget: Duration,
    ) -> Result<Request, BitbucketError> {
        let fetch = match authorizer.authorize(request, &self.oauth_url, &self.console) {
            Authorized::Ready(request) => return Ok(request),
            Authorized::TokenNeeded(fetch) => fetch,
        };
        let fetched = self.send_authorized(&fetch, &[], budget).await;
        let fetched = fetched.map_err(|error| BitbucketError::NoAccessToken(Box::new(error.error)))?;
        let token = authorizer.keep(&fetched.answer, &self.console)?;
        Ok(with_bearer(request, &token))
    }

    async fn send_authorized(
        &self,
        request: &Request,
        expected: Expected<'_>,
        budget: Duration,
    ) -> Result<Taken, SendError> {
        let mut retry = Retry::new(budget);
        let mut arrival = Arrival::Impossible;
        loop {
            let (error, next, this_arrival) = match self.http.send(request).await {
                Ok(answer) if answer.status.is_success() => {
                    if has(&answer, expected) {
                        return Ok(Taken { answer, earlier: arrival });
                    }
                    let error = BitbucketError::AnotherAnswer { status: answer.status.as_u16() };
                    (error, Next::Retry(When::Later), Arrival::Possible)
                }
                Ok(answer) => (BitbucketError::refused(&answer), answer.next(), arrival_of(answer.status)),
                // Where the proxy is not there, it will not come.
                Err(error) if matches!(*self.access, Access::Proxy) && error.arrival() == Arrival::Impossible => {
                    (BitbucketError::NoProxy(error), Next::Final, Arrival::Impossible)
                }
                Err(error) => {
                    let (next, arrival) = (error.next(), error.arrival());
                    (BitbucketError::NoAnswer(error), next, arrival)
                }
            };
            arrival = arrival.max(this_arrival);
            let wait = match next {
                Next::Retry(when) => retry.next_wait(when),
                Next::Final => None,
            };
            let Some(wait) = wait else {
                return Err(SendError { error, arrival });
            };
            let line = format!("telling the commit: {error}; next try in {:.1} s", wait.as_secs_f64());
            self.console.info(&self.console.clean_line(&line, 500));
            sleep(wait).await;
        }
    }
}

/// Return whether a request that was answered so may be taken yet: a gateway gives up waiting, and forwards it all the same.
fn arrival_of(status: StatusCode) -> Arrival {
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        Arrival::Possible
    } else {
        Arrival::Impossible
    }
}

fn has(answer: &Answer, expected: Expected<'_>) -> bool {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or(Value::Null);
    expected.iter().all(|(member, value)| body[*member] == *value)
}

fn is_unauthorized(error: &SendError) -> bool {
    let unauthorized = StatusCode::UNAUTHORIZED.as_u16();
    matches!(&error.error, BitbucketError::Refused { status, .. } if *status == unauthorized)
}
