//! The event loop: of the run, and of the report that a panic makes.

/// Return an event loop of one thread: enough for one conversation, and quicker to start than several.
///
/// # Errors
/// The operating system has no event queue or timer for it.
pub(crate) fn event_loop() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
