//! A Code Insights report on the commit. The proxy of Pipelines authorizes it, so it works without any credential.
//! Source: <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-reports/>

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::outcome::{Outcome, Verdict};
use super::subject::Subject;
use crate::bitbucket::{Api, SendError};
use crate::console::Console;
use crate::http::{Arrival, Request};

const LONGEST_TITLE: usize = 255;
const LONGEST_DETAILS: usize = 1000;
const LONGEST_TEXT: usize = 255;

/// Put the report, and return whether an earlier try of it may arrive yet. The id is stable, so a re-run replaces it.
pub(super) async fn put(
    api: &Api,
    subject: &Subject,
    outcome: &Outcome,
    console: &Console,
    budget: Duration,
) -> Result<Arrival, SendError> {
    let url = api.commit_url(&subject.step, &["reports", subject.key.as_str()]);
    let request = Request::new(Method::PUT, url)
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&report(subject, outcome, console)).unwrap_or_default());
    let expected = [("external_id", subject.key.as_str()), ("result", result(outcome.verdict))];
    Ok(api.send(&request, &expected, budget).await?.earlier)
}

fn report(subject: &Subject, outcome: &Outcome, console: &Console) -> Value {
    let line = |text: &str, length| console.clean_line(text, length);
    let results_url = subject.step.results_url();
    let texts = [
        ("Outcome", Some(outcome.word.to_owned())),
        ("Service", Some(subject.service.clone())),
        ("Environment", subject.environment.clone()),
        ("Grant", outcome.grant.clone()),
        ("Event", Some(outcome.event_id.to_string())),
        ("Audit", outcome.audit.as_ref().map(ToString::to_string)),
        ("Trace", outcome.trace_id.as_ref().map(ToString::to_string)),
    ];
    let mut data = texts
        .into_iter()
        .filter_map(|(title, value)| {
            let value = line(&value?, LONGEST_TEXT);
            Some(json!({"title": title, "type": "TEXT", "value": value}))
        })
        .collect::<Vec<_>>();
    let milliseconds = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
    let pipeline = json!({"text": format!("Build {}", subject.step.build_number), "href": results_url});
    data.push(json!({"title": "Attempts", "type": "NUMBER", "value": outcome.tries}));
    data.push(json!({"title": "Duration", "type": "DURATION", "value": milliseconds}));
    data.push(json!({"title": "Pipeline", "type": "LINK", "value": pipeline}));
    json!({
        "type": "report",
        "title": line(&subject.name, LONGEST_TITLE),
        "details": line(&outcome.headline, LONGEST_DETAILS),
        "report_type": "TEST",
        "reporter": "fastapi-handoff",
        "external_id": subject.key.as_str(),
        "link": results_url,
        "result": result(outcome.verdict),
        "data": data,
    })
}

/// Return Code Insights' word for a verdict.
fn result(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "PASSED",
        Verdict::Failed | Verdict::Stopped => "FAILED",
    }
}
