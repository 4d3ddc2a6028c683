//! The pipe: hands a deployment over from a Bitbucket step to a FastAPI service.
//!
//! Read `run` first: it is the flow. Each room has one door, its `mod.rs`, which says what belongs there. Imports go
//! downwards only, in this order (`test/crate/imports.rs` holds it): `run` → `report` → `receiver`, `bitbucket` →
//! `identity`, `http` → `event` → `settings` → `console` → `exit`, `signals`, `runtime`, `crypto`.

pub mod bitbucket;
pub mod console;
mod crypto;
pub mod event;
pub mod exit;
pub mod http;
pub mod identity;
pub mod receiver;
pub mod report;
mod run;
mod runtime;
pub mod settings;
pub mod signals;

use std::io::Write as _;
use std::process::ExitCode;

use exit::Exit;
use settings::Environment;

/// Run the whole program.
pub fn main() -> ExitCode {
    report::print_on_panic();
    let environment = Environment::new(std::env::vars_os());
    let Ok(runtime) = runtime::event_loop() else {
        let _ = writeln!(std::io::stderr(), "✖ the operating system gives no event loop");
        return Exit::Internal.into();
    };
    let exit = runtime.block_on(run::run(&environment));
    runtime.shutdown_background();
    exit.into()
}
