"""`Security(handoff.identity, scopes=[…])`: the same gate for the app's own routes."""

# No `from __future__ import annotations`: FastAPI reads the annotations of `__call__`.
from fastapi import HTTPException, Request, WebSocketException
from fastapi.openapi.models import HTTPBase
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from sqlalchemy import Connection
from starlette.requests import HTTPConnection
from starlette.status import WS_1008_POLICY_VIOLATION

from fastapi_handoff.audit import append
from fastapi_handoff.auth.authenticate import Gate, require_scopes
from fastapi_handoff.auth.dpop import normal_url
from fastapi_handoff.auth.replay import claim
from fastapi_handoff.identity import Identity
from fastapi_handoff.request.context import Case
from fastapi_handoff.request.headers import RequestHeaders, text_path, trace_id
from fastapi_handoff.request.refusal import Refusal, problem
from fastapi_handoff.store import StoreUnavailable
from fastapi_handoff.web.responses import Desk

ATTESTED_KEY = "fastapi_handoff.attested"
"""Where a request's scope has the identities that were attested for it, each under the dependency that attested it.

Never one for all: what one `Handoff` attests says nothing to the policy and the keys of another in the same app.
"""


class DPoP(SecurityBase):
    """The scheme, as an OpenAPI page shows it."""

    def __init__(self) -> None:
        self.model = HTTPBase(
            scheme="DPoP",
            description="An access token from the handoff's `/token`, bound to the key of the `DPoP` proof (RFC 9449).",
        )
        self.scheme_name = "DPoP"

    async def __call__(self) -> None:
        """Verify nothing: the handoff's own routes do that themselves, after the sizes."""


class Refused(HTTPException):
    """A refusal on its way through FastAPI, with its answer ready."""

    def __init__(self, response: JSONResponse, code: str) -> None:
        super().__init__(response.status_code, code, dict(response.headers))
        self.response = response


class IdentityDependency(DPoP):
    """Verifies token, proof and scopes, uses the proof up, and records the call; a refusal is recorded too."""

    def __init__(self, gate: Gate, desk: Desk, *, origin: str) -> None:
        super().__init__()
        self._gate = gate
        self._desk = desk
        self._origin = origin

    async def __call__(self, connection: HTTPConnection, needed: SecurityScopes) -> Identity:  # type: ignore[override]
        """Give the identity of the caller. Raises `Refused`, which is answered as a problem."""
        if connection.scope["type"] != "http":
            # A proof is for one request. What comes later over a socket would have none, and no record.
            raise WebSocketException(WS_1008_POLICY_VIOLATION, "`handoff.identity` is not for websockets")
        request = Request(connection.scope)
        case = Case("route.call", f"{request.method} {text_path(request.scope)}", trace_id(request.scope))
        attested: dict[IdentityDependency, Identity] = request.scope.setdefault(ATTESTED_KEY, {})
        identity = attested.get(self)
        try:
            if identity is None:
                identity = attested[self] = await self._admit(request, needed.scopes, case)
            else:
                # Asked for twice in one request, with other scopes: its proof is used up already.
                case.identify(identity)
                case.trace.disclosed = True
                require_scopes(identity, needed.scopes, case.trace)
        except (Refusal, StoreUnavailable) as error:
            _answer_with_problems(request)
            response = await self._desk.refuse(error, case, problem)
            raise Refused(response, getattr(error, "code", "store-unavailable")) from None
        return identity

    async def _admit(self, request: Request, scopes: list[str], case: Case) -> Identity:
        headers = RequestHeaders(request.scope)
        target = normal_url(self._origin + text_path(request.scope)) or ""
        caller = await self._gate.admit(headers, request.method, target, int(self._desk.clock()), case)
        require_scopes(caller.identity, scopes, case.trace)

        def accept(connection: Connection) -> None:
            claim(connection, caller.proof)
            append(connection, case.entry("accepted"), clock=self._desk.clock)

        await self._desk.store.write(accept)
        return caller.identity


def _answer_with_problems(request: Request) -> None:
    """Let `Refused` be answered as it is, in whatever app the route is.

    The handlers of the app, and not a handler that the user would have to register: forgotten, each refusal would be
    `{"detail": …}` without a code. A handler of the user's own stays.
    """
    handlers = request.scope.get("starlette.exception_handlers")
    if handlers is not None:
        handlers[0].setdefault(Refused, _answer)


def _answer(_: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, Refused)  # noqa: S101 - Starlette asks by class
    return refused.response
