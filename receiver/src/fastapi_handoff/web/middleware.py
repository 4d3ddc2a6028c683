"""`AuditMiddleware`: every state-changing request of the app, whoever made it, recorded before and after."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from fastapi_handoff.request import RequestContext, text_path, trace_id
from fastapi_handoff.store import StoreUnavailable
from fastapi_handoff.web.dependency import ATTESTED_KEY
from fastapi_handoff.web.recorded_route import matched_route
from fastapi_handoff.web.responses import problem
from fastapi_handoff.web.waiting import until_done

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from fastapi_handoff.identity import Identity
    from fastapi_handoff.web.dependency import IdentityDependency
    from fastapi_handoff.web.recorder import Recorder

logger = logging.getLogger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, section 9.2.1. Every other method may change something, an invented one too."""


class Recording(Protocol):
    """What the middleware needs of a `Handoff`."""

    @property
    def recorder(self) -> Recorder:
        """Writes the records."""
        ...

    @property
    def identity(self) -> IdentityDependency:
        """Whose attested identities name the actor."""
        ...


class AuditMiddleware:
    """Records `attempted` before the app sees a request, and its outcome after.

    What cannot be recorded is answered 503 and does not happen. The actor is the identity that `handoff.identity`
    attested for the request; without one it is nobody: no address, no user name, nothing of the query or the body.
    The handoff's own routes record for themselves, in the transaction of what they change.

    Websockets are not recorded, neither the handshake nor what is sent: they pass as if this were not here.
    """

    def __init__(self, app: ASGIApp, *, handoff: Recording) -> None:
        self._app = app
        self._handoff = handoff

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] in _SAFE or self._records_itself(scope):
            await self._app(scope, receive, send)
            return
        context = RequestContext("request", f"{scope['method']} {text_path(scope)}", trace_id(scope))
        recorder = self._handoff.recorder
        try:
            await recorder.record(context.entry("attempted"))
        except StoreUnavailable as error:
            response = await recorder.refuse(error, context, problem)
            await response(scope, receive, send)
            return
        attested: dict[IdentityDependency, Identity] = scope.setdefault(ATTESTED_KEY, {})
        status: list[int] = []

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            await send(message)

        decision = "failed"
        try:
            await self._app(scope, receive, note_status)
            decision = _decision(status)
        finally:
            identity = attested.get(self._handoff.identity)
            if identity is not None:
                context.authenticated(identity.actor(), identity.grant, identity.policy)
            await self._record_outcome(context, decision, status)

    def _records_itself(self, scope: Scope) -> bool:
        route = matched_route(scope)
        return route is not None and route.recorder is self._handoff.recorder

    async def _record_outcome(self, context: RequestContext, decision: str, status: list[int]) -> None:
        outcome = {"status": status[0] if status else None}
        # In a task of its own: who cancelled the request may cancel again, and an anyio deadline does so at each await.
        recording = asyncio.create_task(self._record(context, decision, outcome), name="handoff outcome")
        cancelled = await until_done(recording)
        recording.result()
        if cancelled is not None:
            raise cancelled

    async def _record(self, context: RequestContext, decision: str, outcome: dict[str, int | None]) -> None:
        try:
            await self._handoff.recorder.record(context.entry(decision, outcome=outcome))
        except (StoreUnavailable, asyncio.CancelledError) as error:
            # What happened cannot be undone. `attempted` stands, and this tells the operator how it ended.
            logger.exception(
                "the outcome of %s (trace %s) is not recorded: %s", context.resource, context.trace_id, outcome
            )
            if isinstance(error, asyncio.CancelledError):
                raise  # the event loop itself ends


def _decision(status: list[int]) -> str:
    # No status at all: the client went away before there was one.
    return "failed" if not status or status[0] >= 500 else "refused" if status[0] >= 400 else "succeeded"
