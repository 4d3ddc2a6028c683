//! Telling the commit: which way, and that it hears the end on every path.

use std::sync::Arc;
use std::time::Duration;

use crate::bitbucket::credentials::Credentials;
use crate::bitbucket::{ReportError, insights, stable_key, status};
use crate::console::Console;
use crate::failure::Failure;
use crate::http::{Http, Options};
use crate::pipeline::Pipeline;
use crate::receipt::{Anchor, Receipt, State};
use crate::variables::{ReportMode, Settings};

/// How long the first status may be tried: the last one waits for it, or it could overtake.
const BEGIN_BUDGET: Duration = Duration::from_secs(5);
const END_BUDGET: Duration = Duration::from_mins(1);
/// How long Pipelines lets a stopped step live is not known.
const STOP_BUDGET: Duration = Duration::from_secs(3);

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
    pub fn of_receipt(receipt: &Receipt, tries: u32) -> Self {
        let (verdict, word) = match receipt.state {
            State::Succeeded => (Verdict::Succeeded, "succeeded"),
            State::Interrupted => (Verdict::Failed, "interrupted"),
            State::Failed | State::Running => (Verdict::Failed, "failed"),
        };
        let headline = match (receipt.state, &receipt.detail) {
            (State::Succeeded, _) => "The handler succeeded".to_owned(),
            (_, Some(detail)) => format!(
                "The handler {}: {detail}",
                if word == "interrupted" { "was interrupted" } else { word }
            ),
            (State::Interrupted, None) => "The handler was interrupted".to_owned(),
            (_, None) => "The handler failed".to_owned(),
        };
        Self {
            verdict,
            word: word.to_owned(),
            headline,
            grant: receipt.grant().map(str::to_owned),
            event_id: receipt.id.clone(),
            audit: receipt.audit.clone(),
            trace_id: receipt.trace_id.clone(),
            tries,
            elapsed: Duration::ZERO,
        }
    }

    /// From a run that failed.
    #[must_use]
    pub fn of_failure(failure: &Failure, event_id: &str) -> Self {
        let mut outcome = Self::plain(Verdict::Failed, "", String::new(), event_id);
        match failure {
            Failure::Refused(refusal) => {
                "refused".clone_into(&mut outcome.word);
                outcome.headline = format!("Refused: {}", refusal.short());
                outcome.audit.clone_from(&refusal.audit);
                outcome.trace_id.clone_from(&refusal.trace_id);
            }
            Failure::NotDelivered(not) => {
                outcome.tries = not.tries;
                let (word, lead) = if not.outcome_unknown {
                    ("outcome unknown", "Sent, but its outcome is not known")
                } else {
                    ("not delivered", "Not delivered")
                };
                word.clone_into(&mut outcome.word);
                outcome.headline = format!("{lead}: {}", not.what);
            }
        }
        outcome
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
            proxy: matches!(way, Way::Insights).then(|| settings.report.endpoints.proxy.clone()),
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
    pub async fn begin(&self) {
        if let Way::Status = self.way
            && let Err(error) = status::begin(&self.http, &self.reporting, BEGIN_BUDGET).await
        {
            self.reporting
                .console
                .debug(&format!("INPROGRESS was not set: {error}"));
        }
    }

    /// Tells the outcome. False where it had to be told and was not.
    pub async fn end(&self, outcome: &Outcome) -> bool {
        self.end_through(&self.http, outcome).await
    }

    /// As [`Self::end`], over connections of its own: for an event loop other than the one that drives the others.
    pub async fn end_apart(&self, outcome: &Outcome) -> bool {
        match Http::new(&self.options, self.reporting.console.clone()) {
            Ok(http) => self.end_through(&http, outcome).await,
            Err(_) => false,
        }
    }

    async fn end_through(&self, http: &Http, outcome: &Outcome) -> bool {
        let console = &self.reporting.console;
        let budget = if outcome.verdict == Verdict::Stopped {
            STOP_BUDGET
        } else {
            END_BUDGET
        };
        let told: Result<String, ReportError> = match self.way {
            Way::None => return true,
            Way::Status => status::end(http, &self.reporting, outcome, budget).await.map(|()| {
                format!(
                    "{} on {}, key {}",
                    status::state(outcome.verdict),
                    self.reporting.pipeline.short_commit(),
                    self.reporting.key
                )
            }),
            Way::Insights => insights::end(http, &self.reporting, outcome, budget).await.map(|()| {
                format!(
                    "report {} on {}",
                    self.reporting.key,
                    self.reporting.pipeline.short_commit()
                )
            }),
        };
        match told {
            Ok(text) => {
                console.done("status", &text);
                true
            }
            Err(error) => {
                let text = format!("the commit was not told: {error}");
                if self.must {
                    console.fail(&text);
                } else {
                    console.warn(&text);
                }
                console.plain(&error.advice);
                !self.must
            }
        }
    }
}
