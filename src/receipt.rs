//! The receiver's answer about an event. Contract: `docs/protocol.md`, The receipt.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::console::Console;

const LONGEST_MARKS: usize = 500;

/// How far the event got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The handler runs.
    Running,
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
    /// Its process died, and it is not run again.
    Interrupted,
}

/// One record of the receiver's audit chain, named so that nobody can change what comes before it unnoticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Its number.
    pub seq: u64,
    /// 64 hex digits.
    pub hash: String,
}

impl std::fmt::Display for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// A receipt. Members this pipe does not know are dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event's id.
    pub id: String,
    /// How far it got.
    pub state: State,
    /// Why it failed.
    #[serde(default)]
    pub detail: Option<String>,
    /// What the handler returned.
    #[serde(default)]
    pub result: Value,
    /// Attested facts.
    #[serde(default)]
    pub identity: Map<String, Value>,
    /// What the event said.
    #[serde(default)]
    pub asserted: Map<String, Value>,
    /// W3C trace id.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// The audit record of this state.
    #[serde(default)]
    pub audit: Option<Anchor>,
}

impl Receipt {
    /// Reads the receipt of the event `id`.
    ///
    /// # Errors
    /// Says what the body is instead, showing none of it.
    pub fn read(body: &[u8], id: &str) -> Result<Self, String> {
        let receipt: Self = serde_json::from_slice(body).map_err(|error| {
            format!(
                "the answer is not a receipt ({:?} error at line {}, column {})",
                error.classify(),
                error.line(),
                error.column()
            )
        })?;
        if receipt.id != id {
            return Err("the answer is the receipt of another event".to_owned());
        }
        Ok(receipt)
    }

    /// The name of the grant that let the event in.
    #[must_use]
    pub fn grant(&self) -> Option<&str> {
        self.identity.get("grant").and_then(Value::as_str)
    }
}

/// Prints by what an answer is found again: the record in the receiver's audit chain, and the trace.
pub(crate) fn print_marks(console: &Console, audit: Option<&Anchor>, trace_id: Option<&str>) {
    let audit = audit.map(|audit| format!("audit {audit}"));
    let trace = trace_id.map(|trace_id| format!("trace {trace_id}"));
    let marks = audit.into_iter().chain(trace).collect::<Vec<_>>();
    if !marks.is_empty() {
        console.info(&console.clean_line(&marks.join(" · "), LONGEST_MARKS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn receipt_of_another_event_is_not_taken() {
        let body = br#"{"id":"evt_b","state":"succeeded"}"#;
        assert!(Receipt::read(body, "evt_b").is_ok());
        assert_eq!(
            Receipt::read(body, "evt_a").unwrap_err(),
            "the answer is the receipt of another event"
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Receipt::read(&body, "evt_a");
        }
    }
}
