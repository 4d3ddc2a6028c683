//! SIGTERM and SIGINT. The pipe is process 1 of its container, where a signal without a handler does nothing at all.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for a signal to stop.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on, neither signal ends the process by itself.
    ///
    /// # Errors
    /// Where the operating system lets no handler be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the signal, once it came.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
