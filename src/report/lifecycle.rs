//! The life of a commit's status, from INPROGRESS to the outcome: whatever happens, the outcome comes last.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::outcome::{Outcome, Verdict};
use super::reporter::{FirstStatus, Reporter, STOP_LIMIT, Told, limit};
use crate::signals::StopSignals;

/// An INPROGRESS still in flight can land after the final status: wait this long, then post the final one again.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(2);
/// No wait proves that nothing is in flight any more, so the commit is looked at again after each of these.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];

/// Start to tell the commit that the handoff is under way, beside the exchange and not before it.
pub fn begin(reporter: &Arc<Reporter>) -> JoinHandle<FirstStatus> {
    let reporter = reporter.clone();
    tokio::spawn(async move { reporter.tell_first().await })
}

/// Tell the commit the outcome, after its first status.
pub async fn finish(
    reporter: &Reporter,
    outcome: &Outcome,
    mut first: JoinHandle<FirstStatus>,
    stop: &mut StopSignals,
) -> Told {
    let first = if outcome.verdict == Verdict::Stopped {
        cut_short(first).await
    } else {
        tokio::select! {
            first = &mut first => first.unwrap_or(FirstStatus::InFlight),
            _ = stop.wait() => cut_short(first).await,
        }
    };
    let told = tokio::select! {
        told = reporter.tell_last(outcome, limit(outcome.verdict)) => told,
        // The outcome stands; there is just less time to tell it.
        _ = stop.wait() => reporter.tell_last(outcome, STOP_LIMIT).await,
    };
    match first {
        FirstStatus::Settled => told,
        FirstStatus::InFlight => outlast(reporter, outcome, stop).await,
    }
}

/// Tell the outcome again, until the commit shows it and a first status in flight had its time to land.
async fn outlast(reporter: &Reporter, outcome: &Outcome, stop: &mut StopSignals) -> Told {
    sleep(IN_FLIGHT).await;
    let mut told = reporter.tell_last(outcome, STOP_LIMIT).await;
    // How long Pipelines lets a stopped step live is not known: it is looked at once more, and at once.
    let waits = if outcome.verdict == Verdict::Stopped { &[Duration::ZERO][..] } else { &LOOK_AGAIN };
    for wait in waits {
        tokio::select! {
            () = sleep(*wait) => {}
            _ = stop.wait() => {}
        }
        told = if reporter.shows(outcome).await {
            Told::AsRequired
        } else {
            reporter.tell_last(outcome, STOP_LIMIT).await
        };
    }
    told
}

/// After a signal there is no time to wait for the first status; left alone, it would be sent again after the last one.
async fn cut_short(first: JoinHandle<FirstStatus>) -> FirstStatus {
    first.abort();
    first.await.unwrap_or(FirstStatus::InFlight)
}
