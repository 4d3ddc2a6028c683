//! The pipe: hands a deployment over from a Bitbucket step to a FastAPI service.
//!
//! Read `run` first: it is the flow. Data walks one way: [`environment`] → [`variables`] → [`step_token`], [`event`] →
//! [`receiver`] ([`exchange`], [`delivery`]) → [`receipt`] or [`refusal`] → [`report`].

pub mod bitbucket;
mod checks;
pub mod console;
pub mod delivery;
pub mod dry_run;
pub mod environment;
pub mod event;
mod exchange;
pub mod failure;
pub mod http;
pub mod pipeline;
pub mod proof;
pub mod random;
pub mod receipt;
pub mod receiver;
pub mod receiver_url;
pub mod redaction;
pub mod refusal;
pub mod report;
pub mod retry;
mod run;
pub mod signature;
pub mod step_key;
pub mod step_token;
mod stop;
pub mod variables;

use std::io::Write as _;
use std::process::ExitCode;

use environment::Environment;
use failure::Exit;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    // The message of a panic could quote what it panicked on; its place is enough for a report.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "✖ internal error at {place}: please report it");
    }));
    let environment = Environment::new(std::env::vars_os());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        let _ = writeln!(std::io::stderr(), "✖ the operating system gives no event loop");
        return Exit::Internal.into();
    };
    let exit = runtime.block_on(run::run(&environment));
    runtime.shutdown_background();
    exit.into()
}
