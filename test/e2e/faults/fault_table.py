"""The table of faults: what the pipe makes of each, at every point of the conversation.

Each row: where, which faults on successive requests, and then the exit code, a line of the log, the last state on the commit, how
often the event reached the receiver, and how often its handler ran.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from types import MappingProxyType

from support.links import Fault
from support.links.faults import (
    afterwards,
    changed,
    clock_off_by,
    compressed,
    cut_answer,
    cut_head,
    duplicated,
    endless,
    hang_up_after,
    http2,
    huge_headers,
    instead,
    lose_answer,
    nonce_challenge,
    refusal,
    reset_unforwarded,
    retry_at,
    retry_later,
    silence,
    silence_unforwarded,
    still_runs,
)
from support.scenes import EVENT, FIRST_STATUS, INSIGHTS, LAST_STATUS, OAUTH, POLL, TOKEN, Point

HTML = "<html><body>Welcome to the load balancer</body></html>"
NOT_DELIVERED = "the event was not delivered"
UNKNOWN = "was sent, but its outcome is not known"
Change = Mapping[str, str | None]
"""What a row changes in the pipe's variables."""


@dataclass(frozen=True)
class Row:
    """One row of the table; `delivered` `None` where chance decides how often."""

    name: str
    point: Point
    faults: Iterable[Fault]
    exit_code: int
    line: str
    state: str | None
    delivered: int | None
    handled: int
    change: Change = field(default_factory=dict)
    accepted_first: bool = False
    """The event's answer says that the handler still runs, so that the pipe polls."""

    @property
    def timeout(self) -> str:
        """Seconds for a request: few where they must run out, else so many that a busy machine does not matter."""
        return "2" if self.name.startswith("silence") else "20"


def done(
    name: str, point: Point, *faults: Fault, line: str = "", delivered: int = 1, change: Change = MappingProxyType({})
) -> Row:
    """After which all goes well in the end."""
    return Row(name, point, faults, 0, line, "SUCCESSFUL", delivered, 1, change)


def not_delivered(name: str, point: Point, *faults: Fault, line: str, for_ever: bool = False) -> Row:
    """After which the pipe knows that no handler ran."""
    met = repeat(faults[0]) if for_ever else faults
    return Row(name, point, met, 5, line, "FAILED", 0, 0, {"RETRY_BUDGET": "1"})


def unknown(
    name: str, *faults: Fault, line: str, delivered: int | None, handled: int, for_ever: bool = False, budget: str = "6"
) -> Row:
    """After which the pipe does not know what became of the event."""
    met = repeat(faults[0]) if for_ever else faults
    return Row(name, EVENT, met, 5, line, "FAILED", delivered, handled, {"RETRY_BUDGET": budget})


def refused(name: str, point: Point, *faults: Fault, line: str, handled: int = 0) -> Row:
    """After which the pipe gives up at once."""
    return Row(name, point, faults, 4, line, "FAILED", handled, handled)


def polled(name: str, *faults: Fault, line: str = "", for_ever: bool = False, exit_code: int = 0) -> Row:
    """A fault of the polling after a 202."""
    met = repeat(faults[0]) if for_ever else faults
    state = "SUCCESSFUL" if exit_code == 0 else "FAILED"
    change: Change = {"WAIT_TIMEOUT": "1"} if for_ever else {}
    return Row(name, POLL, met, exit_code, line, state, 1, 1, change, accepted_first=True)


PASSING_STATUSES = (408, 425, 429, 500, 502, 503)
BROKE = "the connection broke before the answer was whole"
TIMED_OUT = "no whole answer within 2 s"
CUT = "larger than 1 MiB"

EXCHANGE = [
    done("reset after it was read", TOKEN, reset_unforwarded, line=f"try 1: exchange: {BROKE}"),
    done("answer lost", TOKEN, lose_answer, line=f"try 1: exchange: {BROKE}"),
    done("answer cut", TOKEN, cut_answer, line=f"try 1: exchange: {BROKE}"),
    done("head of the answer cut", TOKEN, cut_head, line=f"try 1: exchange: {BROKE}"),
    done(
        "garbage JSON", TOKEN, instead(200, '{"access_token": '), line="the answer of the token endpoint is not a token"
    ),
    not_delivered(
        "HTML 200", TOKEN, instead(200, HTML, "text/html"), line="the answer of the token endpoint is not a token"
    ),
    refused("redirect", TOKEN, instead(307, location="/elsewhere/token"), line="set RECEIVER_URL to the final address"),
    refused("404 without a code", TOKEN, instead(404, HTML, "text/html"), line="no receiver answers at"),
    refused(
        "403 without a code", TOKEN, instead(403, HTML, "text/html"), line="refused by something that is no receiver"
    ),
    *(done(f"{status}", TOKEN, retry_later(status), line=f"the answer was {status}") for status in PASSING_STATUSES),
    done("429, Retry-After 0", TOKEN, retry_later(429, "0"), line="the answer was 429"),
    done("503, Retry-After 1", TOKEN, retry_later(503, "1"), line="the answer was 503"),
    done("503, Retry-After as a date", TOKEN, retry_at(503, 2), line="the answer was 503"),
    not_delivered(
        "503, Retry-After huge", TOKEN, retry_later(503, "9" * 30), line="the receiver asks to wait 4294967295 s"
    ),
    not_delivered("503 for ever", TOKEN, retry_later(503), line="used up RETRY_BUDGET (1 s)", for_ever=True),
    not_delivered("resets for ever", TOKEN, reset_unforwarded, line="used up RETRY_BUDGET (1 s)", for_ever=True),
    done("silence", TOKEN, silence, line=TIMED_OUT),
    done("silence before the receiver", TOKEN, silence_unforwarded, line=TIMED_OUT),
    not_delivered(
        "silence beyond RETRY_BUDGET", TOKEN, silence_unforwarded, line=f"{TIMED_OUT}; that used up", for_ever=True
    ),
    not_delivered("endless answer", TOKEN, endless, line=CUT),
    done("huge headers", TOKEN, huge_headers, line=f"try 1: exchange: {BROKE}"),
    done("duplicated", TOKEN, duplicated, line="proof-replayed"),
    done("a nonce is asked for", TOKEN, nonce_challenge()),
    refused("another nonce each time", TOKEN, *[nonce_challenge()] * 4, line="HTTP 400"),
    not_delivered("a bearer token", TOKEN, changed(token_type="Bearer"), line="not bound to the pipe's key"),
    done("a token that is dead already", TOKEN, changed(expires_in=0), line="for 0 s"),
    done("garbage in its members", TOKEN, changed(expires_in="soon"), line="is not a token"),
    refused("a refusal", TOKEN, refusal(401, "step-token-expired"), line="refused by the receiver: step-token-expired"),
    not_delivered(
        "a receiver without keys",
        TOKEN,
        refusal(503, "issuer-unavailable"),
        line="see whether it reaches Bitbucket's API",
        for_ever=True,
    ),
    not_delivered("HTTP/2 only", TOKEN, http2, line="The pipe speaks HTTP/1.1", for_ever=True),
    not_delivered("compressed", TOKEN, compressed, line="switch that off", for_ever=True),
    done("connection gone after the answer", TOKEN, hang_up_after),
    done("receiver's clock behind", TOKEN, clock_off_by(-120), line="clock is 2 min 0 s ahead of the receiver's"),
    done(
        "receiver's clock ahead", TOKEN, clock_off_by(125), line="behind the receiver's; beyond 60 s it refuses proofs"
    ),
]

SCOPE_MISSING = {"title": "a fault", "status": 403, "code": "scope-missing", "trace": []}
OTHERS_RECEIPT = changed(id="evt_00000000000000000000000000000000")
INTERRUPTED = changed(state="interrupted", detail="the process ended", result=None)

DELIVERY = [
    done("reset after it was read", EVENT, reset_unforwarded, line=f"try 1: {BROKE}"),
    done("answer lost", EVENT, lose_answer, line=f"try 1: {BROKE}", delivered=2),
    done("answer lost twice", EVENT, lose_answer, lose_answer, line=f"try 2: {BROKE}", delivered=3),
    done("answer cut", EVENT, cut_answer, line=f"try 1: {BROKE}", delivered=2),
    done("head of the answer cut", EVENT, cut_head, line=f"try 1: {BROKE}", delivered=2),
    done("garbage JSON", EVENT, afterwards(200, '{"id": '), line="the answer is not a receipt", delivered=2),
    unknown("HTML 200", afterwards(200, HTML, "text/html"), line="200 but no receipt (`text/html`)", delivered=1, handled=1),
    unknown("redirect", instead(307, location="/elsewhere/events"), line="to the final address", delivered=0, handled=0),
    unknown("403 without a code", instead(403, HTML, "text/html"), line="HTTP 403", delivered=0, handled=0),
    unknown("403 with a gateway's code", instead(403, {"code": "AccessDenied", "message": "no"}), line="HTTP 403", delivered=0,
            handled=0),
    unknown("404 without a code, after", afterwards(404, HTML, "text/html"), line="HTTP 404", delivered=1, handled=1),
    *(done(f"{status}", EVENT, retry_later(status), line=f"the answer was {status}") for status in PASSING_STATUSES),
    done("502 after it was handled", EVENT, afterwards(502, HTML, "text/html"), line="answer was 502", delivered=2),
    done("429, Retry-After 0", EVENT, retry_later(429, "0"), line="the answer was 429"),
    done("503, Retry-After 1", EVENT, retry_later(503, "1"), line="the answer was 503"),
    done("503, Retry-After as a date", EVENT, retry_at(503, 2), line="the answer was 503"),
    unknown("503, Retry-After huge", retry_later(503, "99999999"), line="asks to wait 99999999 s", delivered=0, handled=0),
    unknown("answers lost for ever", lose_answer, line=UNKNOWN, delivered=None, handled=1, for_ever=True, budget="1"),
    unknown("resets for ever", reset_unforwarded, line=UNKNOWN, delivered=0, handled=0, for_ever=True, budget="1"),
    done("silence", EVENT, silence, line=TIMED_OUT, delivered=2),
    done("silence before the receiver", EVENT, silence_unforwarded, line=TIMED_OUT),
    unknown("endless answer", endless, line=CUT, delivered=1, handled=1),
    done("huge headers", EVENT, huge_headers, line=f"try 1: {BROKE}", delivered=2),
    done("duplicated", EVENT, duplicated, line="proof-replayed", delivered=3),
    done("a nonce is asked for", EVENT, nonce_challenge()),
    done("a nonce is asked for in the second of two headers", EVENT, nonce_challenge(after_bearer=True)),
    done("the same nonce is asked for twice", EVENT, nonce_challenge(new_each_time=False)),
    unknown("another nonce each time", nonce_challenge(), line="HTTP 401", delivered=0, handled=0, for_ever=True),
    done("a new token is refused", EVENT, refusal(401, "token-invalid"), line="no longer good"),
    refused("new tokens are refused", EVENT, *[refusal(401, "token-invalid")] * 2,
            line="refused by the receiver: token-invalid"),
    done("a used token expires", EVENT, retry_later(503), refusal(401, "token-expired"), line="no longer good"),
    done("a used token gets invalid", EVENT, reset_unforwarded, refusal(401, "token-invalid"), line="no longer good"),
    unknown("token-invalid for ever", retry_later(503), *[refusal(401, "token-invalid")] * 9, line="token-invalid",
            delivered=0, handled=0),
    done("compressed in name only", EVENT, changed(headers={"content-encoding": "utf-8"})),
    done("compressed", EVENT, compressed, line="is compressed (`gzip`)", delivered=2),
    done("another event's receipt", EVENT, OTHERS_RECEIPT, line="the receipt of another event", delivered=2),
    Row("interrupted", EVENT, [INTERRUPTED], 6, "The handler was interrupted: the process ended", "FAILED", 1, 1),
    refused("a refusal", EVENT, refusal(403, "scope-missing"), line="refused by the receiver: scope-missing"),
    done("a refusal after a lost answer", EVENT, lose_answer, refusal(403, "scope-missing"), line="accepted before"),
    done("a refusal of the second of two posts", EVENT, afterwards(403, SCOPE_MISSING), line="accepted before"),
    unknown("a refusal that nobody confirms", reset_unforwarded, refusal(403, "scope-missing"), line=UNKNOWN, delivered=0,
            handled=0),
    done("another run's refusal", EVENT, afterwards(403, {**SCOPE_MISSING, "trace_id": "0" * 31 + "1"}),
         line="403 for another request", delivered=2),
    done("302 after a lost answer", EVENT, lose_answer, instead(302, location="/login"), line="HTTP 302", delivered=2),
    done("403 without a code after a lost answer", EVENT, lose_answer, instead(403, HTML, "text/html"), line="HTTP 403",
         delivered=2),
    done("connection gone after the answer", EVENT, hang_up_after),
]  # fmt: skip

POLLING = [
    polled("still running once", still_runs()),
    polled("reset after it was read", reset_unforwarded, line=f"asking for the receipt failed: {BROKE}"),
    polled("answer lost", lose_answer, line=BROKE),
    polled("answer cut", cut_answer, line=BROKE),
    polled("garbage JSON", afterwards(200, "}"), line="the answer is not a receipt"),
    polled("HTML 200", instead(200, HTML, "text/html"), line="no receipt (`text/html`)"),
    polled("redirect", instead(307, location="/elsewhere"), line="HTTP 307"),
    polled("404 without a code", instead(404, HTML, "text/html"), line="HTTP 404"),
    *(polled(f"{status}", retry_later(status), line=f"the answer was {status}") for status in PASSING_STATUSES),
    polled("503, Retry-After as a date", retry_at(503, 2), line="the answer was 503"),
    Row("503, Retry-After beyond WAIT_TIMEOUT", POLL, [retry_later(503, "99999999")], 0, "asking again in", "SUCCESSFUL", 1, 1,
        {"WAIT_TIMEOUT": "2"}, accepted_first=True),
    polled("503 for ever", retry_later(503), line="WAIT_TIMEOUT (1 s) is used up", for_ever=True, exit_code=5),
    polled("silence", silence, line=TIMED_OUT),
    polled("endless answer", endless, line=CUT),
    polled("huge headers", huge_headers, line=BROKE),
    polled("duplicated", duplicated, line="proof-replayed"),
    polled("a nonce is asked for", nonce_challenge()),
    polled("another nonce each time", nonce_challenge(), line=UNKNOWN, for_ever=True, exit_code=5),
    Row("HTML 200 while the pipe polls", TOKEN, [*[changed(expires_in=0)] * 2, instead(200, HTML, "text/html")], 0,
        "asking for the receipt failed: the answer of the token endpoint is not a token", "SUCCESSFUL", 1, 1,
        accepted_first=True),
    Row("the step token expires while the pipe polls", TOKEN,
        [*[changed(expires_in=0)] * 2, refusal(401, "step-token-expired")], 5, "step-token-expired", "FAILED", 1, 1,
        accepted_first=True),
    polled("the token expires", refusal(401, "token-expired"), line="no longer good"),
    polled("token-expired for ever", refusal(401, "token-expired"), line=UNKNOWN, for_ever=True, exit_code=5),
    polled("a refusal", refusal(404, "event-not-found"), line=UNKNOWN, exit_code=5),
    polled("another event's receipt", OTHERS_RECEIPT, line="the receipt of another event"),
    polled("interrupted", INTERRUPTED, line="The handler was interrupted", exit_code=6),
    polled(
        "running beyond WAIT_TIMEOUT", still_runs(), line="WAIT_TIMEOUT (1 s) is used up", for_ever=True, exit_code=5
    ),
]  # fmt: skip


def untold(name: str, point: Point, *faults: Fault, line: str, change: Change = MappingProxyType({})) -> Row:
    """The commit had to be told, and Bitbucket would not have it."""
    return Row(name, point, faults, 7, line, None, 1, 1, {"REPORT": "status", **change})


CLIENT = {
    "BITBUCKET_ACCESS_TOKEN": None,
    "BITBUCKET_CLIENT_ID": "consumer",
    "BITBUCKET_CLIENT_SECRET": "s3cret-of-a-client",
}
NO_CREDENTIAL: Change = {"BITBUCKET_ACCESS_TOKEN": None, "REPORT": "insights"}

REPORTING = [
    *(
        done(name, FIRST_STATUS, fault)
        for name, fault in {
            "reset after it was read": reset_unforwarded,
            "answer lost": lose_answer,
            "answer cut": cut_answer,
            "HTML 200": instead(200, HTML, "text/html"),
            "403": instead(403, {"type": "error", "error": {"message": "no"}}),
            "503": retry_later(503),
            "redirect": instead(307, location="/elsewhere"),
            "silence": silence,
            "silence before Bitbucket": silence_unforwarded,
            "endless answer": endless,
            "duplicated": duplicated,
        }.items()
    ),
    done("reset after it was read", LAST_STATUS, reset_unforwarded, line=f"telling the commit: Bitbucket did not answer: {BROKE}"),
    done("answer lost", LAST_STATUS, lose_answer, line=BROKE),
    done("answer cut", LAST_STATUS, cut_answer, line=BROKE),
    *(done(f"{s}", LAST_STATUS, retry_later(s), line=f"Bitbucket answered {s}") for s in PASSING_STATUSES),
    done("429, Retry-After 1", LAST_STATUS, retry_later(429, "1"), line="Bitbucket answered 429"),
    done("silence", LAST_STATUS, silence, line=TIMED_OUT),
    done("huge headers", LAST_STATUS, huge_headers, line=BROKE),
    done("duplicated", LAST_STATUS, duplicated),
    done("HTML 200", LAST_STATUS, instead(200, HTML, "text/html"), line="200, but not with what was sent"),
    done("a stale answer", LAST_STATUS, instead(201, {"key": "handoff-api-production", "state": "INPROGRESS"}),
         line="201, but not with what was sent"),
    untold("redirect", LAST_STATUS, instead(307, location="/elsewhere"), line="Bitbucket answered 307"),
    untold("404", LAST_STATUS, instead(404, {"type": "error", "error": {"message": "no"}}), line="Bitbucket answered 404"),
    untold("503, Retry-After huge", LAST_STATUS, retry_later(503, "99999999"), line="the commit was not told"),
    untold("endless answer", LAST_STATUS, endless, line=CUT),
    Row("503 for long, but no must", LAST_STATUS, [retry_later(503, "9999")], 0, "the commit was not told", "INPROGRESS", 1, 1),
    done("reset after it was read", OAUTH, reset_unforwarded, change=CLIENT),
    done("answer cut", OAUTH, cut_answer, change=CLIENT),
    done("503", OAUTH, retry_later(503), change=CLIENT),
    done("silence", OAUTH, silence, change=CLIENT),
    done("an OAuth token that died early", LAST_STATUS, instead(401, {"error": "Access token expired"}), change=CLIENT),
    untold("OAuth tokens all dead", LAST_STATUS, *[instead(401, {"error": "expired"})] * 2, line="not valid", change=CLIENT),
    done("a token that is dead already", OAUTH, *[changed(expires_in=0)] * 2, change=CLIENT),
    untold("garbage JSON", OAUTH, *[instead(200, "{")] * 2, line="is not an access token", change=CLIENT),
    untold("HTML 200", OAUTH, *[instead(200, HTML, "text/html")] * 2, line="is not an access token", change=CLIENT),
    untold("a refusal", OAUTH, *[instead(400, {"error": "invalid_client"})] * 2, line="invalid_client", change=CLIENT),
    *(
        Row(name, INSIGHTS, [fault], 0, line, None, 1, 1, NO_CREDENTIAL)
        for name, fault, line in [
            ("reset after it was read", reset_unforwarded, BROKE),
            ("answer lost", lose_answer, BROKE),
            ("answer cut", cut_answer, BROKE),
            ("503", retry_later(503), "Bitbucket answered 503"),
            ("silence", silence, TIMED_OUT),
            ("duplicated", duplicated, "report handoff-api-production"),
            ("HTML 200", instead(200, HTML, "text/html"), "200, but not with what was sent"),
        ]
    ),
    Row("400", INSIGHTS, [instead(400, {"code": 400, "message": "no"})], 7, "Bitbucket answered 400", None, 1, 1, NO_CREDENTIAL),
    Row("HTML 407", INSIGHTS, [instead(407, HTML, "text/html")], 7, "407", None, 1, 1, NO_CREDENTIAL),
]  # fmt: skip

IN_THE_CONTAINER = [
    EXCHANGE[0],
    *(
        row
        for row in DELIVERY
        if row.name in {"answer lost", "silence", "duplicated", "answers lost for ever", "interrupted"}
    ),
    *(row for row in POLLING if row.name in {"the token expires", "running beyond WAIT_TIMEOUT"}),
    *(row for row in REPORTING if row.point in {LAST_STATUS, INSIGHTS} and row.name == "answer lost"),
]
