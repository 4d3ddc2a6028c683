//! A refusal: the receiver's code, its trace, and what the user can change.

use serde::Deserialize;
use serde_json::Value;

use crate::console::Console;
use crate::http::Answer;
use crate::receipt::{Anchor, print_marks};
use crate::receiver_url::ReceiverUrl;

const LONGEST_TEXT: usize = 1000;
const LONGEST_CELL: usize = 90;
const MOST_ROWS: usize = 60;

/// One check the receiver made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// The claim or step of verification.
    pub check: String,
    /// What the receiver wanted.
    #[serde(default)]
    pub expected: Option<String>,
    /// What it got.
    #[serde(default)]
    pub got: Option<String>,
    /// Whether that was good.
    #[serde(default)]
    pub ok: bool,
    /// The grant the check belongs to.
    #[serde(default)]
    pub grant: Option<String>,
}

/// An RFC 9457 problem or an OAuth error, which differ in names only. Read member by member, so that one odd member hides no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The receiver's code; absent where something else than a receiver answered.
    pub code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// What was checked.
    pub trace: Vec<Check>,
    /// How many rows more there were than are kept.
    pub more: usize,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// The audit record of the refusal.
    pub audit: Option<Anchor>,
}

impl Refusal {
    /// Reads any answer that is not a success.
    #[must_use]
    pub fn read(answer: &Answer) -> Self {
        let body = if answer.is_json() {
            serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
        } else {
            Value::Null
        };
        Self::from_json(answer.status.as_u16(), &body)
    }

    fn from_json(status: u16, body: &Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        // A gateway's own errors have a `code`, too. Only a receiver's come with a trace, even where it is empty.
        let is_receivers = body.get("trace").is_some_and(Value::is_array);
        Self {
            status,
            code: text("code").filter(|_| is_receivers),
            detail: text("detail")
                .or_else(|| text("error_description"))
                .or_else(|| text("title"))
                .or_else(|| text("error")),
            more: body
                .get("trace")
                .and_then(Value::as_array)
                .map_or(0, |rows| rows.len().saturating_sub(MOST_ROWS)),
            trace: body
                .get("trace")
                .and_then(Value::as_array)
                .map(|rows| {
                    rows.iter()
                        .take(MOST_ROWS)
                        .filter_map(|row| Check::deserialize(row).ok())
                        .collect()
                })
                .unwrap_or_default(),
            trace_id: text("trace_id"),
            audit: body.get("audit").and_then(|audit| Anchor::deserialize(audit).ok()),
        }
    }

    /// The code, or the status where the answer was none of a receiver's.
    #[must_use]
    pub fn name(&self) -> String {
        self.code.clone().unwrap_or_else(|| format!("HTTP {}", self.status))
    }

    /// One line: the code and the receiver's own words.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.name()),
            None => self.name(),
        }
    }

    /// The checks that failed, in short, for the commit: `branch: expected main, got feature/x`.
    #[must_use]
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

    /// Prints the refusal, its table and what to do.
    pub fn print(&self, console: &Console, receiver: &ReceiverUrl) {
        let by = if self.code.is_some() {
            "by the receiver"
        } else {
            "by something that is no receiver"
        };
        console.fail(&format!(
            "refused {by}: {}",
            console.clean_line(&self.summary(), LONGEST_TEXT)
        ));
        self.explain(console, receiver);
    }

    /// Prints the table and what to do.
    pub fn explain(&self, console: &Console, receiver: &ReceiverUrl) {
        for line in self.table(console) {
            console.plain(&line);
        }
        console.info(&format!("what to do: {}", self.advice(receiver)));
        print_marks(console, self.audit.as_ref(), self.trace_id.as_deref());
    }

    /// *check · expected · got*, a group for each grant. What passed outside of any grant is one line: it is not what the user looks for.
    fn table(&self, console: &Console) -> Vec<String> {
        let cell = |text: &str| console.clean_line(text, LONGEST_CELL);
        let (passed, shown): (Vec<_>, Vec<_>) = self.trace.iter().partition(|check| check.ok && check.grant.is_none());
        let mut lines = Vec::new();
        if !passed.is_empty() {
            let names = passed
                .iter()
                .map(|check| check.check.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            lines.push(format!("✔ verified: {}", console.clean_line(&names, LONGEST_TEXT)));
        }
        let rows = shown.iter().map(|check| {
            let mark = if check.ok { "✔" } else { "✖" };
            [
                format!("{mark} {}", cell(&check.check)),
                cell(or_nothing(check.expected.as_ref())),
                cell(or_nothing(check.got.as_ref())),
            ]
        });
        let rows = [["  check", "expected", "got"].map(str::to_owned)]
            .into_iter()
            .chain(rows)
            .collect::<Vec<_>>();
        if rows.len() == 1 {
            return lines;
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        let line = |row: &[String; 3]| format!("{:<first$}   {:<second$}   {}", row[0], row[1], row[2]);
        lines.push(line(&rows[0]));
        let mut group = None;
        for (check, row) in shown.iter().zip(&rows[1..]) {
            if check.grant.as_ref() != group {
                group = check.grant.as_ref();
                if let Some(name) = group {
                    lines.push(format!("grant `{}`", cell(name)));
                }
            }
            lines.push(line(row));
        }
        if self.more > 0 {
            lines.push(format!(
                "… and {} rows more; the receiver's policy file has all grants",
                self.more
            ));
        }
        lines
    }

    /// What a user changes for each code: the pipeline, or the policy.
    #[must_use]
    pub fn advice(&self, receiver: &ReceiverUrl) -> String {
        let Some(code) = self.code.as_deref() else {
            return match self.status {
                404 | 405 => format!(
                    "no receiver answers at {receiver}: RECEIVER_URL is the URL where the app mounts the router, without `/token` or `/events`"
                ),
                300..400 => "the URL redirects, which this pipe does not follow: set RECEIVER_URL to the final address"
                    .to_owned(),
                500.. => format!(
                    "the app, or something in front of it, answered {}: look at the app's log, and at the proxy there",
                    self.status
                ),
                _ => format!(
                    "something in front of the app, not the receiver, answered {}: look at the proxy or firewall there",
                    self.status
                ),
            };
        };
        match code {
            "no-grant-matches" => "if this pipeline should be allowed, change the rows marked ✖ in one grant of the receiver's policy file; if not, run it from where a grant allows it (branch, deployment)",
            "scope-not-granted" | "scope-missing" => "ask for less with SCOPE (or leave SCOPE out to get all that is granted), or add the scope to the grant in the receiver's policy file",
            "audience-mismatch" | "resource-mismatch" => "make RECEIVER_URL, the step's `oidc: audiences:` and the receiver's `url=` the same text",
            "issuer-unknown" => "the receiver's policy names another workspace: check `workspace` and `workspace_uuid` in the policy file, or RECEIVER_URL",
            "step-token-expired" | "token-expired" => "run the pipe in a step of its own: a step gets one token, at its start",
            "step-token-not-yet-valid" | "timestamp-out-of-window" => "check the clocks of the receiver and of this machine (self-hosted runner?): they differ by more than a minute",
            "step-token-already-bound" => "the step token was used with another key before: if two pipes run in this step, let both run as root so that they share BITBUCKET_PIPE_STORAGE_DIR; if not, somebody else has the token",
            "step-token-signature-invalid" | "step-token-malformed" | "claims-missing" => "let Pipelines set BITBUCKET_STEP_OIDC_TOKEN: it is not a token that Bitbucket made for this step",
            "identity-mismatch" => "the event says other than the step token: remove variables that override Bitbucket's own (BITBUCKET_…), and let ENVIRONMENT and SERVICE be what the grant names",
            "signature-missing" => "set SIGNING_SECRET: the receiver takes signed events only",
            "signature-invalid" => "give the receiver's current secret as SIGNING_SECRET",
            "payload-too-large" => "send less as CUSTOM_DATA: the event may have 256 KiB",
            "event-not-handled" => "register a handler for this event in the app (`@handoff.on(…)`), or change EVENT",
            "event-malformed" => "where the detail names a variable's value (CUSTOM_DATA, SERVICE, ENVIRONMENT, ARTIFACT_ID), change that; if not, the receiver is of another version than this pipe, or something on the way changed the request",
            "token-request-malformed" => "the receiver is of another version than this pipe, or something on the way changed the request: compare both versions, and run with DEBUG: 'true'",
            "issuer-unavailable" => "the receiver cannot fetch the workspace's keys: see whether it reaches Bitbucket's API, and whether OIDC is on for the workspace; then run the step again",
            "store-unavailable" => "the receiver's database does not answer, or refuses to record: see the receiver's log and its `GET …/health`; then run the step again",
            "event-conflict" => "another event had this id: run the step again",
            "proof-invalid" | "proof-missing" | "proof-replayed" | "key-mismatch" | "token-missing" | "token-invalid" | "digest-mismatch" => {
                "a proxy on the way may change the request, or the clocks differ: compare RECEIVER_URL with the receiver's `url=`, and run with DEBUG: 'true'"
            }
            _ => "look the code up in the receiver's docs (troubleshooting)",
        }
        .to_owned()
    }
}

fn or_nothing(text: Option<&String>) -> &str {
    text.map_or("(nothing)", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn refusal_shows_its_trace_as_a_table() {
        let refusal = Refusal::from_json(
            403,
            &json!({"error": "invalid_request", "error_description": "no grant matches", "code": "no-grant-matches", "trace": [
                {"check": "signature", "expected": "RS256", "got": "RS256", "ok": true},
                {"check": "iss", "expected": "x", "got": "x", "ok": true},
                {"check": "repository", "expected": "{a}", "got": "{a}", "ok": true, "grant": "from main"},
                {"check": "branch", "expected": "main", "got": "feature/x", "ok": false, "grant": "from main"},
                {"check": "environment", "expected": "{e}", "got": null, "ok": false, "grant": "staging"},
                {"odd": 1},
            ]}),
        );
        assert_eq!(
            refusal.table(&Console::new(false)),
            [
                "✔ verified: signature, iss",
                "  check         expected   got",
                "grant `from main`",
                "✔ repository    {a}        {a}",
                "✖ branch        main       feature/x",
                "grant `staging`",
                "✖ environment   {e}        (nothing)",
            ]
        );
        assert_eq!(
            refusal.short(),
            "no-grant-matches (branch: expected main, got feature/x)"
        );
    }

    #[test]
    fn answer_of_something_else_is_named_by_its_status() {
        let refusal = Refusal::from_json(502, &Value::Null);
        assert_eq!(refusal.name(), "HTTP 502");
        assert_eq!(refusal.code, None);
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
        fn no_problem_document_makes_the_reader_or_the_table_panic(body in any_json(), status in 300u16..600) {
            let refusal = Refusal::from_json(status, &body);
            let _ = refusal.table(&Console::new(false));
            prop_assert!(!refusal.advice(&ReceiverUrl::parse("https://a.b").unwrap()).is_empty());
            let _ = refusal.short();
        }
    }
}
