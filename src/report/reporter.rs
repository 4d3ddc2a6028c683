//! How the commit is told: by which channel, and whether it has to be.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::advice;
use super::build_status::{self, BuildStatus};
use super::code_insights;
use super::outcome::{Outcome, Verdict};
use super::subject::Subject;
use crate::bitbucket::{Api, SendError};
use crate::console::Console;
use crate::http::{Arrival, HttpSetupError};
use crate::settings::{ReportMode, Settings};

/// The first status is a courtesy: nobody waits for it longer than this.
const FIRST_LIMIT: Duration = Duration::from_secs(5);
const LAST_LIMIT: Duration = Duration::from_secs(45);
/// How long Pipelines lets a stopped step live is not known.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(4);

/// Whether the commit was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was, or did not have to be.
    AsRequired,
    /// It had to be, and was not.
    Missed,
}

/// What became of the first status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstStatus {
    /// It stands, or never will.
    Settled,
    /// It may still arrive, and so overtake the last one.
    InFlight,
}

enum Channel {
    BuildStatus(Api),
    CodeInsights(Api),
    None,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Requirement {
    BestEffort,
    Required,
}

/// Tells the commit.
pub struct Reporter {
    channel: Channel,
    requirement: Requirement,
    subject: Subject,
    console: Arc<Console>,
}

impl Reporter {
    /// Choose the channel, and say which and why.
    pub fn choose(settings: &mut Settings, console: &Arc<Console>) -> Result<Self, HttpSetupError> {
        let Settings { report, timeout, .. } = settings;
        let insights = || Api::behind_proxy(&report.endpoints, *timeout, console.clone()).map(Channel::CodeInsights);
        let channel = match (report.mode, report.credentials.take()) {
            (ReportMode::None, _) => {
                console.info("REPORT is none: the commit is not told");
                Channel::None
            }
            (ReportMode::Auto | ReportMode::Status, Some(credentials)) => {
                if report.mode == ReportMode::Auto {
                    let variable = credentials.variable();
                    console.info(&format!("the commit gets a build status, with {variable}"));
                }
                let certificates = settings.ca_certificates.clone();
                let api =
                    Api::with_credentials(credentials, &report.endpoints, *timeout, certificates, console.clone());
                Channel::BuildStatus(api?)
            }
            (ReportMode::Insights, _) => insights()?,
            // The settings hold a credential where REPORT is `status`.
            (ReportMode::Auto | ReportMode::Status, None) => {
                console.info("the commit gets a Code Insights report: no credential for a build status is set");
                insights()?
            }
        };
        Ok(Self {
            channel,
            requirement: if report.mode == ReportMode::Auto { Requirement::BestEffort } else { Requirement::Required },
            subject: Subject::new(settings, console),
            console: console.clone(),
        })
    }

    /// Show that the handoff is under way. A failure here says nothing that the last status would not say again.
    pub(super) async fn tell_first(&self) -> FirstStatus {
        let Channel::BuildStatus(api) = &self.channel else {
            return FirstStatus::Settled;
        };
        let status = BuildStatus::in_progress(&self.subject);
        let sent = timeout(FIRST_LIMIT, build_status::post(api, &self.subject, &status, FIRST_LIMIT)).await;
        let sent = sent.unwrap_or_else(|_| Err(SendError::silence(FIRST_LIMIT)));
        let arrival = match sent {
            Ok(earlier) => earlier,
            Err(error) => {
                self.console.debug(|| format!("INPROGRESS was not set: {error}"));
                error.arrival
            }
        };
        match arrival {
            Arrival::Impossible => FirstStatus::Settled,
            Arrival::Possible => FirstStatus::InFlight,
        }
    }

    /// Tell the outcome within `limit`.
    pub(super) async fn tell_last(&self, outcome: &Outcome, limit: Duration) -> Told {
        let (subject, console) = (&self.subject, &self.console);
        let sent = match &self.channel {
            Channel::None => return Told::AsRequired,
            Channel::BuildStatus(api) => {
                let status = BuildStatus::last(subject, outcome, console);
                timeout(limit, build_status::post(api, subject, &status, limit)).await
            }
            Channel::CodeInsights(api) => {
                timeout(limit, code_insights::put(api, subject, outcome, console, limit)).await
            }
        };
        let (key, commit) = (&subject.key, subject.step.commit.short());
        let error = match sent {
            Ok(Ok(_)) => {
                let line = match &self.channel {
                    Channel::CodeInsights(_) => format!("report {key} on {commit}"),
                    Channel::BuildStatus(_) | Channel::None => {
                        format!("{} on {commit}, key {key}", build_status::state(outcome.verdict))
                    }
                };
                console.done("status", &line);
                return Told::AsRequired;
            }
            Ok(Err(error)) => error.error,
            Err(_) => SendError::silence(limit).error,
        };
        let line = console.clean_line(&format!("the commit was not told: {error}"), 1000);
        let told = match self.requirement {
            Requirement::Required => {
                console.fail(&line);
                Told::Missed
            }
            Requirement::BestEffort => {
                console.warn(&line);
                Told::AsRequired
            }
        };
        console.plain(advice::for_bitbucket(&error));
        told
    }

    /// Return whether the commit shows the outcome now. What cannot be looked at counts as not shown.
    pub(super) async fn shows(&self, outcome: &Outcome) -> bool {
        let Channel::BuildStatus(api) = &self.channel else {
            return true;
        };
        match timeout(STOP_LIMIT, build_status::look(api, &self.subject, STOP_LIMIT)).await {
            Ok(Ok(state)) => state == build_status::state(outcome.verdict),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Return the same with connections of its own, for another event loop than the one that runs.
    pub(super) fn reconnected(&self) -> Result<Self, HttpSetupError> {
        Ok(Self {
            channel: match &self.channel {
                Channel::BuildStatus(api) => Channel::BuildStatus(api.reconnected()?),
                Channel::CodeInsights(api) => Channel::CodeInsights(api.reconnected()?),
                Channel::None => Channel::None,
            },
            requirement: self.requirement,
            subject: self.subject.clone(),
            console: self.console.clone(),
        })
    }
}

/// Return how long telling an outcome may take.
pub(super) fn limit(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Stopped => STOP_LIMIT,
        Verdict::Succeeded | Verdict::Failed => LAST_LIMIT,
    }
}
