//! The exit codes. The table is also in README.md and `docs/troubleshooting.md`.

use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The handler succeeded, and the commit was told.
    Done = 0,
    /// A bug in the pipe.
    Internal = 1,
    /// A variable is missing or malformed; nothing was sent.
    Configuration = 2,
    /// The step has no identity that the receiver could accept; nothing was sent.
    Identity = 3,
    /// The receiver refused.
    Refused = 4,
    /// No receipt: the event was not delivered, or its outcome is not known in time.
    NotDelivered = 5,
    /// The handler failed or was interrupted.
    HandlerFailed = 6,
    /// The handler succeeded, but the commit was not told where that was required, or RECEIPT_FILE was not written.
    NotReported = 7,
    /// SIGTERM or SIGINT.
    Stopped = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
