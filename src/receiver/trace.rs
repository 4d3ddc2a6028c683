//! The W3C trace id of a run. Source: <https://www.w3.org/TR/trace-context/>

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::random_hex;

/// 32 hex digits, sent with every request of a run and repeated by every answer of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceId(String);

impl TraceId {
    #[must_use]
    pub fn random() -> Self {
        Self(random_hex::<16>())
    }

    /// Return the value of `traceparent` for one request.
    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.0, random_hex::<8>())
    }
}

impl From<&str> for TraceId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
