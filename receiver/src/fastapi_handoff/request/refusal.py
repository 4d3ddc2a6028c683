"""What a refusal is: a code of the one table, a detail for the caller, and the check that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRY_AFTER: Final = 5
"""Seconds after which a 503 may be tried again, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of refusal."""

    status: int
    at: frozenset[str]
    """The endpoints that answer with it."""
    title: str
    error: str = "invalid_request"
    """Its OAuth error at the token endpoint."""


TOKEN: Final = frozenset({"token"})
EVENTS: Final = frozenset({"events"})
RECEIPT: Final = frozenset({"receipt"})
CALLER: Final = EVENTS | RECEIPT
"""Where an access token is presented."""
KEYS: Final = frozenset({"keys"})


CODES: Final[Mapping[str, Code]] = {
    "token-request-malformed": Code(400, TOKEN, "The token request is not one this endpoint reads"),
    "resource-mismatch": Code(400, TOKEN, "The token is asked for another resource", "invalid_target"),
    "step-token-malformed": Code(400, TOKEN, "The subject token is none that this endpoint reads"),
    "issuer-unknown": Code(401, TOKEN, "The subject token comes from an issuer that is not trusted here"),
    "step-token-signature-invalid": Code(401, TOKEN, "The subject token's signature does not verify"),
    "step-token-expired": Code(401, TOKEN, "The subject token has expired"),
    "step-token-not-yet-valid": Code(401, TOKEN, "The subject token is not valid yet"),
    "step-token-lifetime-exceeded": Code(401, TOKEN, "The subject token lives longer than its issuer's tokens may"),
    "audience-mismatch": Code(401, TOKEN, "The subject token is meant for another service"),
    "claims-missing": Code(401, TOKEN, "The subject token lacks a claim"),
    "user-token-not-taken": Code(403, TOKEN, "The token is a person's, and this issuer is trusted for services only"),
    "no-grant-matches": Code(403, TOKEN, "No grant of the policy matches this caller"),
    "scope-not-granted": Code(403, TOKEN, "The grant does not give the scope", "invalid_scope"),
    "issuer-audit-only": Code(403, TOKEN, "Callers of this issuer are only judged and recorded"),
    "step-token-already-bound": Code(403, TOKEN, "The subject token is bound to another key"),
    "issuer-unavailable": Code(503, TOKEN, "The issuer's keys cannot be had", "temporarily_unavailable"),
    "proof-missing": Code(401, TOKEN | CALLER, "The request has no proof", "invalid_dpop_proof"),
    "proof-invalid": Code(401, TOKEN | CALLER, "The proof does not verify", "invalid_dpop_proof"),
    "proof-replayed": Code(401, TOKEN | CALLER, "The proof was used before", "invalid_dpop_proof"),
    "token-missing": Code(401, CALLER, "The request has no access token"),
    "token-invalid": Code(401, CALLER, "The access token does not verify"),
    "token-expired": Code(401, CALLER, "The access token has expired"),
    "key-mismatch": Code(401, TOKEN | CALLER, "The token is bound to another key"),
    "digest-mismatch": Code(400, EVENTS, "The body is not the one the digest was made of"),
    "signature-missing": Code(401, EVENTS, "The event has no signature"),
    "signature-invalid": Code(401, EVENTS, "The event's signature does not verify"),
    "timestamp-out-of-window": Code(400, EVENTS, "The event's timestamp is too far from the receiver's clock"),
    "body-timeout": Code(408, TOKEN | EVENTS, "The request's body did not come in time"),
    "payload-too-large": Code(413, TOKEN | CALLER, "The request is too large"),
    "event-malformed": Code(400, EVENTS, "The event is not one this endpoint reads"),
    "event-not-handled": Code(422, EVENTS, "No handler takes this type of event"),
    "identity-mismatch": Code(403, EVENTS, "The event says something else than the identity provider"),
    "scope-missing": Code(403, EVENTS, "The access token lacks the scope"),
    "event-conflict": Code(409, EVENTS, "Another event was delivered under this id"),
    "event-not-found": Code(404, RECEIPT, "There is no such event of this step"),
    "receipt-damaged": Code(409, CALLER, "The receipt of this event was changed in the database, and cannot be read"),
    "store-unavailable": Code(
        503, TOKEN | CALLER | KEYS, "The receiver cannot record anything now", "temporarily_unavailable"
    ),
}
"""Every code there is. `docs/protocol.md` and `docs/troubleshooting.md` list the same, and a test compares them."""


class Check(NamedTuple):
    """One row of the trace of checks: what was expected, and what came."""

    check: str
    expected: str | None
    got: str | None
    ok: bool
    grant: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as the wire has it."""
        row: dict[str, Any] = {"check": self.check, "expected": self.expected, "got": self.got, "ok": self.ok}
        return row if self.grant is None else {**row, "grant": self.grant}


class Refusal(Exception):  # noqa: N818 - the protocol's word
    """A request that is not accepted, and why.

    `detail` reaches the client, so it must hold no token and no secret. `check` is the row that failed; it goes into
    the audit record, and to a client that is authenticated. `error` overrides the code's OAuth error at the token
    endpoint, `retry_after` (seconds) the usual wait of a 503; `close` ends the connection after the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        check: Check | None = None,
        error: str | None = None,
        retry_after: int = 0,
        close: bool = False,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.check = check
        self.error = error or CODES[code].error
        self.status = CODES[code].status
        self.headers: dict[str, str] = {}
        if close:
            self.headers["Connection"] = "close"
        if self.status == 503:
            self.headers["Retry-After"] = str(retry_after or RETRY_AFTER)
        if self.status == 401:
            self.headers["WWW-Authenticate"] = _challenge(code)


def _challenge(code: str) -> str:
    challenge = 'DPoP algs="ES256"'
    if code.startswith("proof-"):
        return f'{challenge}, error="invalid_dpop_proof"'
    if code in {"token-invalid", "token-expired", "key-mismatch"}:
        return f'{challenge}, error="invalid_token"'
    return challenge
