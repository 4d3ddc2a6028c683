//! The outcome in the build log.

use super::advice::{self, Fate};
use super::outcome::{End, Outcome, gave_up_text};
use crate::console::{Console, aligned};
use crate::receiver::{AuditAnchor, Code, DeliveryError, GaveUp, Receipt, Refusal, State, TraceId, or_nothing};
use crate::settings::ReceiverUrl;

const LONGEST_TEXT: usize = 1000;
const LONGEST_LINE: usize = 500;
const LONGEST_CELL: usize = 90;

/// Print how the run ended, and what to do about it.
pub fn log_outcome(console: &Console, end: &End, outcome: &Outcome, receiver: &ReceiverUrl) {
    let id = &outcome.event_id;
    match end {
        End::Stopped(signal) => {
            console.fail(&format!("stopped by {signal}; the receiver may have got the event {id}"));
            console.plain(&advice::look_first(id));
        }
        End::Delivery(delivery) => match &delivery.outcome {
            Ok(receipt) => log_receipt(console, receipt, outcome),
            Err(DeliveryError::Refused(refusal)) => log_refusal(console, refusal, receiver),
            Err(DeliveryError::NotDelivered(gave_up)) => {
                log_gave_up(console, "the event was not delivered", gave_up);
                explain(console, gave_up.error.refusal(), receiver, Fate::NotAccepted);
            }
            Err(error @ (DeliveryError::MayBeAccepted(gave_up) | DeliveryError::Accepted(gave_up))) => {
                let lead = format!("the event {id} was sent, but its outcome is not known");
                log_gave_up(console, &lead, gave_up);
                if matches!(error, DeliveryError::Accepted(_)) {
                    console.plain(&format!("The event {id} was accepted"));
                }
                console.plain(&advice::look_first(id));
                explain(console, gave_up.error.refusal(), receiver, Fate::MayBeAccepted);
            }
        },
    }
}

fn log_receipt(console: &Console, receipt: &Receipt, outcome: &Outcome) {
    let mut line = format!("{} · {}", receipt.id, outcome.word);
    if let Some(grant) = receipt.grant() {
        line.push_str(&format!(" · grant `{grant}`"));
    }
    line.push_str(&format!(" · {:.1} s", outcome.elapsed.as_secs_f64()));
    if outcome.tries > 1 {
        line.push_str(&format!(" · {} tries", outcome.tries));
    }
    let line = console.clean_line(&line, LONGEST_LINE);
    if receipt.state == State::Succeeded {
        console.done("event", &line);
    } else {
        console.fail(&format!("{:<9} {line}", "event"));
        console.plain(&console.clean_line(&outcome.headline, LONGEST_TEXT));
    }
    // How far the handler came, nobody here knows.
    if receipt.state == State::Interrupted {
        console.plain(&advice::look_first(&outcome.event_id));
    }
    if !receipt.result.is_null() {
        console.info(&console.clean_line(&format!("result {}", receipt.result), LONGEST_LINE));
    }
    log_marks(console, receipt.audit.as_ref(), receipt.trace_id.as_ref());
}

fn log_gave_up(console: &Console, lead: &str, gave_up: &GaveUp) {
    let text = gave_up_text(gave_up, console);
    console.fail(&console.clean_line(&format!("{lead}: {text}"), LONGEST_TEXT));
    if let Some(advice) = advice::for_try(&gave_up.error) {
        console.plain(advice);
    }
}

fn log_refusal(console: &Console, refusal: &Refusal, receiver: &ReceiverUrl) {
    let by = match refusal.code {
        Some(Code::Known(_) | Code::Unknown(_)) => "by the receiver",
        None => "by something that is no receiver",
    };
    let summary = console.clean_line(&refusal.summary(), LONGEST_TEXT);
    console.fail(&format!("refused {by}: {summary}"));
    explain(console, Some(refusal), receiver, Fate::NotAccepted);
}

/// Print the trace of checks of a refusal, where there is one, and what to do.
fn explain(console: &Console, refusal: Option<&Refusal>, receiver: &ReceiverUrl, fate: Fate) {
    let Some(refusal) = refusal else { return };
    for line in trace_of_checks(console, refusal) {
        console.plain(&line);
    }
    console.info(&format!("what to do: {}", advice::for_refusal(refusal, receiver, fate)));
    log_marks(console, refusal.audit.as_ref(), refusal.trace_id.as_ref());
}

/// Return *check · expected · got*, a group for each grant. What passed outside of any grant is one line: it is not what the
/// user looks for.
fn trace_of_checks(console: &Console, refusal: &Refusal) -> Vec<String> {
    let cell = |text: &str| console.clean_line(text, LONGEST_CELL);
    let (passed, shown): (Vec<_>, Vec<_>) = refusal.trace.iter().partition(|check| check.ok && check.grant.is_none());
    let mut lines = Vec::new();
    if !passed.is_empty() {
        let names = passed.iter().map(|check| check.check.as_str()).collect::<Vec<_>>();
        let names = console.clean_line(&names.join(", "), LONGEST_TEXT);
        lines.push(format!("✔ verified: {names}"));
    }
    if shown.is_empty() {
        return lines;
    }
    let head = ["  check", "expected", "got"].map(str::to_owned);
    let rows = shown.iter().map(|check| {
        let mark = if check.ok { "✔" } else { "✖" };
        [
            format!("{mark} {}", cell(&check.check)),
            cell(or_nothing(check.expected.as_ref())),
            cell(or_nothing(check.got.as_ref())),
        ]
    });
    let mut table = aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>()).into_iter();
    lines.extend(table.next());
    let mut group = None;
    for (check, row) in shown.iter().zip(table) {
        if check.grant.as_ref() != group {
            group = check.grant.as_ref();
            lines.extend(group.map(|name| format!("grant `{}`", cell(name))));
        }
        lines.push(row);
    }
    if refusal.more > 0 {
        let more = refusal.more;
        lines.push(format!("… and {more} rows more; the receiver's policy file has all grants"));
    }
    lines
}

/// Print by what an answer is found again: the record in the receiver's audit chain, and the trace.
fn log_marks(console: &Console, audit: Option<&AuditAnchor>, trace_id: Option<&TraceId>) {
    let audit = audit.map(|audit| format!("audit {audit}"));
    let trace = trace_id.map(|trace_id| format!("trace {trace_id}"));
    let marks = audit.into_iter().chain(trace).collect::<Vec<_>>();
    if !marks.is_empty() {
        console.info(&console.clean_line(&marks.join(" · "), LONGEST_LINE));
    }
}
