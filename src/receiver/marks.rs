//! By what an answer of the receiver is found again: the trace of the run, and a record of the audit chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::random_hex;

/// The W3C trace id of a run: 32 hex digits, sent with every request and repeated by every answer of the receiver.
/// Source: <https://www.w3.org/TR/trace-context/>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceId(String);

impl TraceId {
    pub fn random() -> Self {
        Self(random_hex::<16>())
    }

    /// Read the trace id of an answer. Text of another form names no trace.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_trace_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_trace_id.then(|| Self(text.to_owned()))
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

/// One record of the receiver's audit chain, named so that nobody can change what comes before it unnoticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnchor {
    pub seq: u64,
    /// 64 hex digits.
    pub hash: String,
}

impl std::fmt::Display for AuditAnchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}
