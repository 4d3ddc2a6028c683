//! From the event to its receipt: post it, try again, then wait for its handler.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use tokio::time::sleep;

use super::client::Client;
use super::error::{DeliveryError, Ending, GaveUp, LONGEST_ERROR, Stage, TryError};
use super::polling;
use super::receipt::{Progress, Receipt};
use super::refusal::Refusal;
use super::refusal_code::RefusalCode;
use crate::event::{Event, EventId, content_digest, webhook_signature};
use crate::http::{Arrival, Next, Request, Retry, When};
use crate::identity::unix_now;
use crate::settings::SigningSecret;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How long to try, and how long to wait for the handler.
#[derive(Clone, Copy)]
pub struct Patience {
    pub retry_budget: Duration,
    pub wait_timeout: Duration,
}

/// How a delivery ended.
pub struct Delivery {
    /// A final receipt (`succeeded`, `failed` or `interrupted`), or why there is none.
    pub outcome: Result<Receipt, DeliveryError>,
    /// How often the event was sent.
    pub tries: u32,
}

/// Return the request of one try, and its `Content-Digest`: same id and body each time, but a timestamp and signatures of
/// its own.
pub fn event_request(url: String, event: &Event, secrets: &[SigningSecret]) -> (Request, String) {
    let digest = content_digest(&event.body);
    let timestamp = unix_now();
    let mut request = Request::new(Method::POST, url)
        .header(CONTENT_TYPE, "application/cloudevents+json")
        .header(CONTENT_DIGEST, &digest)
        .header(WEBHOOK_ID, event.id.as_str())
        .header(WEBHOOK_TIMESTAMP, &timestamp.to_string());
    if !secrets.is_empty() {
        let signature = webhook_signature(secrets, &event.id, timestamp, &event.body);
        request = request.header(WEBHOOK_SIGNATURE, &signature);
    }
    (request.body(event.body.clone()), digest)
}

/// Deliver the event and wait for its outcome.
pub async fn deliver(client: &mut Client, event: &Event, secrets: &[SigningSecret], patience: Patience) -> Delivery {
    let mut tries = 0;
    let outcome = match post(client, event, secrets, patience.retry_budget, &mut tries).await {
        Ok(Progress::Final(receipt)) => Ok(receipt),
        Ok(Progress::Running { ask_again_in }) => {
            polling::wait(client, &event.id, ask_again_in, patience.wait_timeout).await
        }
        Err(error) => Err(error),
    };
    Delivery { outcome, tries }
}

/// Send the event until the receiver has taken it, it cannot be taken, or the budget is used up.
async fn post(
    client: &mut Client,
    event: &Event,
    secrets: &[SigningSecret],
    budget: Duration,
    tries: &mut u32,
) -> Result<Progress, DeliveryError> {
    let mut retry = Retry::new(budget);
    // Once a try may have arrived, no later failure can say that the event was not handled.
    let mut earlier = Arrival::Impossible;
    loop {
        let error = match post_once(client, event, secrets, tries).await {
            Ok(progress) => return Ok(progress),
            Err(error) => error,
        };
        let next = match (error.next(), error.refusal()) {
            // Only the receiver can say what became of an event that may have arrived: a refusal without a code is not its own.
            (Next::Final, Some(refusal)) if refusal.code.is_none() && earlier == Arrival::Possible => {
                Next::Retry(When::Later)
            }
            (next, _) => next,
        };
        let Next::Retry(when) = next else {
            if *tries > 0 && may_be_accepted_all_the_same(&error, earlier) {
                match ask(client, &event.id, &mut retry).await {
                    Asked::Accepted(progress) => return Ok(progress),
                    Asked::NotAccepted => {}
                    Asked::NoAnswer => earlier = Arrival::Possible,
                }
            }
            return Err(end(error, Ending::Final, earlier));
        };
        let number = retry.tries();
        let Some(pause) = retry.next_wait(when) else {
            let ending = match when {
                When::After(wait) => Ending::RetryAfterExceedsBudget { wait, budget },
                When::Now | When::Later => Ending::RetryBudgetUsedUp(budget),
            };
            return Err(end(error, ending, earlier));
        };
        earlier = earlier.max(error.arrival());
        let what = client.console.clean_line(&error.to_string(), LONGEST_ERROR);
        let pause_seconds = pause.as_secs_f64();
        client.console.info(&format!("try {number}: {what}; next try in {pause_seconds:.1} s"));
        sleep(pause).await;
    }
}

/// Return whether to ask after a refusal of the receiver's own. An earlier try may have arrived; or something on the way sent
/// this one twice, to replicas whose policies or handlers differ, and only the second answer came. Not after every refusal:
/// the question is refused and recorded, too.
fn may_be_accepted_all_the_same(error: &TryError, earlier: Arrival) -> bool {
    match (error, error.refusal().and_then(Refusal::known_code)) {
        // The receipt under this id is that of another event, or cannot be read.
        (_, None | Some(RefusalCode::EventConflict | RefusalCode::ReceiptDamaged)) => false,
        // The access token of the try before was refused, and there is no other.
        (TryError::Exchange(_), Some(_)) => true,
        (_, Some(code)) => earlier == Arrival::Possible || code == RefusalCode::ScopeMissing,
    }
}

/// What the receiver says of an event that it refused.
enum Asked {
    Accepted(Progress),
    NotAccepted,
    NoAnswer,
}

/// Ask whether an event was accepted though it was refused.
async fn ask(client: &mut Client, id: &EventId, retry: &mut Retry) -> Asked {
    loop {
        let error = match polling::ask_with_last_token(client, id).await {
            Ok(progress) => {
                client.console.info("the event was refused, but it had been accepted before");
                return Asked::Accepted(progress);
            }
            Err(error) => error,
        };
        let Next::Retry(when) = error.next_where_accepted() else {
            return Asked::NotAccepted;
        };
        let Some(pause) = retry.next_wait(when) else {
            return Asked::NoAnswer;
        };
        sleep(pause).await;
    }
}

/// Say what is known of the event after the last try. `earlier` is whether a try before may have arrived.
///
/// A refusal tells that the handler did not run only where it is the receiver's own and no try may have arrived. Without a code
/// it is from something in between, which may have got the receiver's answer.
fn end(error: TryError, ending: Ending, earlier: Arrival) -> DeliveryError {
    let arrival = earlier.max(error.arrival());
    let (stage, error) = match (ending, error) {
        // The exchange comes before the event: who refuses it refuses both.
        (Ending::Final, TryError::Exchange(inner)) if matches!(*inner, TryError::Refused(_)) => {
            (Stage::PostingAgain, *inner)
        }
        (Ending::Final, error @ TryError::Refused(_)) => (Stage::PostingAgain, error),
        (_, error) => (Stage::Posting, error),
    };
    match (arrival, error) {
        (Arrival::Impossible, TryError::Refused(refusal) | TryError::TokenNoLongerGood(refusal)) => {
            DeliveryError::Refused(refusal)
        }
        (Arrival::Impossible, error) => DeliveryError::NotDelivered(GaveUp { stage, error, ending }),
        (Arrival::Possible, error) => DeliveryError::MayBeAccepted(GaveUp { stage, error, ending }),
    }
}

async fn post_once(
    client: &mut Client,
    event: &Event,
    secrets: &[SigningSecret],
    tries: &mut u32,
) -> Result<Progress, TryError> {
    // First the access token: what fails here has not sent the event.
    client.access_token().await?;
    *tries += 1;
    let (request, digest) = event_request(client.url.events(), event, secrets);
    let answer = client.send_authorized(&request, Some(&digest)).await?;
    Ok(Progress::read(&answer, &event.id)?)
}
