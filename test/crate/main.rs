//! The crate's own tests: its rooms from outside, against a local HTTP server where one is needed.

mod event;
mod settings;
mod step;
