//! The commit's status: what Bitbucket gets, in which order, and what is said where it does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastapi_handoff::receiver::{Delivery, Receipt};
use fastapi_handoff::report::{self, End, Outcome, Reporter, Told};
use fastapi_handoff::signals::StopSignals;
use serde_json::{Value, json};

use crate::log::Log;
use crate::server::{Received, Reply, Server};
use crate::step::settings;

const TOKEN: (&str, &str) = ("BITBUCKET_ACCESS_TOKEN", "an-access-token-of-bitbucket");

/// What Bitbucket answers to a status: the status itself.
pub(crate) fn taken(request: &Received) -> Reply {
    Reply::json(201, &request.json())
}

pub(crate) fn state(request: &Received) -> String {
    request.json()["state"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn reporter(origin: &str, variables: &[(&str, &str)], log: &Log) -> Reporter {
    let endpoints = [("BITBUCKET_API_URL", origin), ("BITBUCKET_PROXY_URL", origin)];
    let oauth = format!("{origin}/oauth");
    let oauth = [("BITBUCKET_OAUTH_URL", oauth.as_str())];
    let mut settings = settings(&[variables, &endpoints, &oauth].concat());
    Reporter::choose(&mut settings, &log.console()).unwrap()
}

pub(crate) fn succeeded() -> End {
    let receipt: Receipt = serde_json::from_value(json!({
        "id": "evt_1", "state": "succeeded", "result": {"release": 7}, "identity": {"grant": "api, production"},
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "audit": {"seq": 7, "hash": "ab".repeat(32)}
    }))
    .unwrap();
    End::Delivery(Delivery { outcome: Ok(receipt), tries: 2 })
}

/// Tell a success from its first status to its last.
async fn told(server: &Server, variables: &[(&str, &str)], log: &Log) -> Told {
    let reporter = Arc::new(reporter(&server.origin, variables, log));
    let first = report::begin(&reporter);
    // The handover takes its time, in which the first status is sent.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let outcome = Outcome::of(&succeeded(), &"evt_1".into(), Duration::from_secs(3), &log.console());
    report::finish(&reporter, &outcome, first, &mut StopSignals::install().unwrap()).await
}

#[tokio::test]
async fn build_status_goes_from_in_progress_to_the_outcome() {
    let server = Server::start(taken);
    assert_eq!(told(&server, &[TOKEN], &Log::default()).await, Told::AsRequired);
    let received = server.received();
    assert_eq!(received.iter().map(state).collect::<Vec<_>>(), ["INPROGRESS", "SUCCESSFUL"]);
    let header = received[0].header("authorization");
    assert_eq!(header, Some("Bearer an-access-token-of-bitbucket"));
    let statuses = received.iter().map(Received::json).collect::<Vec<_>>();
    insta::assert_snapshot!(serde_json::to_string_pretty(&statuses).unwrap());
}

#[tokio::test]
async fn report_of_code_insights_needs_no_credential() {
    let server = Server::start(taken);
    assert_eq!(told(&server, &[("REPORT", "insights")], &Log::default()).await, Told::AsRequired);
    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("authorization"), None);
    insta::assert_snapshot!(serde_json::to_string_pretty(&received[0].json()).unwrap());
}

#[tokio::test]
async fn refused_status_is_missed_where_it_is_required_and_a_warning_where_not() {
    for (mode, expected) in [("status", Told::Missed), ("auto", Told::AsRequired)] {
        let error = json!({"type": "error", "error": {"message": "Access denied: missing scope"}});
        let server = Server::start(move |_| Reply::json(403, &error));
        let log = Log::default();
        assert_eq!(told(&server, &[TOKEN, ("REPORT", mode)], &log).await, expected);
        let text = log.text();
        assert!(text.contains("the commit was not told: Bitbucket answered 403"), "{text}");
        assert!(text.contains("The credential lacks a scope"), "{text}");
    }
}

#[tokio::test]
async fn status_that_bitbucket_cannot_take_now_is_sent_again() {
    let mut number = 0;
    let server = Server::start(move |request| {
        number += 1;
        match number {
            2 => Reply::json(503, &Value::Null).with("retry-after", "0"),
            _ => taken(request),
        }
    });
    assert_eq!(told(&server, &[TOKEN, ("REPORT", "status")], &Log::default()).await, Told::AsRequired);
    let states = server.received().iter().map(state).collect::<Vec<_>>();
    assert_eq!(states, ["INPROGRESS", "SUCCESSFUL", "SUCCESSFUL"]);
}

#[tokio::test]
async fn access_token_of_a_consumer_is_fetched_anew_where_bitbucket_takes_it_no_more() {
    let mut tokens = 0;
    let server = Server::start(move |request| {
        if request.path == "/oauth" {
            tokens += 1;
            return Reply::json(200, &json!({"access_token": format!("token-number-{tokens}"), "expires_in": 7200}));
        }
        match request.header("authorization") {
            Some("Bearer token-number-1") if state(request) == "SUCCESSFUL" => Reply::json(401, &Value::Null),
            _ => taken(request),
        }
    });
    let consumer = [("BITBUCKET_CLIENT_ID", "id"), ("BITBUCKET_CLIENT_SECRET", "s3cr3t-of-consumer")];
    let log = Log::default();
    assert_eq!(told(&server, &consumer, &log).await, Told::AsRequired);
    let last = server.received().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer token-number-2"));
    assert!(!log.text().contains("token-number"), "{}", log.text());
}

#[tokio::test]
async fn nothing_is_sent_where_report_is_none() {
    let server = Server::start(taken);
    assert_eq!(told(&server, &[TOKEN, ("REPORT", "none")], &Log::default()).await, Told::AsRequired);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn page_of_something_in_between_is_not_taken_for_a_status() {
    for mode in ["status", "insights"] {
        let mut number = 0;
        let server = Server::start(move |request| {
            number += 1;
            let page = || Reply::Answer(200, vec![("content-type", "text/html".to_owned())], b"<html>".to_vec());
            if number == if mode == "status" { 2 } else { 1 } { page() } else { taken(request) }
        });
        assert_eq!(told(&server, &[TOKEN, ("REPORT", mode)], &Log::default()).await, Told::AsRequired);
        let posts = server.received().len();
        assert_eq!(posts, if mode == "status" { 3 } else { 2 }, "the last post was sent again");
    }
}

#[tokio::test]
async fn stale_answer_to_another_status_is_not_taken_for_this_one() {
    let mut first = None;
    let server = Server::start(move |request| match (&first, state(request).as_str()) {
        (None, _) => {
            first = Some(request.json());
            taken(request)
        }
        (Some(first), _) => Reply::json(201, first),
    });
    let log = Log::default();
    let reporter = Arc::new(reporter(&server.origin, &[TOKEN, ("REPORT", "status")], &log));
    let first = report::begin(&reporter);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopped = Outcome::of(&End::Stopped("SIGTERM"), &"evt_1".into(), Duration::ZERO, &log.console());
    let told = report::finish(&reporter, &stopped, first, &mut StopSignals::install().unwrap()).await;
    assert_eq!(told, Told::Missed);
    assert!(!log.text().contains("✔ status"), "{}", log.text());
}

/// Bitbucket as it keeps one status, behind a gateway that answers 504 to the first INPROGRESS and forwards it `late`.
fn overtaken(late: Duration, then: fn(usize, &Received) -> Option<Reply>) -> (Server, Arc<Mutex<String>>) {
    let stands = Arc::new(Mutex::new(String::new()));
    let kept = stands.clone();
    let (mut firsts, mut lasts) = (0, 0);
    let server = Server::start(move |request| {
        if request.body.is_empty() {
            let key = request.path.rsplit('/').next().unwrap();
            return Reply::json(200, &json!({"key": key, "state": *kept.lock().unwrap()}));
        }
        let state = state(request);
        if state == "INPROGRESS" {
            firsts += 1;
            if firsts == 1 {
                let kept = kept.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(late);
                    *kept.lock().unwrap() = state;
                });
                return Reply::json(504, &Value::Null);
            }
        } else {
            lasts += 1;
            if let Some(reply) = then(lasts, request) {
                return reply;
            }
        }
        *kept.lock().unwrap() = state;
        taken(request)
    });
    (server, stands)
}

#[tokio::test]
async fn first_status_that_a_gateway_forwards_after_the_outcome_does_not_stand() {
    let (server, stands) = overtaken(Duration::from_secs(4), |_, _| None);
    let ended = tokio::time::sleep(Duration::from_secs(5));
    assert_eq!(told(&server, &[TOKEN, ("REPORT", "status")], &Log::default()).await, Told::AsRequired);
    ended.await;
    assert_eq!(*stands.lock().unwrap(), "SUCCESSFUL");
}

#[tokio::test]
async fn outcome_that_an_overtaken_status_hides_for_good_is_missed() {
    let no = |number, _: &Received| (number > 1).then(|| Reply::json(403, &Value::Null));
    let (server, stands) = overtaken(Duration::from_secs(1), no);
    let log = Log::default();
    assert_eq!(told(&server, &[TOKEN, ("REPORT", "status")], &log).await, Told::Missed);
    assert_eq!(*stands.lock().unwrap(), "INPROGRESS");
    assert!(log.text().contains("the commit was not told"), "{}", log.text());
}
