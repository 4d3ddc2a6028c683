"""What a request is answered: RFC 9457 problems, and OAuth errors at the token endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import JSONResponse

from fastapi_handoff.request import CODES, TRACE_CHECKS, Check, Refusal

if TYPE_CHECKING:
    from fastapi_handoff.audit import AuditHead

DOCUMENTATION: Final = "https://bitbucket.org/fastapi-handoff/fastapi-handoff/src/main/docs/troubleshooting.md"

Render = Callable[[Refusal, Sequence[Check], str, "AuditHead | None"], JSONResponse]
"""How a refusal is answered. Takes the refusal, the checks that the client may see, the trace id, and the record of the
refusal where the client may see that."""


class ProblemResponse(JSONResponse):
    """A refusal as `application/problem+json` (RFC 9457)."""

    media_type = "application/problem+json"


def problem(refusal: Refusal, checks: Sequence[Check], trace_id: str, audit: AuditHead | None) -> JSONResponse:
    """Render a refusal for every route but the token endpoint."""
    members: dict[str, Any] = {
        "type": f"{DOCUMENTATION}#{refusal.code}",
        "title": CODES[refusal.code].title,
        "status": refusal.status,
        "detail": refusal.detail,
        **_common(refusal, checks, trace_id, audit),
    }
    return ProblemResponse(members, refusal.status, refusal.headers)


def oauth_error(refusal: Refusal, checks: Sequence[Check], trace_id: str, audit: AuditHead | None) -> JSONResponse:
    """Render a refusal of the token endpoint (RFC 6749, section 5.2, with three members more)."""
    members: dict[str, Any] = {
        "error": refusal.error,
        "error_description": refusal.detail,
        **_common(refusal, checks, trace_id, audit),
    }
    status, headers = refusal.status, {"Cache-Control": "no-store", **refusal.headers}
    if refusal.code.startswith("proof-"):
        # RFC 9449, section 5: at the token endpoint an invalid proof is a 400 like every other error of the request.
        status = 400
        del headers["WWW-Authenticate"]
    return JSONResponse(members, status, headers)


def _common(refusal: Refusal, checks: Sequence[Check], trace_id: str, audit: AuditHead | None) -> dict[str, Any]:
    members: dict[str, Any] = {
        "code": refusal.code,
        "trace": [check.as_json() for check in checks[:TRACE_CHECKS]],
        "trace_id": trace_id,
    }
    return members if audit is None else {**members, "audit": {"seq": audit.seq, "hash": audit.hash}}
