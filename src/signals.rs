//! SIGTERM and SIGINT. The pipe is process 1 of its container, where a signal without a handler does nothing at all.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that stop a run.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Handle both signals from now on: neither ends the process by itself any more.
    ///
    /// # Errors
    /// The operating system lets no handler be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Wait for a signal, and return its name.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
