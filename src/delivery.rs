//! From the event to its receipt: post, try again, wait for the handler.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use crate::event::Event;
use crate::failure::{Failure, NotDelivered};
use crate::http::{Answer, NoAnswer, Request};
use crate::proof::unix_now;
use crate::receipt::{Receipt, State};
use crate::receiver::{Receiver, Setback, TryError};
use crate::refusal::Refusal;
use crate::retry::{Again, Retry, retry_after};
use crate::signature::{SigningSecret, content_digest, webhook_signature};
use crate::step_token::in_words;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const POLL_DEFAULT: Duration = Duration::from_secs(2);
const POLL_SHORTEST: Duration = Duration::from_millis(200);
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// For text of the other side within a line.
const LONGEST_LINE: usize = 300;

/// How long to try, and how long to wait for the handler.
#[derive(Clone, Copy)]
pub struct Patience {
    /// `RETRY_BUDGET`
    pub retry_budget: Duration,
    /// `WAIT_TIMEOUT`
    pub wait_timeout: Duration,
}

/// How a delivery ended.
pub struct Delivery {
    /// A final receipt (`succeeded`, `failed` or `interrupted`), or why there is none.
    pub outcome: Result<Receipt, Failure>,
    /// How often the event was sent.
    pub tries: u32,
}

enum Sent {
    Final(Receipt),
    Running { ask_again_in: Duration },
}

/// The request of one try: same id and body each time, but a timestamp and signatures of its own.
#[must_use]
pub fn event_request(url: String, event: &Event, secrets: &[SigningSecret]) -> (Request, String) {
    let digest = content_digest(&event.body);
    let timestamp = unix_now();
    let mut request = Request::new(Method::POST, url)
        .header(CONTENT_TYPE, "application/cloudevents+json")
        .header(CONTENT_DIGEST, &digest)
        .header(WEBHOOK_ID, &event.id)
        .header(WEBHOOK_TIMESTAMP, &timestamp.to_string());
    if !secrets.is_empty() {
        request = request.header(
            WEBHOOK_SIGNATURE,
            &webhook_signature(secrets, &event.id, timestamp, &event.body),
        );
    }
    (request.body(event.body.clone()), digest)
}

/// Delivers the event and waits for its outcome.
pub async fn deliver(
    receiver: &mut Receiver,
    event: &Event,
    secrets: &[SigningSecret],
    patience: Patience,
) -> Delivery {
    let mut tries = 0;
    let outcome = match post(receiver, event, secrets, patience.retry_budget, &mut tries).await {
        Ok(Sent::Final(receipt)) => Ok(receipt),
        Ok(Sent::Running { ask_again_in }) => wait(receiver, &event.id, ask_again_in, patience.wait_timeout).await,
        Err(failure) => Err(failure),
    };
    Delivery { outcome, tries }
}

/// Sends the event until the receiver has taken it, it cannot be taken, or the budget is used up.
async fn post(
    receiver: &mut Receiver,
    event: &Event,
    secrets: &[SigningSecret],
    budget: Duration,
    tries: &mut u32,
) -> Result<Sent, Failure> {
    let mut retry = Retry::new(budget);
    // Once a try may have arrived, no later failure can say that the event was not handled.
    let mut outcome_unknown = false;
    loop {
        let setback = match post_once(receiver, event, secrets, tries).await {
            Ok(sent) => return Ok(sent),
            Err(TryError::Again(setback)) => setback,
            Err(TryError::NoAnswer(no_answer)) => {
                return Err(Failure::NotDelivered(NotDelivered {
                    what: no_answer.what,
                    advice: no_answer.advice,
                    outcome_unknown: outcome_unknown || no_answer.may_have_arrived,
                    refusal: None,
                }));
            }
            Err(TryError::Refused(refusal)) => return Err(refused(refusal, outcome_unknown, *tries)),
        };
        outcome_unknown |= setback.may_have_arrived;
        let what = receiver.console.clean_line(&setback.what, LONGEST_LINE);
        let number = retry.tries();
        let Some(pause) = retry.next_wait(setback.again) else {
            let why = match setback.again {
                Again::After(wait) => format!("the receiver asks to wait {} s, more than is left of", wait.as_secs()),
                Again::Now | Again::Later => "that used up".to_owned(),
            };
            return Err(Failure::NotDelivered(NotDelivered {
                what: format!("{what}; {why} RETRY_BUDGET ({} s)", budget.as_secs()),
                advice: setback.advice,
                outcome_unknown,
                refusal: setback.refusal,
            }));
        };
        receiver.console.info(&format!(
            "try {number}: {what}; next try in {:.1} s",
            pause.as_secs_f64()
        ));
        sleep(pause).await;
    }
}

/// A refusal tells that the handler did not run only where it is the receiver's own and no earlier try may have arrived.
fn refused(refusal: Box<Refusal>, outcome_unknown: bool, tries: u32) -> Failure {
    // Without a code it is from something in between, which may have got the receiver's answer and kept it.
    if outcome_unknown || (refusal.code.is_none() && tries > 0) {
        return Failure::NotDelivered(NotDelivered {
            what: format!("the last try was refused: {}", refusal.summary()),
            advice: None,
            outcome_unknown: true,
            refusal: Some(refusal),
        });
    }
    Failure::Refused(refusal)
}

async fn post_once(
    receiver: &mut Receiver,
    event: &Event,
    secrets: &[SigningSecret],
    tries: &mut u32,
) -> Result<Sent, TryError> {
    // First the access token: what fails here has not sent the event.
    receiver.access_token().await?;
    *tries += 1;
    let (request, digest) = event_request(receiver.url.events(), event, secrets);
    let answer = receiver.send_authorized(&request, Some(&digest)).await?;
    #[cfg(debug_assertions)]
    crate::last_words::panic_where_a_test_asks();
    read(&answer, &event.id)
}

/// Sorts a success: a final receipt, one that runs, or something that is no receipt.
fn read(answer: &Answer, id: &str) -> Result<Sent, TryError> {
    if !answer.is_json() {
        return Err(TryError::NoAnswer(NoAnswer {
            what: format!(
                "the answer was {} but no receipt (`{}`)",
                answer.status.as_u16(),
                answer.media_type()
            ),
            advice: Some("Check that RECEIVER_URL is the URL where the app mounts the handoff router".to_owned()),
            transient: false,
            may_have_arrived: true,
        }));
    }
    // A body cut or garbled on the way: the next try gets the stored receipt.
    let receipt = Receipt::read(&answer.body, id).map_err(|what| Setback::unreadable(answer, what))?;
    if answer.status == StatusCode::ACCEPTED || receipt.state == State::Running {
        let ask_again_in = retry_after(&answer.headers, SystemTime::now()).unwrap_or(POLL_DEFAULT);
        return Ok(Sent::Running {
            ask_again_in: ask_again_in.max(POLL_SHORTEST),
        });
    }
    Ok(Sent::Final(receipt))
}

/// Asks for the receipt until it is final. The event is delivered by now, so what fails here leaves its outcome unknown.
async fn wait(receiver: &mut Receiver, id: &str, first: Duration, wait_timeout: Duration) -> Result<Receipt, Failure> {
    let deadline = Instant::now() + wait_timeout;
    receiver.console.info(&format!(
        "event {id} was accepted; its handler runs, waiting up to {} s",
        wait_timeout.as_secs()
    ));
    let mut told = Instant::now();
    let mut retry = Retry::new(wait_timeout);
    let mut pause = first;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_last = pause >= left;
        sleep(pause.min(left)).await;
        let request = Request::new(Method::GET, receiver.url.event(id));
        let sent = match receiver.send_authorized(&request, None).await {
            Ok(answer) => read(&answer, id),
            Err(error) => Err(error),
        };
        let (what, refusal) = match sent {
            Ok(Sent::Final(receipt)) => return Ok(receipt),
            Ok(Sent::Running { ask_again_in }) => {
                pause = ask_again_in;
                if told.elapsed() >= PROGRESS_EVERY {
                    told = Instant::now();
                    let running = wait_timeout.saturating_sub(left);
                    receiver.console.info(&format!(
                        "the handler has been running for {}",
                        in_words(running.as_secs())
                    ));
                }
                ("the handler still runs".to_owned(), None)
            }
            Err(error) => {
                let (what, again, refusal) = match error {
                    TryError::Again(setback) => (setback.what, Some(setback.again), setback.refusal),
                    // The receiver answered before, so whatever is in between now, it may do so the next time.
                    TryError::NoAnswer(no_answer) => (no_answer.what, Some(Again::Later), None),
                    TryError::Refused(refusal) => (
                        refusal.summary(),
                        refusal.code.is_none().then_some(Again::Later),
                        Some(refusal),
                    ),
                };
                let what = format!(
                    "asking for the receipt failed: {}",
                    receiver.console.clean_line(&what, LONGEST_LINE)
                );
                let Some(next) = again.and_then(|again| retry.next_wait(again)) else {
                    return Err(unknown(what, refusal, id));
                };
                pause = next;
                receiver
                    .console
                    .info(&format!("{what}; asking again in {:.1} s", pause.as_secs_f64()));
                (what, refusal)
            }
        };
        if is_last {
            let what = format!("{what}; WAIT_TIMEOUT ({} s) is used up", wait_timeout.as_secs());
            return Err(unknown(what, refusal, id));
        }
    }
}

fn unknown(what: String, refusal: Option<Box<Refusal>>, id: &str) -> Failure {
    Failure::NotDelivered(NotDelivered {
        what,
        advice: Some(format!(
            "The event {id} was accepted; the app's audit log tells how it ends"
        )),
        outcome_unknown: true,
        refusal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, RETRY_AFTER};

    proptest! {
        #[test]
        fn running_receipt_is_asked_for_when_the_receiver_says_and_never_in_a_spin(seconds in 0u64..100_000) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
            headers.insert(RETRY_AFTER, seconds.into());
            let body = br#"{"id": "evt_1", "state": "running"}"#.to_vec();
            let answer = Answer { status: StatusCode::ACCEPTED, headers, body };
            let Ok(Sent::Running { ask_again_in }) = read(&answer, "evt_1") else {
                panic!("a receipt that runs was expected");
            };
            prop_assert_eq!(ask_again_in, Duration::from_secs(seconds).max(POLL_SHORTEST));
        }
    }
}
