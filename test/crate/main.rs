//! The crate's own tests: its rooms from outside, against a local HTTP server where one is needed.

mod event;
mod http;
mod imports;
mod log;
mod log_texts;
mod panic_report;
mod receiver;
mod refusal_codes;
mod report;
mod server;
mod settings;
mod step;
mod variables;

/// The text of a file of the repository.
fn repository(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
