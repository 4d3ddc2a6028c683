//! Why one try, and why a whole delivery, ended without a receipt.

use std::fmt;
use std::time::Duration;

use super::refusal::Refusal;
use super::refusal_code::RefusalCode;
use crate::http::{Answer, Arrival, HttpError, Next, When};

/// Characters of an error within a line: it may repeat text of the other side.
pub const LONGEST_ERROR: usize = 300;

/// A success that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not even JSON: something else than a receiver answered.
    #[error("the answer was {status} but no receipt (`{media_type}`)")]
    NotAReceipt { status: u16, media_type: String },
    /// A body cut or garbled on the way; none of it is shown.
    #[error("the answer is not a receipt ({category:?} error at line {line}, column {column})")]
    MalformedReceipt { category: serde_json::error::Category, line: usize, column: usize },
    #[error("the answer is the receipt of another event")]
    OtherEvent,
    #[error("the answer is compressed (`{0}`)")]
    Compressed(String),
    #[error("the answer of the token endpoint is not a token")]
    NotAToken(Next),
    #[error("the token endpoint gave a token that is not bound to the pipe's key (`token_type` is not `DPoP`)")]
    TokenNotBound,
}

impl AnswerError {
    /// Return why a body cannot be read: a compressed one explains itself, any other is `error`.
    pub(super) fn unreadable(answer: &Answer, error: Self) -> Self {
        answer.coding().map_or(error, |coding| Self::Compressed(coding.to_owned()))
    }

    fn next(&self) -> Next {
        match self {
            Self::NotAReceipt { .. } | Self::TokenNotBound => Next::Final,
            Self::NotAToken(next) => *next,
            Self::MalformedReceipt { .. } | Self::OtherEvent | Self::Compressed(_) => Next::Retry(When::Later),
        }
    }
}

/// Why one try brought no receipt.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    #[error(transparent)]
    NoAnswer(#[from] HttpError),
    /// The answer asked for the same request again, with another proof; that one got no answer.
    #[error(transparent)]
    NoAnswerToSecondProof(HttpError),
    #[error("{}", .0.told())]
    Refused(Box<Refusal>),
    /// The receiver takes an access token no more that it took before, or that it has just made under another policy.
    #[error("the access token is no longer good ({})", .0.summary())]
    TokenNoLongerGood(Box<Refusal>),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No access token, so the event was not sent.
    #[error("{}", exchange_text(.0))]
    Exchange(#[source] Box<TryError>),
    #[error("the handler still runs")]
    HandlerRuns,
}

fn exchange_text(error: &TryError) -> String {
    match error.next() {
        Next::Retry(_) => format!("exchange: {error}"),
        Next::Final => error.to_string(),
    }
}

impl TryError {
    /// Return whether another try can succeed.
    pub fn next(&self) -> Next {
        match self {
            Self::NoAnswer(error) | Self::NoAnswerToSecondProof(error) => error.next(),
            Self::Refused(refusal) => refusal.next,
            Self::TokenNoLongerGood(_) => Next::Retry(When::Now),
            Self::Answer(error) => error.next(),
            Self::Exchange(error) => error.next(),
            Self::HandlerRuns => Next::Retry(When::Later),
        }
    }

    /// Return whether another try can succeed where the event may be accepted already. What something in between says it may
    /// take back, and only the receiver can say what became of the event: its own refusal alone is final.
    pub fn next_where_accepted(&self) -> Next {
        match self.next() {
            Next::Final if self.refusal().is_none_or(|refusal| refusal.code.is_none()) => Next::Retry(When::Later),
            next => next,
        }
    }

    /// Return whether the receiver may have accepted the event in this try.
    pub fn arrival(&self) -> Arrival {
        match self {
            Self::NoAnswer(error) => error.arrival(),
            // Whoever answered so, the receiver or something before it, may have done so after the event was accepted.
            Self::Refused(refusal) => match refusal.next {
                Next::Retry(_) => Arrival::Possible,
                Next::Final if refusal.code.is_none() => Arrival::Possible,
                // There is a receipt, though nobody can read it.
                Next::Final if refusal.known_code() == Some(RefusalCode::ReceiptDamaged) => Arrival::Possible,
                Next::Final => Arrival::Impossible,
            },
            // Whoever asked for another proof may have done so after the event was accepted.
            Self::NoAnswerToSecondProof(_) | Self::Answer(_) | Self::HandlerRuns => Arrival::Possible,
            Self::TokenNoLongerGood(_) | Self::Exchange(_) => Arrival::Impossible,
        }
    }

    /// Return the refusal that explains more, where there is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::TokenNoLongerGood(refusal) => Some(refusal),
            Self::Exchange(error) => error.refusal(),
            Self::NoAnswer(_) | Self::NoAnswerToSecondProof(_) | Self::Answer(_) | Self::HandlerRuns => None,
        }
    }
}

/// The last try of a delivery, and why there was no other.
#[derive(Debug, thiserror::Error)]
#[error("{stage}{error}{ending}")]
pub struct GaveUp {
    pub stage: Stage,
    #[source]
    pub error: TryError,
    pub ending: Ending,
}

/// What the last try was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Posting,
    /// Posting, where an earlier try may have been accepted.
    PostingAgain,
    Polling,
    /// Waiting for a handler that runs.
    Waiting,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Posting | Self::Waiting => "",
            Self::PostingAgain => "the last try was refused: ",
            Self::Polling => "asking for the receipt failed: ",
        })
    }
}

/// Why there was no other try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It would have got the same answer.
    Final,
    RetryBudgetUsedUp(Duration),
    RetryAfterExceedsBudget {
        wait: Duration,
        budget: Duration,
    },
    WaitTimeoutUsedUp(Duration),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final => Ok(()),
            Self::RetryBudgetUsedUp(budget) => write!(f, "; that used up RETRY_BUDGET ({} s)", budget.as_secs()),
            Self::RetryAfterExceedsBudget { wait, budget } => write!(
                f,
                "; the receiver asks to wait {} s, more than is left of RETRY_BUDGET ({} s)",
                wait.as_secs(),
                budget.as_secs()
            ),
            Self::WaitTimeoutUsedUp(timeout) => write!(f, "; WAIT_TIMEOUT ({} s) is used up", timeout.as_secs()),
        }
    }
}

/// Why a delivery brought no final receipt, and what is known of the event.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The event was not accepted.
    #[error("refused: {}", .0.summary())]
    Refused(Box<Refusal>),
    /// The event did not reach the receiver.
    #[error("the event was not delivered: {0}")]
    NotDelivered(#[source] GaveUp),
    /// Nobody here knows whether the event was accepted.
    #[error("the event was sent, but its outcome is not known: {0}")]
    MayBeAccepted(#[source] GaveUp),
    /// The event was accepted, and its handler may run still.
    #[error("the event was accepted, but its outcome is not known: {0}")]
    Accepted(#[source] GaveUp),
}
