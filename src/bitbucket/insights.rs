//! A Code Insights report on the commit. The proxy of Pipelines authenticates it, so it works without any credential.
//! Source: <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-reports/>

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::bitbucket::{ReportError, commit_url, send};
use crate::http::{Http, Request};
use crate::report::{Outcome, Reporting, Verdict};

/// The proxy expects plain HTTP and adds TLS and the credential itself.
const API_BEHIND_PROXY: &str = "http://api.bitbucket.org";
/// Where no connection comes about, none will.
const NO_PROXY: &str = "The proxy of Pipelines is not there: outside of Pipelines, set REPORT: none, or give a credential for a build status";
const LONGEST_TITLE: usize = 255;
const LONGEST_DETAILS: usize = 1000;
const LONGEST_TEXT: usize = 255;

/// Puts the report; the id is stable, so a re-run replaces it.
pub(crate) async fn end(
    http: &Http,
    reporting: &Reporting,
    outcome: &Outcome,
    budget: Duration,
) -> Result<(), ReportError> {
    let pipeline = &reporting.pipeline;
    let url = commit_url(
        API_BEHIND_PROXY,
        &pipeline.workspace,
        &pipeline.repository,
        &pipeline.commit,
        &["reports", &reporting.key],
    );
    let report = report(reporting, outcome);
    let request = Request::new(Method::PUT, url)
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&report).unwrap_or_default());
    send(http, &reporting.console, &request, budget, Some(NO_PROXY))
        .await
        .map(|_| ())
}

fn report(reporting: &Reporting, outcome: &Outcome) -> Value {
    let line = |text: &str, length| reporting.console.clean_line(text, length);
    let mut data = Vec::new();
    let mut text = |title: &str, value: Option<&str>| {
        if let Some(value) = value {
            data.push(json!({"title": title, "type": "TEXT", "value": line(value, LONGEST_TEXT)}));
        }
    };
    text("Outcome", Some(&outcome.word));
    text("Service", Some(&reporting.service));
    text("Environment", reporting.environment.as_deref());
    text("Grant", outcome.grant.as_deref());
    text("Event", Some(&outcome.event_id));
    text("Audit", outcome.audit.as_ref().map(ToString::to_string).as_deref());
    text("Trace", outcome.trace_id.as_deref());
    data.push(json!({"title": "Attempts", "type": "NUMBER", "value": outcome.tries}));
    data.push(json!({"title": "Duration", "type": "DURATION", "value": u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX)}));
    data.push(json!({"title": "Pipeline", "type": "LINK", "value": {"text": format!("Build {}", reporting.pipeline.build_number), "href": reporting.pipeline.results_url()}}));
    json!({
        "type": "report",
        "title": line(&reporting.name, LONGEST_TITLE),
        "details": line(&outcome.headline, LONGEST_DETAILS),
        "report_type": "TEST",
        "reporter": "fastapi-handoff",
        "external_id": reporting.key,
        "link": reporting.pipeline.results_url(),
        "result": if outcome.verdict == Verdict::Succeeded { "PASSED" } else { "FAILED" },
        "data": data,
    })
}
