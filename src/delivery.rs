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
use crate::receiver::{Receiver, TryError};
use crate::retry::{Again, Retry, retry_after};
use crate::signature::{SigningSecret, content_digest, webhook_signature};
use crate::step_token::in_words;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const POLL_DEFAULT: Duration = Duration::from_secs(2);
const POLL_SHORTEST: Duration = Duration::from_millis(200);
const POLL_LONGEST: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// How long to try, and how long to wait for the handler.
#[derive(Clone, Copy)]
pub struct Patience {
    /// `RETRY_BUDGET`
    pub retry_budget: Duration,
    /// `WAIT_TIMEOUT`
    pub wait_timeout: Duration,
}

/// An event that got its receipt.
pub struct Delivered {
    /// A final one: `succeeded`, `failed` or `interrupted`.
    pub receipt: Receipt,
    /// How often it was sent.
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
///
/// # Errors
/// A refusal, or no receipt within the patience. A receipt that says `failed` is not an error here.
pub async fn deliver(
    receiver: &mut Receiver,
    event: &Event,
    secrets: &[SigningSecret],
    patience: Patience,
) -> Result<Delivered, Failure> {
    let mut retry = Retry::new(patience.retry_budget);
    // Once a try may have arrived, no later failure can say that the event was not handled.
    let mut outcome_unknown = false;
    loop {
        let failed = match post(receiver, event, secrets).await {
            Ok(Sent::Final(receipt)) => {
                return Ok(Delivered {
                    receipt,
                    tries: retry.tries(),
                });
            }
            Ok(Sent::Running { ask_again_in }) => {
                let receipt = wait(receiver, &event.id, ask_again_in, patience.wait_timeout, retry.tries()).await?;
                return Ok(Delivered {
                    receipt,
                    tries: retry.tries(),
                });
            }
            Err(failed) => failed,
        };
        let (what, again) = match failed {
            TryError::Again {
                what,
                again,
                may_have_arrived,
            } => {
                outcome_unknown |= may_have_arrived;
                (what, again)
            }
            final_error => return Err(give_up(final_error, retry.tries(), outcome_unknown)),
        };
        let tries = retry.tries();
        let Some(pause) = retry.next_wait(again) else {
            let what = match again {
                Again::After(wait) => format!(
                    "{what}, and the receiver asks to wait {} s, longer than RETRY_BUDGET has left",
                    wait.as_secs()
                ),
                _ => format!(
                    "{what}; RETRY_BUDGET ({} s) is used up",
                    patience.retry_budget.as_secs()
                ),
            };
            return Err(Failure::NotDelivered(NotDelivered {
                what,
                advice: None,
                tries,
                outcome_unknown,
            }));
        };
        receiver.console.info(&format!(
            "try {tries}: {what}; next try in {:.1} s",
            pause.as_secs_f64()
        ));
        sleep(pause).await;
    }
}

/// A failure that no other try can mend. After a try that may have arrived, even a refusal does not tell whether the handler ran.
fn give_up(error: TryError, tries: u32, outcome_unknown: bool) -> Failure {
    match error {
        TryError::Refused(refusal) if !outcome_unknown => Failure::Refused(refusal),
        TryError::Refused(refusal) => Failure::NotDelivered(NotDelivered {
            what: format!("a later try was refused: {}", refusal.summary()),
            advice: None,
            tries,
            outcome_unknown,
        }),
        TryError::NoAnswer(NoAnswer {
            what,
            advice,
            may_have_arrived,
            ..
        }) => Failure::NotDelivered(NotDelivered {
            what,
            advice,
            tries,
            outcome_unknown: outcome_unknown || may_have_arrived,
        }),
        TryError::Again {
            what, may_have_arrived, ..
        } => Failure::NotDelivered(NotDelivered {
            what,
            advice: None,
            tries,
            outcome_unknown: outcome_unknown || may_have_arrived,
        }),
    }
}

async fn post(receiver: &mut Receiver, event: &Event, secrets: &[SigningSecret]) -> Result<Sent, TryError> {
    let (request, digest) = event_request(receiver.url.events(), event, secrets);
    let answer = receiver.send_authorized(request, Some(&digest)).await?;
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
    let receipt = Receipt::read(&answer.body, id).map_err(|what| TryError::Again {
        what,
        again: Again::Later,
        may_have_arrived: true,
    })?;
    if answer.status == StatusCode::ACCEPTED || receipt.state == State::Running {
        let ask_again_in = retry_after(&answer.headers, SystemTime::now()).unwrap_or(POLL_DEFAULT);
        return Ok(Sent::Running {
            ask_again_in: ask_again_in.clamp(POLL_SHORTEST, POLL_LONGEST),
        });
    }
    Ok(Sent::Final(receipt))
}

/// Asks for the receipt until it is final. The event is delivered by now, so what fails here leaves its outcome unknown.
async fn wait(
    receiver: &mut Receiver,
    id: &str,
    first: Duration,
    wait_timeout: Duration,
    tries: u32,
) -> Result<Receipt, Failure> {
    let started = Instant::now();
    let unknown = |what: String| {
        Failure::NotDelivered(NotDelivered {
            what,
            advice: Some(format!(
                "The event {id} was accepted; the app's audit log tells how it ends"
            )),
            tries,
            outcome_unknown: true,
        })
    };
    receiver.console.info(&format!(
        "event {id} was accepted; its handler runs, waiting up to {} s",
        wait_timeout.as_secs()
    ));
    let mut retry = Retry::new(wait_timeout);
    let mut told = started;
    let mut pause = first;
    loop {
        if started.elapsed() + pause > wait_timeout {
            return Err(unknown(format!(
                "the handler still runs after {} s (WAIT_TIMEOUT)",
                wait_timeout.as_secs()
            )));
        }
        sleep(pause).await;
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            receiver.console.info(&format!(
                "the handler has been running for {}",
                in_words(started.elapsed().as_secs())
            ));
        }
        let request = Request::new(Method::GET, receiver.url.event(id));
        let sent = match receiver.send_authorized(request, None).await {
            Ok(answer) => read(&answer, id),
            Err(error) => Err(error),
        };
        pause = match sent {
            Ok(Sent::Final(receipt)) => return Ok(receipt),
            Ok(Sent::Running { ask_again_in }) => ask_again_in,
            Err(TryError::Again { what, again, .. }) => {
                let Some(pause) = retry.next_wait(again) else {
                    return Err(unknown(what));
                };
                receiver.console.info(&format!(
                    "asking for the receipt: {what}; asking again in {:.1} s",
                    pause.as_secs_f64()
                ));
                pause
            }
            Err(TryError::NoAnswer(no_answer)) => return Err(unknown(no_answer.what)),
            Err(TryError::Refused(refusal)) => {
                return Err(unknown(format!(
                    "asking for the receipt was refused: {}",
                    refusal.summary()
                )));
            }
        };
    }
}
