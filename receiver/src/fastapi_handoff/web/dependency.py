"""`Security(handoff.identity, scopes=[…])`: the same authentication for the app's own routes."""

# No `from __future__ import annotations`: FastAPI reads the annotations of `__call__`.
from typing import Final

from fastapi import HTTPException, Request, WebSocketException
from fastapi.openapi.models import HTTPBase
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from sqlalchemy import Connection
from starlette.requests import HTTPConnection
from starlette.status import WS_1008_POLICY_VIOLATION

from fastapi_handoff.audit import append
from fastapi_handoff.auth import Authenticator, require_scopes
from fastapi_handoff.identity import Identity
from fastapi_handoff.request import Refusal, RequestContext, RequestHeaders, normal_url, text_path, trace_id
from fastapi_handoff.store import StoreUnavailable
from fastapi_handoff.web.recorder import Recorder
from fastapi_handoff.web.responses import problem

SCHEME_NAME: Final = "DPoP"
"""What the OpenAPI page calls the scheme."""
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
        self.scheme_name = SCHEME_NAME

    async def __call__(self) -> None:
        """Verify nothing: the handoff's own routes do that themselves, after the sizes."""


class Refused(HTTPException):
    """A refusal on its way through FastAPI, with its answer ready."""

    def __init__(self, response: JSONResponse, code: str) -> None:
        super().__init__(response.status_code, code, dict(response.headers))
        self.response = response


class IdentityDependency(DPoP):
    """Verifies token, proof and scopes, uses the proof up, and records the call; a refusal is recorded too."""

    def __init__(self, authenticator: Authenticator, recorder: Recorder, *, origin: str) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._recorder = recorder
        self._origin = origin

    async def __call__(self, connection: HTTPConnection, needed: SecurityScopes) -> Identity:  # type: ignore[override]
        """Return the identity of the caller. Raises `Refused`, which is answered as a problem."""
        if connection.scope["type"] != "http":
            # A proof is for one request. What comes later over a socket would have none, and no record.
            raise WebSocketException(WS_1008_POLICY_VIOLATION, "`handoff.identity` is not for websockets")
        request = Request(connection.scope)
        context = RequestContext("route.call", f"{request.method} {text_path(request.scope)}", trace_id(request.scope))
        attested: dict[IdentityDependency, Identity] = request.scope.setdefault(ATTESTED_KEY, {})
        identity = attested.get(self)
        try:
            if identity is None:
                identity = attested[self] = await self._admit(request, needed.scopes, context)
            else:
                # Asked for twice in one request, with other scopes: its proof is used up already.
                context.authenticated(identity.actor(), identity.grant, identity.policy)
                require_scopes(identity, needed.scopes, context.checks)
        except (Refusal, StoreUnavailable) as error:
            _answer_with_problems(request)
            response = await self._recorder.refuse(error, context, problem)
            raise Refused(response, getattr(error, "code", "store-unavailable")) from None
        return identity

    async def _admit(self, request: Request, scopes: list[str], context: RequestContext) -> Identity:
        headers = RequestHeaders(request.scope)
        target = normal_url(self._origin + text_path(request.scope)) or ""
        caller = await self._authenticator.authenticate(
            headers, request.method, target, int(self._recorder.clock()), context
        )
        require_scopes(caller.identity, scopes, context.checks)

        def accept(connection: Connection) -> None:
            caller.replay.claim(connection)
            append(connection, context.entry("accepted"), clock=self._recorder.clock)

        await self._recorder.store.write(accept)
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
