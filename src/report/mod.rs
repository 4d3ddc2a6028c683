//! The report: how an outcome is told, in the build log and on the commit, and what the user can do about it.
//!
//! Belongs here: the words for users, the advice, and the whole life of a commit's status: the first one, the last one, a
//! late one, one after a stop and one after a panic. Not here: how Bitbucket or the receiver is spoken to.

mod advice;
mod build_status;
mod code_insights;
mod lifecycle;
mod log;
mod outcome;
mod panic_report;
mod reporter;
mod subject;

pub use advice::{for_code, for_identity};
pub use lifecycle::{begin, finish};
pub use log::log_outcome;
pub use outcome::{End, Outcome, Verdict};
pub use panic_report::{print_on_panic, report_on_panic};
pub use reporter::{FirstStatus, Reporter, Told};
