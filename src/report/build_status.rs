//! The build status of the commit. A status that stays INPROGRESS blocks merging, so every path ends with a terminal one.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;

use super::outcome::{Outcome, Verdict};
use super::subject::Subject;
use crate::bitbucket::{Api, SendError};
use crate::console::Console;
use crate::http::{Arrival, Request};

/// Bitbucket shows about 70 characters; how many it takes is not known, so no more than a line is sent.
const LONGEST_DESCRIPTION: usize = 140;

/// Source: <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>
#[derive(Serialize)]
pub(super) struct BuildStatus<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    key: &'a str,
    state: &'static str,
    name: &'a str,
    description: String,
    url: String,
    /// Ties the status to the pull request's source branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    refname: Option<&'a str>,
}

impl<'a> BuildStatus<'a> {
    pub(super) fn in_progress(subject: &'a Subject) -> Self {
        Self::new(subject, "INPROGRESS", "Handing the deployment over".to_owned())
    }

    pub(super) fn last(subject: &'a Subject, outcome: &Outcome, console: &Console) -> Self {
        let description = console.clean_line(&outcome.headline, LONGEST_DESCRIPTION);
        Self::new(subject, state(outcome.verdict), description)
    }

    fn new(subject: &'a Subject, state: &'static str, description: String) -> Self {
        Self {
            kind: "build",
            key: subject.key.as_str(),
            state,
            name: &subject.name,
            description,
            url: subject.step.results_url(),
            refname: subject.step.pull_request.and(subject.step.branch.as_deref()),
        }
    }
}

/// Return Bitbucket's word for a verdict.
pub(super) fn state(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "SUCCESSFUL",
        Verdict::Failed => "FAILED",
        Verdict::Stopped => "STOPPED",
    }
}

/// Set the status, and return whether an earlier try of it may arrive yet.
/// POST overwrites a status of the same key, so one call serves for the first and for all later ones.
pub(super) async fn post(
    api: &Api,
    subject: &Subject,
    status: &BuildStatus<'_>,
    budget: Duration,
) -> Result<Arrival, SendError> {
    let request = Request::new(Method::POST, api.commit_url(&subject.step, &["statuses", "build"]))
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(status).unwrap_or_default());
    let expected = [("key", status.key), ("state", status.state)];
    Ok(api.send(&request, &expected, budget).await?.earlier)
}

/// Return the state that the commit shows now.
pub(super) async fn look(api: &Api, subject: &Subject, budget: Duration) -> Result<String, SendError> {
    let key = subject.key.as_str();
    let request = Request::new(Method::GET, api.commit_url(&subject.step, &["statuses", "build", key]));
    let taken = api.send(&request, &[("key", key)], budget).await?;
    let status = serde_json::from_slice::<Value>(&taken.answer.body).unwrap_or(Value::Null);
    Ok(status["state"].as_str().unwrap_or_default().to_owned())
}
