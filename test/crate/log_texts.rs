//! The texts of the build log, as snapshots: what a user reads for each way a run can end.

use std::time::Duration;

use fastapi_handoff::http::Answer;
use fastapi_handoff::receiver::{
    AnswerError, Delivery, DeliveryError, Ending, GaveUp, Receipt, Refusal, RefusalCode, Stage, TryError,
};
use fastapi_handoff::report::{End, Outcome, log_outcome};
use fastapi_handoff::settings::ReceiverUrl;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::log::Log;
use crate::report::succeeded;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn logged(end: &End) -> String {
    let log = Log::default();
    let console = log.console();
    let outcome = Outcome::of(end, &"evt_1".into(), Duration::from_secs(3), &console);
    let receiver = ReceiverUrl::parse("https://api.acme.dev/handoff").unwrap();
    log_outcome(&console, end, &outcome, &receiver);
    format!("commit: {}\n{}", outcome.headline, log.text())
}

fn failed(error: DeliveryError) -> String {
    logged(&End::Delivery(Delivery { outcome: Err(error), tries: 1 }))
}

fn refusal(status: u16, body: &Value) -> Box<Refusal> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let status = StatusCode::from_u16(status).unwrap();
    let body = body.to_string().into_bytes();
    Box::new(Refusal::read(&Answer { status, headers, body }, &TRACE_ID.into()))
}

fn no_grant_matches() -> Box<Refusal> {
    let trace = json!([
        {"check": "signature", "expected": "RS256", "got": "RS256", "ok": true},
        {"check": "iss", "expected": "x", "got": "x", "ok": true},
        {"check": "repository", "expected": "{a}", "got": "{a}", "ok": true, "grant": "from main"},
        {"check": "branch", "expected": "main", "got": "feature/x", "ok": false, "grant": "from main"},
        {"check": "environment", "expected": "{e}", "got": null, "ok": false, "grant": "staging"},
        {"odd": 1},
    ]);
    let body = json!({
        "error": "invalid_request", "error_description": "no grant matches", "code": "no-grant-matches",
        "trace": trace, "trace_id": TRACE_ID
    });
    refusal(403, &body)
}

#[test]
fn receipt_of_a_success() {
    insta::assert_snapshot!(logged(&succeeded()));
}

#[test]
fn receipt_of_a_handler_that_failed() {
    let receipt: Receipt =
        serde_json::from_value(json!({"id": "evt_1", "state": "failed", "detail": "no such image"})).unwrap();
    insta::assert_snapshot!(logged(&End::Delivery(Delivery { outcome: Ok(receipt), tries: 1 })));
}

#[test]
fn refusal_with_its_trace_of_checks() {
    insta::assert_snapshot!(failed(DeliveryError::Refused(no_grant_matches())));
}

#[test]
fn refusal_by_something_that_is_no_receiver() {
    insta::assert_snapshot!(failed(DeliveryError::Refused(refusal(404, &json!({"detail": "Not Found"})))));
}

#[test]
fn event_that_was_not_delivered() {
    insta::assert_snapshot!(failed(DeliveryError::NotDelivered(GaveUp {
        stage: Stage::Posting,
        error: TryError::Exchange(Box::new(TryError::Answer(AnswerError::TokenNotBound))),
        ending: Ending::Final,
    })));
}

#[test]
fn event_that_may_be_accepted() {
    let body = json!({"code": "store-unavailable", "detail": "the database is locked", "trace": []});
    insta::assert_snapshot!(failed(DeliveryError::MayBeAccepted(GaveUp {
        stage: Stage::Posting,
        error: TryError::Refused(refusal(503, &body)),
        ending: Ending::RetryBudgetUsedUp(Duration::from_mins(2)),
    })));
}

#[test]
fn event_that_was_accepted_and_whose_handler_outlasts_the_wait() {
    insta::assert_snapshot!(failed(DeliveryError::Accepted(GaveUp {
        stage: Stage::Waiting,
        error: TryError::HandlerRuns,
        ending: Ending::WaitTimeoutUsedUp(Duration::from_mins(10)),
    })));
}

#[test]
fn handler_that_was_interrupted() {
    let receipt: Receipt =
        serde_json::from_value(json!({"id": "evt_1", "state": "interrupted", "detail": "the process ended"})).unwrap();
    insta::assert_snapshot!(logged(&End::Delivery(Delivery { outcome: Ok(receipt), tries: 1 })));
}

/// It would hand over a second time. Only an event that certainly was not accepted may be handed over again.
#[test]
fn nobody_is_told_to_run_the_step_again_where_the_event_may_be_accepted() {
    for code in RefusalCode::ALL {
        let gave_up = || GaveUp {
            stage: Stage::Posting,
            error: TryError::Refused(refusal(503, &json!({"code": code.as_str(), "trace": []}))),
            ending: Ending::RetryBudgetUsedUp(Duration::from_mins(2)),
        };
        for error in [DeliveryError::MayBeAccepted(gave_up()), DeliveryError::Accepted(gave_up())] {
            let text = failed(error);
            assert!(!text.contains("run the step again"), "{text}");
            assert!(text.contains("fastapi-handoff audit list --event evt_1"), "{text}");
        }
    }
}

#[test]
fn run_that_a_signal_stopped() {
    insta::assert_snapshot!(logged(&End::Stopped("SIGTERM")));
}

#[test]
fn lines_of_the_console() {
    let log = Log::default();
    let console = log.console();
    console.hide(&"s3cr3t-value".into());
    console.done("context", "acme/api · main");
    console.info("a secret: s3cr3t-value");
    console.warn("two\nlines");
    console.fail("an escape \u{1b}[31m sequence");
    console.plain("what belongs to the line before");
    console.debug(|| "x".repeat(4000));
    insta::assert_snapshot!(log.text().replace(&"x".repeat(3000), "<3000 characters>"));
}
