//! A refusal: any answer that is not a success, with the receiver's code and its trace of checks where it is the receiver's.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::marks::{AuditAnchor, TraceId};
use super::refusal_code::RefusalCode;
use crate::http::{Answer, Next, When};

const MOST_ROWS: usize = 60;

/// The `code` of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    Known(RefusalCode),
    /// Of a receiver newer than this pipe.
    Unknown(String),
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(code) => code.fmt(f),
            Self::Unknown(code) => f.write_str(code),
        }
    }
}

/// One check that the receiver made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// The claim or step of verification.
    pub check: String,
    #[serde(default)]
    pub expected: Option<String>,
    #[serde(default)]
    pub got: Option<String>,
    #[serde(default)]
    pub ok: bool,
    /// The grant the check belongs to.
    #[serde(default)]
    pub grant: Option<String>,
}

/// Whose answer a refusal is, by its trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It names this run's trace id, or none.
    ThisRequest,
    AnotherRequest,
}

/// An RFC 9457 problem or an OAuth error, which differ in names only. Read member by member, so that one odd member hides no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Absent where something else than a receiver answered.
    pub code: Option<Code>,
    /// For people.
    pub detail: Option<String>,
    pub trace: Vec<Check>,
    /// How many rows of the trace were left out.
    pub more: usize,
    pub trace_id: Option<TraceId>,
    /// The audit record of the refusal.
    pub audit: Option<AuditAnchor>,
    /// Whether the same request may be accepted the next time.
    pub next: Next,
    pub answers: Answers,
}

impl Refusal {
    /// Read any answer that is not a success, to a request that carried this trace id.
    pub fn read(answer: &Answer, sent: &TraceId) -> Self {
        let body =
            if answer.is_json() { serde_json::from_slice(&answer.body).unwrap_or(Value::Null) } else { Value::Null };
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let trace_id = text("trace_id").map(TraceId::from);
        let named = text("trace_id").and_then(TraceId::parse);
        // Something in between may mix up answers: a refusal of another run says nothing about this one's event.
        let is_anothers = named.is_some_and(|trace_id| trace_id != *sent);
        // A gateway's own errors have a `code`, too. Only a receiver's come with a trace, even where it is empty.
        let rows = body.get("trace").and_then(Value::as_array);
        let code = text("code")
            .filter(|_| rows.is_some() && !is_anothers)
            .map(|code| RefusalCode::parse(code).map_or_else(|| Code::Unknown(code.to_owned()), Code::Known));
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        let detail = ["detail", "error_description", "title", "error"].into_iter().find_map(text);
        Self {
            status: answer.status.as_u16(),
            // Something on the way sent the request twice. A new proof gets the receipt that the first one made.
            next: match code {
                Some(Code::Known(RefusalCode::ProofReplayed)) => Next::Retry(When::Now),
                _ if is_anothers => Next::Retry(When::Later),
                _ => answer.next(),
            },
            code,
            detail: detail.map(str::to_owned),
            more: rows.len().saturating_sub(MOST_ROWS),
            trace: rows.iter().take(MOST_ROWS).filter_map(|row| Check::deserialize(row).ok()).collect(),
            trace_id,
            answers: if is_anothers { Answers::AnotherRequest } else { Answers::ThisRequest },
            audit: body.get("audit").and_then(|audit| AuditAnchor::deserialize(audit).ok()),
        }
    }

    /// Return the code where it is one that this pipe knows.
    pub fn known_code(&self) -> Option<RefusalCode> {
        match self.code {
            Some(Code::Known(code)) => Some(code),
            Some(Code::Unknown(_)) | None => None,
        }
    }

    /// Return the code, or the status where the answer was none of a receiver's.
    pub fn name(&self) -> String {
        match (&self.code, self.answers) {
            (Some(code), _) => code.to_string(),
            (None, Answers::ThisRequest) => format!("HTTP {}", self.status),
            (None, Answers::AnotherRequest) => format!("HTTP {} for another request", self.status),
        }
    }

    /// Return one line: the code and the receiver's own words.
    pub fn summary(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.name()),
            None => self.name(),
        }
    }

    /// Return the first check that failed, in short, for the commit: `branch: expected main, got feature/x`.
    pub fn short(&self) -> String {
        let failed = self.trace.iter().find(|check| !check.ok);
        match failed {
            Some(check) => format!(
                "{} ({}: expected {}, got {})",
                self.name(),
                check.check,
                or_nothing(check.expected.as_ref()),
                or_nothing(check.got.as_ref())
            ),
            None => self.summary(),
        }
    }

    /// Return one line for the log of tries.
    pub(super) fn told(&self) -> String {
        match self.next {
            Next::Retry(_) => format!("the answer was {} ({})", self.status, self.summary()),
            Next::Final => self.summary(),
        }
    }
}

/// Return the text of a cell of the trace.
pub fn or_nothing(text: Option<&String>) -> &str {
    text.map_or("(nothing)", String::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::StatusCode;
    use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, body: &Value) -> Refusal {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let status = StatusCode::from_u16(status).unwrap();
        let body = body.to_string().into_bytes();
        Refusal::read(&Answer { status, headers, body }, &"0af7".into())
    }

    #[test]
    fn one_odd_row_of_a_trace_hides_no_other() {
        let trace = json!([{"check": "branch", "expected": "main", "got": "feature/x", "ok": false}, {"odd": 1}, 7]);
        let refusal = refusal(403, &json!({"code": "no-grant-matches", "trace": trace}));
        assert_eq!(refusal.trace.len(), 1);
        assert_eq!(refusal.short(), "no-grant-matches (branch: expected main, got feature/x)");
    }

    #[test]
    fn answer_of_something_else_is_named_by_its_status() {
        let refusal = refusal(502, &json!({"code": "bad-gateway"}));
        assert_eq!((refusal.name().as_str(), refusal.code), ("HTTP 502", None));
    }

    #[test]
    fn proof_that_was_sent_twice_on_the_way_is_made_anew_at_once() {
        let refusal = refusal(401, &json!({"code": "proof-replayed", "trace": []}));
        assert_eq!(refusal.next, Next::Retry(When::Now));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("code|trace|detail|check|expected|audit|seq|hash|\\PC{0,4}", inner, 0..6)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_problem_document_makes_the_reader_panic(body in any_json(), status in 300u16..600) {
            let _ = refusal(status, &body).short();
        }
    }
}
