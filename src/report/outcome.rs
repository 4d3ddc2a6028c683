//! The outcome of a run, in the words that the log and the commit share.

use std::time::Duration;

use crate::console::Console;
use crate::event::EventId;
use crate::exit::Exit;
use crate::receiver::{AuditAnchor, Delivery, DeliveryError, GaveUp, LONGEST_ERROR, Receipt, State, TraceId};

/// How the run ended.
pub enum End {
    Delivery(Delivery),
    /// By the signal of this name.
    Stopped(&'static str),
}

impl End {
    /// Return the exit code where the commit was told as required.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Stopped(_) => Exit::Stopped,
            Self::Delivery(delivery) => match &delivery.outcome {
                Ok(receipt) if receipt.state == State::Succeeded => Exit::Done,
                Ok(_) => Exit::HandlerFailed,
                Err(DeliveryError::Refused(_)) => Exit::Refused,
                Err(_) => Exit::NotDelivered,
            },
        }
    }
}

/// The result as the commit shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    /// The run came to an end that is not a success.
    Failed,
    /// The pipe was stopped before its end.
    Stopped,
}

/// What the commit is told.
pub struct Outcome {
    pub verdict: Verdict,
    /// `succeeded`, `refused`, `not delivered` …
    pub word: &'static str,
    /// One line, most important first: Bitbucket cuts it.
    pub headline: String,
    /// The grant that let the event in.
    pub grant: Option<String>,
    pub event_id: EventId,
    /// The record in the receiver's audit chain.
    pub audit: Option<AuditAnchor>,
    pub trace_id: Option<TraceId>,
    /// How often the event was sent.
    pub tries: u32,
    /// Since the pipe started.
    pub elapsed: Duration,
}

impl Outcome {
    /// Return the outcome of a run that ended so.
    pub fn of(end: &End, event_id: &EventId, elapsed: Duration, console: &Console) -> Self {
        match end {
            End::Stopped(signal) => Self {
                elapsed,
                ..Self::without_answer(
                    Verdict::Stopped,
                    "stopped",
                    format!("Stopped by {signal}; the receiver may have got the event"),
                    event_id,
                )
            },
            End::Delivery(Delivery { outcome, tries }) => Self {
                tries: *tries,
                elapsed,
                ..match outcome {
                    Ok(receipt) => Self::of_receipt(receipt, event_id),
                    Err(error) => Self::of_error(error, event_id, console),
                }
            },
        }
    }

    /// Return the outcome of a run that a bug ended.
    pub fn of_panic(event_id: &EventId) -> Self {
        let headline = "A bug in the pipe ended the run; the receiver may have got the event".to_owned();
        Self::without_answer(Verdict::Failed, "outcome unknown", headline, event_id)
    }

    fn of_receipt(receipt: &Receipt, event_id: &EventId) -> Self {
        let (verdict, word, what) = match receipt.state {
            State::Succeeded => (Verdict::Succeeded, "succeeded", "The handler succeeded"),
            State::Interrupted => (Verdict::Failed, "interrupted", "The handler was interrupted"),
            State::Failed | State::Running => (Verdict::Failed, "failed", "The handler failed"),
        };
        let headline = match &receipt.detail {
            Some(detail) if verdict == Verdict::Failed => format!("{what}: {detail}"),
            _ => what.to_owned(),
        };
        Self {
            grant: receipt.grant().map(str::to_owned),
            audit: receipt.audit.clone(),
            trace_id: receipt.trace_id.clone(),
            ..Self::without_answer(verdict, word, headline, event_id)
        }
    }

    fn of_error(error: &DeliveryError, event_id: &EventId, console: &Console) -> Self {
        let (word, headline, refusal) = match error {
            DeliveryError::Refused(refusal) => {
                ("refused", format!("Refused: {}", refusal.short()), Some(refusal.as_ref()))
            }
            DeliveryError::NotDelivered(gave_up) => {
                ("not delivered", format!("Not delivered: {}", gave_up_text(gave_up, console)), gave_up.error.refusal())
            }
            DeliveryError::MayBeAccepted(gave_up) | DeliveryError::Accepted(gave_up) => (
                "outcome unknown",
                format!("Sent, but its outcome is not known: {}", gave_up_text(gave_up, console)),
                gave_up.error.refusal(),
            ),
        };
        Self {
            audit: refusal.and_then(|refusal| refusal.audit.clone()),
            trace_id: refusal.and_then(|refusal| refusal.trace_id.clone()),
            ..Self::without_answer(Verdict::Failed, word, headline, event_id)
        }
    }

    fn without_answer(verdict: Verdict, word: &'static str, headline: String, event_id: &EventId) -> Self {
        Self {
            verdict,
            word,
            headline,
            grant: None,
            event_id: event_id.clone(),
            audit: None,
            trace_id: None,
            tries: 0,
            elapsed: Duration::ZERO,
        }
    }
}

/// Return the last error and why there was no other try. The error is cut, so that the reason behind it is always there.
pub(super) fn gave_up_text(gave_up: &GaveUp, console: &Console) -> String {
    let error = console.clean_line(&gave_up.error.to_string(), LONGEST_ERROR);
    format!("{}{error}{}", gave_up.stage, gave_up.ending)
}
