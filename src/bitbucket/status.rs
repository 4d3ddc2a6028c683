//! The build status of the commit. A status that stays INPROGRESS blocks merging, so every path ends with a terminal one.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;

use crate::bitbucket::{ReportError, commit_url, send};
use crate::http::{Http, Request};
use crate::report::{Outcome, Reporting, Verdict};

/// Bitbucket shows about 70 characters; how many it takes is not known, so no more than a line is sent.
const LONGEST_DESCRIPTION: usize = 140;

/// Source: <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>
#[derive(Serialize)]
struct BuildStatus<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    key: &'a str,
    state: &'static str,
    name: &'a str,
    description: &'a str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refname: Option<&'a str>,
}

/// Sets the status to `INPROGRESS`. True where an earlier try of that may arrive yet.
pub(crate) async fn begin(http: &Http, reporting: &Reporting, budget: Duration) -> Result<bool, ReportError> {
    put(http, reporting, "INPROGRESS", "Handing the deployment over", budget).await
}

/// Sets the status to what the outcome was.
pub(crate) async fn end(
    http: &Http,
    reporting: &Reporting,
    outcome: &Outcome,
    budget: Duration,
) -> Result<(), ReportError> {
    let state = state(outcome.verdict);
    put(http, reporting, state, &outcome.headline, budget).await.map(|_| ())
}

/// Bitbucket's word for a verdict.
#[must_use]
pub fn state(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "SUCCESSFUL",
        Verdict::Failed => "FAILED",
        Verdict::Stopped => "STOPPED",
    }
}

async fn put(
    http: &Http,
    reporting: &Reporting,
    state: &'static str,
    description: &str,
    budget: Duration,
) -> Result<bool, ReportError> {
    let Some(credentials) = &reporting.credentials else {
        let advice = "Set BITBUCKET_ACCESS_TOKEN, or REPORT: insights";
        return Err(ReportError::new("there is no credential for a build status", advice));
    };
    let pipeline = &reporting.pipeline;
    let description = reporting.console.clean_line(description, LONGEST_DESCRIPTION);
    let status = BuildStatus {
        kind: "build",
        key: &reporting.key,
        state,
        name: &reporting.name,
        description: &description,
        url: &pipeline.results_url(),
        // Ties the status to the pull request's source branch.
        refname: pipeline.pull_request.and(pipeline.branch.as_deref()),
    };
    // POST overwrites a status of the same key, so one call serves for the first and for all later ones.
    let url = commit_url(
        &reporting.api,
        &pipeline.workspace,
        &pipeline.repository,
        &pipeline.commit,
        &["statuses", "build"],
    );
    let request = Request::new(Method::POST, url)
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&status).unwrap_or_default());
    let mut fetched_anew = false;
    let mut earlier_may_arrive = false;
    loop {
        let authorized = credentials
            .authorize(request.clone(), http, &reporting.oauth_url, budget, &reporting.console)
            .await?;
        match send(http, &reporting.console, &authorized, budget, None).await {
            // An OAuth access token may die before the time that was said: one hour is documented, two are answered.
            Err(error) if error.unauthorized && !fetched_anew && credentials.forget_fetched() => {
                fetched_anew = true;
                earlier_may_arrive = error.may_have_arrived;
            }
            Ok(taken) => return Ok(taken.earlier_may_arrive || earlier_may_arrive),
            Err(error) => {
                return Err(ReportError {
                    may_have_arrived: error.may_have_arrived || earlier_may_arrive,
                    ..error
                });
            }
        }
    }
}
