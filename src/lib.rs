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
mod hosts_file;
pub mod http;
mod last_words;
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
    last_words::prepare();
    let environment = Environment::new(std::env::vars_os());
    let Ok(runtime) = event_loop() else {
        let _ = writeln!(std::io::stderr(), "✖ the operating system gives no event loop");
        return Exit::Internal.into();
    };
    let exit = runtime.block_on(run::run(&environment));
    runtime.shutdown_background();
    exit.into()
}

/// One thread is enough for one conversation, and starts faster.
fn event_loop() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
