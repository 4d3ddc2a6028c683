//! How a run can end badly, and the exit codes. The table is also in README.md and `docs/troubleshooting.md`.

use std::process::ExitCode;

use crate::refusal::Refusal;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The handler succeeded and the commit knows.
    Done = 0,
    /// A bug in the pipe.
    Internal = 1,
    /// A variable is missing or malformed; nothing was sent.
    Configuration = 2,
    /// The step has no identity that the receiver could accept; nothing was sent.
    Identity = 3,
    /// The receiver refused.
    Refused = 4,
    /// No receipt: not delivered, or its outcome is not known in time.
    NotDelivered = 5,
    /// The handler failed or was interrupted.
    HandlerFailed = 6,
    /// Delivered, but not reported where it had to be.
    NotReported = 7,
    /// SIGTERM or SIGINT.
    Stopped = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// No receipt.
#[derive(Debug)]
pub struct NotDelivered {
    /// What happened last.
    pub what: String,
    /// What to do, where that is known.
    pub advice: Option<String>,
    /// Whether the receiver may have got the event all the same: then nobody here knows whether its handler ran.
    pub outcome_unknown: bool,
    /// The refusal of the last try: it explains, but does not tell what became of the tries before.
    pub refusal: Option<Box<Refusal>>,
}

/// Why the event was not handled, as far as the pipe knows.
#[derive(Debug)]
pub enum Failure {
    /// The receiver said no.
    Refused(Box<Refusal>),
    /// No receipt.
    NotDelivered(NotDelivered),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::NotDelivered(_) => Exit::NotDelivered,
        }
    }
}
