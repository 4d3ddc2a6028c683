"""`/events`: from a body to a delivery that passed its checks, in the protocol's order, and to its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from fastapi_handoff.auth import require_scopes
from fastapi_handoff.dispatch import Delivery
from fastapi_handoff.events import (
    PIPE_EVENTS,
    EventMalformed,
    require_digest,
    require_signature,
    require_webhook_headers,
)
from fastapi_handoff.request import EVENT_BODY_BYTES, RequestHeaders
from fastapi_handoff.web.body import read_body
from fastapi_handoff.web.recorded_route import context_of

if TYPE_CHECKING:
    from fastapi import Request

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth import Authenticator, Caller
    from fastapi_handoff.dispatch import Dispatcher, Handlers, Receipt
    from fastapi_handoff.events import Event, SigningSecrets
    from fastapi_handoff.request import RequestContext


@dataclass(frozen=True, slots=True)
class EventEndpoint:
    """Takes events, and tells what became of them."""

    url: str
    """The receiver's."""
    authenticator: Authenticator
    secrets: SigningSecrets
    handlers: Handlers
    dispatcher: Dispatcher
    clock: Clock

    async def deliver(self, request: Request) -> JSONResponse:
        """Answer `POST /events`. Raises `Refusal` and `StoreUnavailable`."""
        context, headers = context_of(request), RequestHeaders(request.scope)
        body = await read_body(request, EVENT_BODY_BYTES, "event-malformed")
        now = int(self.clock())
        caller = await self.authenticator.authenticate(headers, "POST", f"{self.url}/events", now, context)
        delivery = self._read(body, headers, caller, now, context)
        return self._answer(await self.dispatcher.accept(delivery, context))

    async def tell(self, request: Request) -> JSONResponse:
        """Answer `GET /events/{event_id}`. Raises `Refusal` and `StoreUnavailable`."""
        context, headers = context_of(request), RequestHeaders(request.scope)
        event_id: str = request.path_params["event_id"]
        target = f"{self.url}/events/{event_id}"
        caller = await self.authenticator.authenticate(headers, "GET", target, int(self.clock()), context)
        return self._answer(await self.dispatcher.read(event_id, caller, context))

    def _read(
        self, body: bytes, headers: RequestHeaders, caller: Caller, now: int, context: RequestContext
    ) -> Delivery:
        """Check what binds the bytes, then read them, then compare what they say with who sent them."""
        checks = context.checks
        digest = require_digest(body, headers.one("content-digest"), caller.content_digest, checks)
        timestamp = headers.one("webhook-timestamp")
        event_id = require_webhook_headers(headers.one("webhook-id"), timestamp, now, checks)
        context.event_id, context.event_digest = event_id, digest
        require_signature(self.secrets, f"{event_id}.{timestamp}.", body, headers.one("webhook-signature"), checks)
        event = _parse(body, headers, event_id, context)
        context.asserted = event.asserted()
        event.require_identity(caller.identity, caller.grant, checks)
        handler = self.handlers.find(event.name)
        if handler is None:
            raise checks.refuse(
                "handler",
                "registered",
                event.name,
                "event-not-handled",
                f"this receiver has no handler of `{event.name}`",
            )
        require_scopes(caller.identity, [handler.scope], checks)
        return Delivery(event, body, digest, caller, handler)

    def _answer(self, receipt: Receipt) -> JSONResponse:
        members: dict[str, Any] = receipt.answer()
        if receipt.is_final:
            return JSONResponse(members)
        headers = {
            "Location": f"{self.url}/events/{receipt.event_id}",
            "Retry-After": str(self.dispatcher.retry_after(receipt)),
        }
        return JSONResponse(members, 202, headers)


def _parse(body: bytes, headers: RequestHeaders, event_id: str, context: RequestContext) -> Event:
    media_type, expected = headers.media_type("event-malformed"), PIPE_EVENTS.media_type
    if media_type != expected:
        raise context.checks.refuse(
            "content-type",
            expected,
            media_type,
            "event-malformed",
            f"the body's `Content-Type` is not `{expected}`",
        )
    try:
        event = PIPE_EVENTS.parse(body)
    except EventMalformed as error:
        raise context.checks.refuse(
            "event", PIPE_EVENTS.description, "malformed", "event-malformed", str(error)
        ) from None
    if event.id != event_id:
        raise context.checks.refuse(
            "webhook-id", event.id, event_id, "event-malformed", "`webhook-id` is not the id of the event"
        )
    return event
