//! Asking for the receipt of an accepted event until its handler has ended.

use std::time::Duration;

use reqwest::Method;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::error::{DeliveryError, Ending, GaveUp, LONGEST_ERROR, Stage, TryError};
use super::receipt::{Progress, Receipt};
use crate::console::in_words;
use crate::event::EventId;
use crate::http::{Next, Request, Retry};

const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// Ask until the receipt is final. The event is accepted by now, so what fails here leaves its outcome unknown.
pub(super) async fn wait(
    client: &mut Client,
    id: &EventId,
    first: Duration,
    wait_timeout: Duration,
) -> Result<Receipt, DeliveryError> {
    let deadline = Instant::now() + wait_timeout;
    client
        .console
        .info(&format!("event {id} was accepted; its handler runs, waiting up to {} s", wait_timeout.as_secs()));
    let mut told = Instant::now();
    let mut retry = Retry::new(wait_timeout);
    let mut pause = first;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_last = pause >= left;
        sleep(pause.min(left)).await;
        let error = match ask(client, id).await {
            Ok(Progress::Final(receipt)) => return Ok(receipt),
            Ok(Progress::Running { ask_again_in }) => {
                pause = ask_again_in;
                if told.elapsed() >= PROGRESS_EVERY {
                    told = Instant::now();
                    let running = in_words(wait_timeout.saturating_sub(left).as_secs());
                    client.console.info(&format!("the handler has been running for {running}"));
                }
                TryError::HandlerRuns
            }
            Err(error) => {
                let Next::Retry(when) = error.next_where_accepted() else {
                    return Err(end(error, Ending::Final));
                };
                // A wait longer than what is left ends with a last look, when all of it is used.
                let left = deadline.saturating_duration_since(Instant::now());
                pause = retry.next_wait(when).unwrap_or(left);
                client.console.info(&format!(
                    "{}{}; asking again in {:.1} s",
                    Stage::Polling,
                    client.console.clean_line(&error.to_string(), LONGEST_ERROR),
                    pause.as_secs_f64()
                ));
                error
            }
        };
        if is_last {
            return Err(end(error, Ending::WaitTimeoutUsedUp(wait_timeout)));
        }
    }
}

async fn ask(client: &mut Client, id: &EventId) -> Result<Progress, TryError> {
    let request = Request::new(Method::GET, client.url.event(id.as_str()));
    let answer = client.send_authorized(&request, None).await?;
    Ok(Progress::read(&answer, id)?)
}

/// Ask for the receipt of an event that was refused, with the access token it was sent with.
pub(super) async fn ask_with_last_token(client: &mut Client, id: &EventId) -> Result<Progress, TryError> {
    let request = Request::new(Method::GET, client.url.event(id.as_str()));
    let answer = client.send_with_last_token(&request).await?;
    Ok(Progress::read(&answer, id)?)
}

fn end(error: TryError, ending: Ending) -> DeliveryError {
    let stage = match error {
        TryError::HandlerRuns => Stage::Waiting,
        _ => Stage::Polling,
    };
    DeliveryError::Accepted(GaveUp { stage, error, ending })
}
