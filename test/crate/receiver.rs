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
