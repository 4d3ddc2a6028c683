//! Telling the commit: which way, and that it hears the end on every path.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::bitbucket::credentials::Credentials;
use crate::bitbucket::{ReportError, insights, stable_key, status};
use crate::console::Console;
use crate::failure::Failure;
use crate::http::{Http, Options, Route};
use crate::pipeline::Pipeline;
use crate::receipt::{Anchor, Receipt, State};
use crate::variables::{ReportMode, Settings};

/// The first status is a courtesy: nobody waits for it longer than this.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(45);
/// How long Pipelines lets a stopped step live is not known.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(4);

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The handler succeeded.
    Succeeded,
    /// Anything else that came to its end.
    Failed,
    /// The pipe was stopped before.
    Stopped,
}

/// What is told.
pub struct Outcome {
    /// In one word.
    pub verdict: Verdict,
    /// `succeeded`, `refused`, `not delivered` …
    pub word: String,
    /// In one line, most important first.
    pub headline: String,
    /// The grant that let the event in.
    pub grant: Option<String>,
    /// The event.
    pub event_id: String,
    /// The record of the receiver's audit chain.
    pub audit: Option<Anchor>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// How often the event was sent.
    pub tries: u32,
    /// Since the pipe started.
    pub elapsed: Duration,
}

impl Outcome {
    /// From a final receipt.
    #[must_use]
    pub fn of_receipt(receipt: &Receipt) -> Self {
        let detail = receipt
            .detail
            .as_deref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let (verdict, word, headline) = match receipt.state {
            State::Succeeded => (Verdict::Succeeded, "succeeded", "The handler succeeded".to_owned()),
            State::Interrupted => (
                Verdict::Failed,
                "interrupted",
                format!("The handler was interrupted{detail}"),
            ),
            State::Failed | State::Running => (Verdict::Failed, "failed", format!("The handler failed{detail}")),
        };
        Self {
            grant: receipt.grant().map(str::to_owned),
            audit: receipt.audit.clone(),
            trace_id: receipt.trace_id.clone(),
            ..Self::plain(verdict, word, headline, &receipt.id)
        }
    }

    /// From a run that failed.
    #[must_use]
    pub fn of_failure(failure: &Failure, event_id: &str) -> Self {
        let (word, headline, refusal) = match failure {
            Failure::Refused(refusal) => ("refused", format!("Refused: {}", refusal.short()), Some(refusal)),
            Failure::NotDelivered(not) if not.outcome_unknown => (
                "outcome unknown",
                format!("Sent, but its outcome is not known: {}", not.what),
                not.refusal.as_ref(),
            ),
            Failure::NotDelivered(not) => (
                "not delivered",
                format!("Not delivered: {}", not.what),
                not.refusal.as_ref(),
            ),
        };
        Self {
            audit: refusal.and_then(|refusal| refusal.audit.clone()),
            trace_id: refusal.and_then(|refusal| refusal.trace_id.clone()),
            ..Self::plain(Verdict::Failed, word, headline, event_id)
        }
    }

    /// Without any answer of the receiver's.
    #[must_use]
    pub fn plain(verdict: Verdict, word: &str, headline: String, event_id: &str) -> Self {
        Self {
            verdict,
            word: word.to_owned(),
            headline,
            grant: None,
            event_id: event_id.to_owned(),
            audit: None,
            trace_id: None,
            tries: 0,
            elapsed: Duration::ZERO,
        }
    }
}

/// What every report says, whatever the outcome.
pub struct Reporting {
    pub(crate) api: String,
    pub(crate) oauth_url: String,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) pipeline: Pipeline,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) environment: Option<String>,
    pub(crate) console: Arc<Console>,
}

enum Way {
    Status,
    Insights,
    None,
}

/// Tells the commit.
pub struct Reporter {
    way: Way,
    must: bool,
    http: Http,
    options: Options,
    reporting: Reporting,
}

impl Reporter {
    /// Picks the way, and says which and why.
    ///
    /// # Errors
    /// An HTTP client that cannot be set up.
    pub fn choose(settings: &mut Settings, console: &Arc<Console>) -> Result<Self, String> {
        let credentials = settings.report.credentials.take();
        let (way, why) = match (settings.report.mode, &credentials) {
            (ReportMode::None, _) => (Way::None, "REPORT is none: the commit is not told".to_owned()),
            (ReportMode::Status, _) => (Way::Status, String::new()),
            (ReportMode::Insights, _) => (Way::Insights, String::new()),
            (ReportMode::Auto, Some(credentials)) => (
                Way::Status,
                format!("the commit gets a build status, with {}", credentials.name()),
            ),
            (ReportMode::Auto, None) => (
                Way::Insights,
                "the commit gets a Code Insights report: no credential for a build status is set".to_owned(),
            ),
        };
        if !why.is_empty() {
            console.info(&why);
        }
        let options = Options {
            timeout: settings.timeout,
            ca_certificates: settings.ca_certificates.clone(),
            route: match way {
                Way::Insights => Route::Proxy(settings.report.endpoints.proxy.clone()),
                Way::Status | Way::None => Route::to(&settings.report.endpoints.api),
            },
        };
        let http = Http::new(&options, console.clone())?;
        let key = settings
            .report
            .key
            .clone()
            .unwrap_or_else(|| stable_key(&settings.service, settings.environment.as_deref()));
        let name = settings
            .report
            .name
            .clone()
            .unwrap_or_else(|| match &settings.environment {
                Some(environment) => format!("Handoff: {} → {environment}", settings.service),
                None => format!("Handoff: {}", settings.service),
            });
        Ok(Self {
            way,
            must: settings.report.mode != ReportMode::Auto,
            http,
            options,
            reporting: Reporting {
                api: settings.report.endpoints.api.clone(),
                oauth_url: settings.report.endpoints.oauth.clone(),
                credentials,
                pipeline: settings.pipeline.clone(),
                key,
                name: console.clean_line(&name, 255),
                service: settings.service.clone(),
                environment: settings.environment.clone(),
                console: console.clone(),
            },
        })
    }

    /// Shows that the handoff is under way. A failure here says nothing that the end would not say again.
    /// False where the status may still be on its way, and so overtake the last one.
    pub async fn begin(&self) -> bool {
        let Way::Status = self.way else {
            return true;
        };
        let console = &self.reporting.console;
        match timeout(BEGIN_LIMIT, status::begin(&self.http, &self.reporting, BEGIN_LIMIT)).await {
            Ok(Ok(earlier_may_arrive)) => !earlier_may_arrive,
            Ok(Err(error)) => {
                console.debug(|| format!("INPROGRESS was not set: {error}"));
                !error.may_have_arrived
            }
            Err(_) => {
                console.debug(|| "INPROGRESS was not set: no answer in time".to_owned());
                false
            }
        }
    }

    /// Tells the outcome. False where it had to be told and was not.
    pub async fn end(&self, outcome: &Outcome) -> bool {
        self.end_within(limit(outcome), outcome).await
    }

    /// As [`Self::end`], in another time than is usual.
    pub async fn end_within(&self, limit: Duration, outcome: &Outcome) -> bool {
        self.end_through(&self.http, limit, outcome).await
    }

    /// As [`Self::end`], over connections of its own: for an event loop other than the one that drives the others.
    pub async fn end_apart(&self, outcome: &Outcome) -> bool {
        match Http::new(&self.options, self.reporting.console.clone()) {
            Ok(http) => self.end_through(&http, limit(outcome), outcome).await,
            Err(_) => false,
        }
    }

    async fn end_through(&self, http: &Http, limit: Duration, outcome: &Outcome) -> bool {
        let console = &self.reporting.console;
        let told = match self.way {
            Way::None => return true,
            Way::Status => timeout(limit, status::end(http, &self.reporting, outcome, limit)).await,
            Way::Insights => timeout(limit, insights::end(http, &self.reporting, outcome, limit)).await,
        };
        let (key, commit) = (&self.reporting.key, self.reporting.pipeline.short_commit());
        let error = match told {
            Ok(Ok(())) => {
                let line = match self.way {
                    Way::Insights => format!("report {key} on {commit}"),
                    Way::Status | Way::None => format!("{} on {commit}, key {key}", status::state(outcome.verdict)),
                };
                console.done("status", &line);
                return true;
            }
            Ok(Err(error)) => error,
            Err(_) => ReportError::silence(limit),
        };
        let line = console.clean_line(&format!("the commit was not told: {error}"), 1000);
        if self.must {
            console.fail(&line);
        } else {
            console.warn(&line);
        }
        console.plain(&error.advice);
        !self.must
    }
}

/// How long telling an outcome may take.
fn limit(outcome: &Outcome) -> Duration {
    if outcome.verdict == Verdict::Stopped {
        STOP_LIMIT
    } else {
        END_LIMIT
    }
}
