//! A bug must not leave the commit INPROGRESS for ever: the panic hook's last act is to tell it.
//!
//! The hook runs before anything unwinds (the release build cannot unwind at all) and ends the process itself.

use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::advice;
use super::lifecycle::IN_FLIGHT;
use super::outcome::Outcome;
use super::reporter::{Reporter, limit};
use crate::event::EventId;
use crate::exit::Exit;
use crate::runtime::event_loop;

/// For everything: the panicking code may hold a lock that the report needs, and then it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Print where a bug is and end the process, as long as there is no commit to tell.
pub fn print_on_panic() {
    panic::set_hook(Box::new(|info| {
        print(info);
        std::process::exit(Exit::Internal as i32);
    }));
}

/// From now on, tell the commit of a bug before the process ends.
pub fn report_on_panic(reporter: Arc<Reporter>, event_id: EventId) {
    let is_told = AtomicBool::new(false);
    panic::set_hook(Box::new(move |info| {
        print(info);
        if !is_told.swap(true, Ordering::SeqCst) {
            let _ = writeln!(std::io::stderr(), "  {}", advice::look_first(&event_id));
            report(&reporter, &event_id);
        }
        std::process::exit(Exit::Internal as i32);
    }));
}

/// The place only: the message of a panic could quote the secret it panicked on.
fn print(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "✖ a bug in the pipe ended the run at {place}; please report it");
}

/// In a thread and an event loop of its own: this thread's loop is where the panic is.
fn report(reporter: &Arc<Reporter>, event_id: &EventId) {
    let outcome = Outcome::of_panic(event_id);
    let (done, wait) = mpsc::channel();
    let reporter = reporter.clone();
    std::thread::spawn(move || {
        if let (Ok(runtime), Ok(reporter)) = (event_loop(), reporter.reconnected()) {
            runtime.block_on(async {
                let limit = limit(outcome.verdict);
                reporter.tell_last(&outcome, limit).await;
                // The first status may be in flight, and would stand for ever if it came last.
                tokio::time::sleep(IN_FLIGHT).await;
                reporter.tell_last(&outcome, limit).await;
            });
        }
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(PATIENCE);
}
