//! The console: everything that a person reads in the build log goes out through here, masked and printable.
//!
//! Belongs here: how lines look, what is masked. Not here: what a line says, which is up to the room that has the facts.
//! Lines go to standard error; data (the command of a dry run) goes to standard output.

mod needles;
mod redaction;
mod text;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

pub use redaction::MASK;
use redaction::Redactor;
pub use text::{aligned, in_words};

const LONGEST_DEBUG: usize = 3000;
const BLUE: &str = "\u{1b}[34m";
const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREY: &str = "\u{1b}[90m";
const RESET: &str = "\u{1b}[0m";

/// Writes masked, coloured lines. `NO_COLOR` (<https://no-color.org>) turns the colours off.
pub struct Console {
    colours: bool,
    debug: bool,
    redactor: Mutex<Redactor>,
    log: Mutex<Box<dyn Write + Send>>,
}

impl Console {
    /// Write lines to `log`, with those of [`Self::debug`] where `debug` is set.
    /// Pipelines shows colours though its log is no terminal, so they are on unless `NO_COLOR` says otherwise.
    pub fn new(debug: bool, log: impl Write + Send + 'static) -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours, debug, redactor: Mutex::default(), log: Mutex::new(Box::new(log)) }
    }

    fn redactor(&self) -> MutexGuard<'_, Redactor> {
        // A panic elsewhere must not stop the masking.
        self.redactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Masks this secret in all that is written or reported from now on.
    pub fn hide(&self, secret: &SecretString) {
        self.redactor().hide(secret.expose_secret());
    }

    /// Masks the proof of the request that is about to be sent.
    pub fn hide_proof(&self, proof: &str) {
        self.redactor().hide_proof(proof);
    }

    /// Text that may leave the process: see [`Redactor::clean`].
    pub fn clean(&self, text: &str) -> String {
        self.redactor().clean(text)
    }

    /// One line that may leave the process: see [`Redactor::clean_line`].
    pub fn clean_line(&self, text: &str, length: usize) -> String {
        self.redactor().clean_line(text, length)
    }

    /// What the pipe is doing.
    pub fn info(&self, text: &str) {
        self.write(BLUE, "INFO: ", text);
    }

    /// What the user should know but that stops nothing.
    pub fn warn(&self, text: &str) {
        self.write(YELLOW, "WARNING: ", text);
    }

    /// A stage of the run that succeeded: `✔ token     …`.
    pub fn done(&self, stage: &str, text: &str) {
        self.write(GREEN, "✔ ", &format!("{stage:<9} {text}"));
    }

    /// What went wrong.
    pub fn fail(&self, text: &str) {
        self.write(RED, "✖ ", text);
    }

    /// What belongs to the line before: a table, YAML to copy, advice.
    pub fn plain(&self, text: &str) {
        self.write("", "  ", text);
    }

    /// Only with `DEBUG: 'true'`. Long text is cut, after it was masked: half a secret would not be recognised.
    /// The text is made only where it is shown: an answer may have a megabyte.
    pub fn debug(&self, text: impl FnOnce() -> String) {
        if self.debug {
            let clean = self.clean(&text());
            let cut = clean.chars().take(LONGEST_DEBUG).collect::<String>();
            let mark = if cut.len() < clean.len() { "…" } else { "" };
            self.write(GREY, "DEBUG: ", &format!("{cut}{mark}"));
        }
    }

    fn write(&self, colour: &str, mark: &str, text: &str) {
        let clean = self.clean(text);
        let (colour, reset) = if self.colours && !colour.is_empty() { (colour, RESET) } else { ("", "") };
        let indent = " ".repeat(mark.chars().count());
        let mut lines = String::new();
        for (number, line) in clean.lines().enumerate() {
            let mark = if number == 0 { mark } else { &indent };
            lines.push_str(&format!("{colour}{mark}{line}{reset}\n"));
        }
        // A log that cannot be written must not end the run: the exit code and the commit's status still tell the outcome.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = log.write_all(lines.as_bytes()).and_then(|()| log.flush());
    }

    /// Data on standard output.
    pub fn print(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{}", self.clean(text));
    }
}
