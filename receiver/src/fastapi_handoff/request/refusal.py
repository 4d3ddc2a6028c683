"""What a refusal is, and how it is told: RFC 9457 problems, and OAuth errors at the token endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi.responses import JSONResponse

from fastapi_handoff.request.limits import TRACE_CHECKS

if TYPE_CHECKING:
    from fastapi_handoff.audit import AuditHead

DOCUMENTATION: Final = "https://bitbucket.org/fastapi-handoff/fastapi-handoff/src/main/docs/troubleshooting.md"
RETRY_AFTER: Final = 5
"""Seconds after which a 503 may be tried again, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of refusal: its HTTP status, its title, and its `error` at the token endpoint."""

    status: int
    title: str
    error: str = "invalid_request"


CODES: Final[Mapping[str, Code]] = {
    "token-request-malformed": Code(400, "The token request is not one this endpoint reads"),
    "resource-mismatch": Code(400, "The token is asked for another resource", "invalid_target"),
    "step-token-malformed": Code(400, "The step token is not a step token"),
    "issuer-unknown": Code(401, "The step token comes from an issuer that is not trusted here"),
    "step-token-signature-invalid": Code(401, "The step token's signature does not verify"),
    "step-token-expired": Code(401, "The step token has expired"),
    "step-token-not-yet-valid": Code(401, "The step token is not valid yet"),
    "audience-mismatch": Code(401, "The step token is meant for another service"),
    "claims-missing": Code(401, "The step token lacks a claim"),
    "no-grant-matches": Code(403, "No grant of the policy matches this step"),
    "scope-not-granted": Code(403, "The grant does not give the scope", "invalid_scope"),
    "step-token-already-bound": Code(403, "The step token is bound to another key"),
    "issuer-unavailable": Code(503, "The issuer's keys cannot be had", "temporarily_unavailable"),
    "proof-missing": Code(401, "The request has no proof", "invalid_dpop_proof"),
    "proof-invalid": Code(401, "The proof does not verify", "invalid_dpop_proof"),
    "proof-replayed": Code(401, "The proof was used before", "invalid_dpop_proof"),
    "token-missing": Code(401, "The request has no access token"),
    "token-invalid": Code(401, "The access token does not verify"),
    "token-expired": Code(401, "The access token has expired"),
    "key-mismatch": Code(401, "The access token is bound to another key"),
    "digest-mismatch": Code(400, "The body is not the one the digest was made of"),
    "signature-missing": Code(401, "The event has no signature"),
    "signature-invalid": Code(401, "The event's signature does not verify"),
    "timestamp-out-of-window": Code(400, "The event's timestamp is too far from the receiver's clock"),
    "payload-too-large": Code(413, "The request is too large"),
    "event-malformed": Code(400, "The event is not one this endpoint reads"),
    "event-not-handled": Code(422, "No handler takes this type of event"),
    "identity-mismatch": Code(403, "The event says something else than the identity provider"),
    "scope-missing": Code(403, "The access token lacks the scope"),
    "event-conflict": Code(409, "Another event was delivered under this id"),
    "event-not-found": Code(404, "There is no such event of this step"),
    "store-unavailable": Code(503, "The receiver cannot record anything now", "temporarily_unavailable"),
}
"""Every code there is. `docs/protocol.md` and `docs/troubleshooting.md` list the same, and a test compares them."""


class Check(NamedTuple):
    """One row of a trace: what was expected, what came."""

    check: str
    expected: str | None
    got: str | None
    ok: bool
    grant: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the row as it is sent."""
        row: dict[str, Any] = {"check": self.check, "expected": self.expected, "got": self.got, "ok": self.ok}
        return row if self.grant is None else {**row, "grant": self.grant}


class Refusal(Exception):  # noqa: N818 - the protocol's word
    """A request that is not accepted, and why. `detail` reaches the client: it must hold no token and no secret."""

    def __init__(
        self, code: str, detail: str, *, check: Check | None = None, error: str | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.check = check
        self.error = error or CODES[code].error
        self.status = CODES[code].status
        self.headers: dict[str, str] = {}
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


class Problem(JSONResponse):
    """A refusal as `application/problem+json` (RFC 9457)."""

    media_type = "application/problem+json"


def problem(refusal: Refusal, trace: Sequence[Check], trace_id: str, audit: AuditHead | None) -> JSONResponse:
    """Render a refusal for every place but the token endpoint.

    `audit` is the record of the refusal; give it for an authenticated request only.
    """
    members: dict[str, Any] = {
        "type": f"{DOCUMENTATION}#{refusal.code}",
        "title": CODES[refusal.code].title,
        "status": refusal.status,
        "detail": refusal.detail,
        **_common(refusal, trace, trace_id, audit),
    }
    return Problem(members, refusal.status, refusal.headers)


def oauth_error(refusal: Refusal, trace: Sequence[Check], trace_id: str, audit: AuditHead | None) -> JSONResponse:
    """Render a refusal of the token endpoint (RFC 6749, section 5.2, with three members more)."""
    members: dict[str, Any] = {
        "error": refusal.error,
        "error_description": refusal.detail,
        **_common(refusal, trace, trace_id, audit),
    }
    status, headers = refusal.status, {"Cache-Control": "no-store", **refusal.headers}
    if refusal.code.startswith("proof-"):
        # RFC 9449, section 5: at the token endpoint an invalid proof is a 400 like every other error of the request.
        status = 400
        del headers["WWW-Authenticate"]
    return JSONResponse(members, status, headers)


def _common(refusal: Refusal, trace: Sequence[Check], trace_id: str, audit: AuditHead | None) -> dict[str, Any]:
    members: dict[str, Any] = {
        "code": refusal.code,
        "trace": [check.as_json() for check in trace[:TRACE_CHECKS]],
        "trace_id": trace_id,
    }
    return members if audit is None else {**members, "audit": {"seq": audit.seq, "hash": audit.hash}}


Render = Callable[[Refusal, Sequence[Check], str, "AuditHead | None"], JSONResponse]
"""`problem` or `oauth_error`: refusal, the trace the client may see, trace id, the record the client may see."""
