//! A console whose lines a test can read.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use fastapi_handoff::console::Console;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A console that writes here, with its lines for `DEBUG`.
    pub(crate) fn console(&self) -> Arc<Console> {
        Arc::new(Console::new(true, self.clone()))
    }

    /// The lines without their colours.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let mut plain = String::new();
        for (number, piece) in text.split('\u{1b}').enumerate() {
            let piece = if number == 0 { piece } else { piece.split_once('m').unwrap().1 };
            plain.push_str(piece);
        }
        plain
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
