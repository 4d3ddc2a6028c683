//! The event: what is handed over, and what binds its body to a request.
//!
//! Belongs here: the event's form on the wire, its id, digest and signature. Not here: who sends it and how often, which is
//! the `receiver` room's.

mod id;
mod model;
mod signature;

pub use id::EventId;
pub use model::{AttestedFacts, Event, EventInput};
pub use signature::{content_digest, webhook_signature};
