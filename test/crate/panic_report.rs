//! A bug in the pipe: the commit is told, and nothing of the panic's message is shown.
//!
//! The hook ends its process, so the panic happens in a process of its own: this test, started anew.

use std::process::Command;
use std::sync::Arc;

use fastapi_handoff::report;

use crate::log::Log;
use crate::report::{reporter, state, taken};
use crate::server::Server;

const ORIGIN: &str = "TEST_ORIGIN_OF_BITBUCKET";

/// The process that panics: does nothing unless the other test started it.
#[test]
fn process_that_panics() {
    let Ok(origin) = std::env::var(ORIGIN) else { return };
    let credential = [("BITBUCKET_ACCESS_TOKEN", "an-access-token-of-bitbucket")];
    let reporter = reporter(&origin, &credential, &Log::default());
    report::report_on_panic(Arc::new(reporter), "evt_1".into());
    panic!("a secret in the message of a panic");
}

#[test]
fn bug_fails_the_commit_and_shows_its_place_only() {
    let server = Server::start(taken);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["panic_report::process_that_panics", "--exact", "--nocapture"])
        .env(ORIGIN, &server.origin)
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(1));
    let text = String::from_utf8(child.stderr).unwrap();
    assert!(text.contains("✖ a bug in the pipe ended the run at test/crate/panic_report.rs:"), "{text}");
    assert!(!text.contains("a secret"), "{text}");
    let received = server.received();
    // Once at once, and once more after a first status that could still have been in flight.
    assert_eq!(received.iter().map(state).collect::<Vec<_>>(), ["FAILED", "FAILED"]);
    let description = received[0].json()["description"].clone();
    assert_eq!(description, "A bug in the pipe ended the run; the receiver may have got the event");
}
