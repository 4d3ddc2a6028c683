//! The receiver's answer about an event. Contract: `docs/protocol.md`, The receipt.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::AnswerError;
use super::marks::{AuditAnchor, TraceId};
use crate::event::EventId;
use crate::http::{Answer, retry_after};

const POLL_DEFAULT: Duration = Duration::from_secs(2);
const POLL_SHORTEST: Duration = Duration::from_millis(200);

/// How far the event got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Succeeded,
    Failed,
    /// The handler's process died, and it is not run again.
    Interrupted,
}

/// A receipt. Members this pipe does not know are dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub id: String,
    pub state: State,
    /// Why the handler failed.
    #[serde(default)]
    pub detail: Option<String>,
    /// What the handler returned.
    #[serde(default)]
    pub result: Value,
    /// The attested facts about the caller.
    #[serde(default)]
    pub identity: Map<String, Value>,
    /// What the event said, which nobody has attested.
    #[serde(default)]
    pub asserted: Map<String, Value>,
    #[serde(default)]
    pub trace_id: Option<TraceId>,
    /// The audit record of this state.
    #[serde(default)]
    pub audit: Option<AuditAnchor>,
}

/// What an answer about an event says.
#[derive(Debug)]
pub(super) enum Progress {
    Final(Receipt),
    Running { ask_again_in: Duration },
}

impl Progress {
    /// Read a success that answers for the event `id`.
    pub(super) fn read(answer: &Answer, id: &EventId) -> Result<Self, AnswerError> {
        if !answer.is_json() {
            return Err(AnswerError::NotAReceipt { status: answer.status.as_u16(), media_type: answer.media_type() });
        }
        let receipt = Receipt::read(&answer.body, id).map_err(|error| AnswerError::unreadable(answer, error))?;
        if answer.status != StatusCode::ACCEPTED && receipt.state != State::Running {
            return Ok(Self::Final(receipt));
        }
        let ask_again_in = retry_after(&answer.headers, SystemTime::now()).unwrap_or(POLL_DEFAULT);
        Ok(Self::Running { ask_again_in: ask_again_in.max(POLL_SHORTEST) })
    }
}

impl Receipt {
    /// Read the receipt of the event `id`.
    fn read(body: &[u8], id: &EventId) -> Result<Self, AnswerError> {
        let receipt: Self = serde_json::from_slice(body).map_err(|error| AnswerError::MalformedReceipt {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        })?;
        if receipt.id != id.as_str() {
            return Err(AnswerError::OtherEvent);
        }
        Ok(receipt)
    }

    /// Return the name of the grant that let the event in.
    pub fn grant(&self) -> Option<&str> {
        self.identity.get("grant").and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};

    use super::*;

    #[test]
    fn receipt_of_another_event_is_not_taken() {
        let body = br#"{"id":"evt_b","state":"succeeded"}"#;
        assert!(Receipt::read(body, &"evt_b".into()).is_ok());
        assert_eq!(Receipt::read(body, &"evt_a".into()).unwrap_err(), AnswerError::OtherEvent);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Receipt::read(&body, &"evt_a".into());
        }

        #[test]
        fn running_receipt_is_asked_for_when_the_receiver_says_and_never_in_a_spin(seconds in 0u64..100_000) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
            headers.insert(RETRY_AFTER, seconds.into());
            let body = br#"{"id": "evt_1", "state": "running"}"#.to_vec();
            let answer = Answer { status: StatusCode::ACCEPTED, headers, body };
            let Ok(Progress::Running { ask_again_in }) = Progress::read(&answer, &"evt_1".into()) else {
                panic!("a receipt that runs was expected");
            };
            prop_assert_eq!(ask_again_in, Duration::from_secs(seconds).max(POLL_SHORTEST));
        }
    }
}
