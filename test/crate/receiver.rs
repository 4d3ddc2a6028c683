//! The conversation with a receiver: what each answer, or none, makes of a delivery.

use std::collections::BTreeSet;
use std::time::Duration;

use fastapi_handoff::event::{AttestedFacts, Event, EventInput};
use fastapi_handoff::http::{Http, Options, Route};
use fastapi_handoff::identity::StepKey;
use fastapi_handoff::receiver::{Client, Delivery, DeliveryError, DpopProofs, Patience, State, deliver};
use fastapi_handoff::settings::ReceiverUrl;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::log::Log;
use crate::server::{Received, Reply, Server};
use crate::step::settings;

/// The trace id of a request.
pub(crate) fn trace_id(request: &Received) -> String {
    let traceparent = request.header("traceparent").unwrap();
    traceparent.split('-').nth(1).unwrap().to_owned()
}

pub(crate) fn token() -> Reply {
    let token = json!({"access_token": "an-access-token", "token_type": "DPoP", "expires_in": 300, "scope": "deployments:write"});
    Reply::json(200, &token)
}

pub(crate) fn receipt(request: &Received, state: &str) -> Reply {
    let body = json!({"id": "evt_1", "state": state, "trace_id": trace_id(request)});
    Reply::json(if state == "running" { 202 } else { 200 }, &body)
}

pub(crate) fn refusal(request: &Received, status: u16, code: &str) -> Reply {
    let body = json!({"code": code, "detail": "because", "trace": [], "trace_id": trace_id(request)});
    Reply::json(status, &body)
}

pub(crate) async fn delivered(server: &Server, retry_budget: u64, wait_timeout: u64, log: &Log) -> Delivery {
    let options = Options { timeout: Duration::from_secs(2), ca_certificates: Vec::new(), route: Route::Direct };
    let step_token = "header.payload.signature".into();
    let (key, _) = StepKey::load_or_create(None, &step_token);
    let mut client = Client::new(
        Http::new(&options, log.console()).unwrap(),
        ReceiverUrl::parse(&server.origin).unwrap(),
        step_token,
        None,
        Box::new(DpopProofs::new(key, log.console())),
        log.console(),
    );
    let settings = settings(&[]);
    let attested =
        AttestedFacts { workspace_uuid: &settings.step.repository_uuid, branch: None, environment_uuid: None };
    let now = OffsetDateTime::now_utc();
    let event = Event::new("evt_1".into(), now, &EventInput::from(&settings), &attested);
    let patience =
        Patience { retry_budget: Duration::from_secs(retry_budget), wait_timeout: Duration::from_secs(wait_timeout) };
    deliver(&mut client, &event, &[], patience).await
}

/// Deliver to a receiver that grants a token and answers the posts of the event in turn, the last one for ever.
async fn posted(replies: &'static [fn(&Received) -> Reply]) -> (Delivery, Server) {
    let mut number = 0;
    let server = Server::start(move |request| {
        if request.path.ends_with("/token") {
            return token();
        }
        let reply = replies[number.min(replies.len() - 1)];
        number += 1;
        reply(request)
    });
    (delivered(&server, 2, 2, &Log::default()).await, server)
}

fn kind(delivery: &Delivery) -> &'static str {
    match &delivery.outcome {
        Ok(receipt) if receipt.state == State::Succeeded => "succeeded",
        Ok(_) => "failed",
        Err(DeliveryError::Refused(_)) => "refused",
        Err(DeliveryError::NotDelivered(_)) => "not delivered",
        Err(DeliveryError::MayBeAccepted(_)) => "may be accepted",
        Err(DeliveryError::Accepted(_)) => "accepted",
    }
}

#[tokio::test]
async fn every_request_has_a_proof_of_its_own_and_the_trace_of_the_run() {
    let (delivery, server) = posted(&[
        |_| Reply::json(503, &json!({})).with("retry-after", "0"),
        |request| receipt(request, "running").with("retry-after", "0"),
        |request| receipt(request, "succeeded"),
    ])
    .await;
    assert_eq!(kind(&delivery), "succeeded");
    let received = server.received();
    assert_eq!(
        received.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        ["/token", "/events", "/events", "/events/evt_1"]
    );
    let proofs = received.iter().map(|request| request.header("dpop").unwrap());
    assert_eq!(proofs.collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(received.iter().map(trace_id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(received[1].body, received[2].body);
    assert_eq!(received[0].header("authorization"), None);
    assert_eq!(received[1].header("authorization"), Some("DPoP an-access-token"));
}

#[tokio::test]
async fn nonce_that_a_receiver_asks_for_is_in_the_next_proof() {
    let mut was_asked = false;
    let server = Server::start(move |request| {
        if request.path.ends_with("/token") {
            return token();
        }
        if std::mem::replace(&mut was_asked, true) {
            return receipt(request, "succeeded");
        }
        Reply::json(401, &json!({}))
            .with("www-authenticate", r#"DPoP error="use_dpop_nonce""#)
            .with("dpop-nonce", "n-1")
    });
    assert_eq!(kind(&delivered(&server, 2, 2, &Log::default()).await), "succeeded");
    let nonces = server.received().iter().map(|request| claims(request)["nonce"].clone()).collect::<Vec<_>>();
    assert_eq!(nonces, [Value::Null, Value::Null, "n-1".into()]);
}

/// The claims of the proof of a request.
fn claims(request: &Received) -> Value {
    use base64::Engine as _;

    let payload = request.header("dpop").unwrap().split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test]
async fn refusal_of_the_exchange_sends_no_event() {
    let server = Server::start(|request| refusal(request, 403, "no-grant-matches"));
    let delivery = delivered(&server, 2, 2, &Log::default()).await;
    assert_eq!((kind(&delivery), delivery.tries), ("refused", 0));
}

#[tokio::test]
async fn token_that_anybody_could_use_is_not_taken() {
    let bearer = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 300});
    let server = Server::start(move |_| Reply::json(200, &bearer));
    let delivery = delivered(&server, 2, 2, &Log::default()).await;
    assert_eq!((kind(&delivery), server.received().len()), ("not delivered", 1));
}

#[tokio::test]
async fn token_that_a_receiver_takes_no_more_is_exchanged_anew() {
    let (delivery, server) = posted(&[
        |_| Reply::HangUp,
        |request| refusal(request, 401, "token-expired"),
        |request| receipt(request, "succeeded"),
    ])
    .await;
    assert_eq!(kind(&delivery), "succeeded");
    let exchanges = server.received().iter().filter(|request| request.path == "/token").count();
    assert_eq!(exchanges, 2);
}

#[tokio::test]
async fn lost_answer_is_asked_for_again_and_never_called_not_delivered() {
    let (delivery, _) = posted(&[|_| Reply::HangUp]).await;
    assert_eq!(kind(&delivery), "may be accepted");
    assert!(delivery.tries > 1);
}

#[tokio::test]
async fn receipt_of_another_event_is_not_taken_for_this_ones() {
    let (delivery, _) = posted(&[|_| Reply::json(200, &json!({"id": "evt_2", "state": "succeeded"}))]).await;
    assert_eq!(kind(&delivery), "may be accepted");
}

#[tokio::test]
async fn accepted_event_whose_handler_outlasts_the_wait_is_accepted_and_not_refused() {
    let (delivery, _) = posted(&[|request| receipt(request, "running").with("retry-after", "1")]).await;
    assert_eq!(kind(&delivery), "accepted");
    let text = delivery.outcome.unwrap_err().to_string();
    assert!(text.ends_with("the handler still runs; WAIT_TIMEOUT (2 s) is used up"), "{text}");
}

#[tokio::test]
async fn refusal_of_another_run_is_not_taken_for_this_ones() {
    let (delivery, _) = posted(&[
        |_| {
            Reply::json(
                403,
                &json!({"code": "scope-missing", "trace": [], "trace_id": "0af7651916cd43dd8448eb211c80319c"}),
            )
        },
        |request| receipt(request, "succeeded"),
    ])
    .await;
    assert_eq!(kind(&delivery), "succeeded");
    assert_eq!(delivery.tries, 2);
}

#[tokio::test]
async fn refusal_of_an_event_that_was_accepted_all_the_same_is_not_believed() {
    let server = Server::start(|request| match request.path.as_str() {
        "/token" => token(),
        "/events" => refusal(request, 403, "scope-missing"),
        _ => receipt(request, "succeeded"),
    });
    let delivery = delivered(&server, 2, 2, &Log::default()).await;
    assert_eq!((kind(&delivery), delivery.tries), ("succeeded", 1));
}

#[tokio::test]
async fn refusal_after_a_lost_answer_is_asked_about() {
    for (is_known, expected) in [(true, "succeeded"), (false, "may be accepted")] {
        let mut posts = 0;
        let server = Server::start(move |request| match request.path.as_str() {
            "/token" => token(),
            "/events" => {
                posts += 1;
                if posts == 1 { Reply::HangUp } else { refusal(request, 403, "identity-mismatch") }
            }
            _ if is_known => receipt(request, "succeeded"),
            _ => refusal(request, 404, "event-not-found"),
        });
        assert_eq!(kind(&delivered(&server, 3, 2, &Log::default()).await), expected);
    }
}

#[tokio::test]
async fn refusal_that_no_try_before_puts_in_doubt_is_not_asked_about() {
    let server = Server::start(|request| match request.path.as_str() {
        "/token" => token(),
        _ => refusal(request, 403, "identity-mismatch"),
    });
    assert_eq!(kind(&delivered(&server, 2, 2, &Log::default()).await), "refused");
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn event_whose_token_another_replica_refuses_is_asked_for_with_that_token() {
    let mut exchanges = 0;
    let server = Server::start(move |request| match request.path.as_str() {
        "/token" => {
            exchanges += 1;
            if exchanges == 1 { token() } else { refusal(request, 403, "no-grant-matches") }
        }
        "/events" => refusal(request, 401, "token-invalid"),
        _ => receipt(request, "succeeded"),
    });
    assert_eq!(kind(&delivered(&server, 2, 2, &Log::default()).await), "succeeded");
}

#[tokio::test]
async fn receipt_of_an_event_that_conflicts_is_not_asked_for() {
    let server = Server::start(|request| match request.path.as_str() {
        "/token" => token(),
        "/events" => refusal(request, 409, "event-conflict"),
        _ => receipt(request, "succeeded"),
    });
    assert_eq!(kind(&delivered(&server, 2, 2, &Log::default()).await), "refused");
}

#[tokio::test]
async fn challenge_does_not_take_away_the_doubt_about_the_event_it_answered() {
    let server = Server::until(2, |request| match request.path.as_str() {
        "/token" => token(),
        _ => Reply::json(401, &json!({}))
            .with("www-authenticate", r#"DPoP error="use_dpop_nonce""#)
            .with("dpop-nonce", "n-1"),
    });
    assert_eq!(kind(&delivered(&server, 1, 2, &Log::default()).await), "may be accepted");
}

#[tokio::test]
async fn answer_of_something_in_between_does_not_end_a_delivery_that_may_have_arrived() {
    for in_between in [302, 403, 404] {
        let mut number = 0;
        let server = Server::start(move |request| {
            if request.path == "/token" {
                return token();
            }
            number += 1;
            match number {
                1 => Reply::HangUp,
                2 => Reply::Answer(in_between, vec![("content-type", "text/html".to_owned())], b"<html>".to_vec()),
                _ => receipt(request, "succeeded"),
            }
        });
        assert_eq!(kind(&delivered(&server, 3, 2, &Log::default()).await), "succeeded", "{in_between}");
    }
}

#[tokio::test]
async fn wait_longer_than_what_is_left_ends_with_a_last_look() {
    let mut polls = 0;
    let server = Server::start(move |request| match request.path.as_str() {
        "/token" => token(),
        "/events" => receipt(request, "running").with("retry-after", "0"),
        _ => {
            polls += 1;
            match polls {
                1 => Reply::json(503, &json!({})).with("retry-after", "60"),
                _ => receipt(request, "succeeded"),
            }
        }
    });
    let started = std::time::Instant::now();
    assert_eq!(kind(&delivered(&server, 2, 3, &Log::default()).await), "succeeded");
    assert!(started.elapsed() > Duration::from_millis(2500), "the wait is used to its end");
}

#[tokio::test]
async fn new_token_that_the_policy_does_not_know_any_more_is_exchanged_anew_once() {
    let (delivery, server) =
        posted(&[|request| refusal(request, 401, "token-invalid"), |request| receipt(request, "succeeded")]).await;
    assert_eq!(kind(&delivery), "succeeded");
    assert_eq!(server.received().iter().filter(|request| request.path == "/token").count(), 2);

    let (delivery, server) = posted(&[|request| refusal(request, 401, "token-invalid")]).await;
    assert_eq!(kind(&delivery), "refused");
    assert_eq!(server.received().iter().filter(|request| request.path == "/token").count(), 2);
}

#[tokio::test]
async fn token_of_another_run_that_came_by_mistake_is_exchanged_anew() {
    let (delivery, _) =
        posted(&[|request| refusal(request, 401, "key-mismatch"), |request| receipt(request, "succeeded")]).await;
    assert_eq!(kind(&delivery), "succeeded");
}

#[tokio::test]
async fn event_whose_receipt_is_damaged_was_accepted_and_is_not_called_refused() {
    let (delivery, server) = posted(&[|_| Reply::HangUp, |request| refusal(request, 409, "receipt-damaged")]).await;
    assert_eq!(kind(&delivery), "may be accepted");
    assert_eq!(server.received().len(), 3);
    let (delivery, _) = posted(&[|request| refusal(request, 409, "receipt-damaged")]).await;
    assert_eq!(kind(&delivery), "may be accepted");
}
