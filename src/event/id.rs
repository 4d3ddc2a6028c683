//! The id of an event.

use std::fmt;

use crate::crypto::random_hex;

/// `evt_` and 32 hex digits: `webhook-id`, the CloudEvent's `id` and the CDEvent's `context.id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(String);

impl EventId {
    /// Return an id that no other event has.
    pub fn random() -> Self {
        Self(format!("evt_{}", random_hex::<16>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
