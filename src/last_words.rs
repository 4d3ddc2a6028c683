//! A bug must not leave the commit INPROGRESS for ever: the panic hook's last act is to tell it.
//!
//! The hook runs before anything unwinds (the release build cannot unwind at all) and ends the process itself.

use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::failure::Exit;
use crate::report::{Outcome, Reporter, Verdict};
use crate::run::OVERTAKING;

/// For everything: the panicking code may hold a lock that the report needs, and then it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before there is anything to tell: says where the bug is, and ends.
pub fn prepare() {
    panic::set_hook(Box::new(|info| {
        say(info);
        std::process::exit(Exit::Internal as i32);
    }));
}

/// From now on, the commit is told.
pub fn tell_on_panic(reporter: Arc<Reporter>, event_id: String) {
    let told = AtomicBool::new(false);
    panic::set_hook(Box::new(move |info| {
        say(info);
        if !told.swap(true, Ordering::SeqCst) {
            tell(&reporter, &event_id);
        }
        std::process::exit(Exit::Internal as i32);
    }));
}

/// Lets a test see a panic in the middle of a run. Not in release builds.
#[cfg(debug_assertions)]
pub fn panic_where_a_test_asks() {
    assert!(
        std::env::var_os("FASTAPI_HANDOFF_TEST_PANIC").is_none(),
        "a test asked for it"
    );
}

/// The place only: the message of a panic could quote the secret it panicked on.
fn say(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(
        std::io::stderr(),
        "✖ a bug in the pipe ended the run at {place}; please report it"
    );
}

/// In a thread and an event loop of its own: this thread's loop is where the panic is.
fn tell(reporter: &Arc<Reporter>, event_id: &str) {
    let headline = "A bug in the pipe ended the run; the receiver may have got the event".to_owned();
    let outcome = Outcome::plain(Verdict::Failed, "outcome unknown", headline, event_id);
    let (done, wait) = mpsc::channel();
    let reporter = reporter.clone();
    std::thread::spawn(move || {
        if let Ok(runtime) = crate::event_loop() {
            runtime.block_on(async {
                reporter.end_apart(&outcome).await;
                // The first status may have been on its way, and would stand for ever if it came last.
                tokio::time::sleep(OVERTAKING).await;
                reporter.end_apart(&outcome).await;
            });
        }
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(PATIENCE);
}
