"""The reception of events: from bytes to a delivery that passed its checks, in the protocol's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.auth.authenticate import require_scopes
from fastapi_handoff.dispatch.dispatcher import Delivery
from fastapi_handoff.events import cdevents as events
from fastapi_handoff.events import integrity as signature

if TYPE_CHECKING:
    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth.authenticate import Gate
    from fastapi_handoff.dispatch.dispatcher import Deliveries
    from fastapi_handoff.dispatch.receipts import Receipt
    from fastapi_handoff.dispatch.registry import Handlers
    from fastapi_handoff.events.cdevents import CloudEvent
    from fastapi_handoff.events.integrity import SigningSecrets
    from fastapi_handoff.request.context import Case
    from fastapi_handoff.request.headers import RequestHeaders

CLOUDEVENT: Final = "application/cloudevents+json"


@dataclass(frozen=True, slots=True)
class Reception:
    """Takes events, and tells what became of them."""

    gate: Gate
    secrets: SigningSecrets
    handlers: Handlers
    deliveries: Deliveries
    clock: Clock

    async def take(self, body: bytes, headers: RequestHeaders, case: Case) -> Receipt:
        """Verify and deliver an event. Raises `Refusal` and `StoreUnavailable`; then its handler was not started."""
        now = int(self.clock())
        trace = case.trace
        caller = await self.gate.admit(headers, "POST", f"{self.gate.url}/events", now, case)
        digest = signature.require_digest(body, headers.one("content-digest"), caller.proof.content_digest, trace)
        timestamp = headers.one("webhook-timestamp")
        event_id = signature.require_webhook_headers(headers.one("webhook-id"), timestamp, now, trace)
        case.event_id, case.event_digest = event_id, digest
        signature.require_signature(
            self.secrets, f"{event_id}.{timestamp}.", body, headers.one("webhook-signature"), trace
        )
        event = _read(body, headers, event_id, case)
        case.asserted = events.asserted_members(event)
        events.require_identity(event, caller.identity, caller.grant, trace)
        predicate = events.predicate(event.type)
        handler = self.handlers.find(predicate)
        if handler is None:
            raise trace.refuse(
                "handler",
                "registered",
                predicate,
                "event-not-handled",
                f"this receiver has no handler of `{predicate}`",
            )
        require_scopes(caller.identity, [handler.scope], trace)
        return await self.deliveries.accept(Delivery(event, body, digest, caller), case)

    async def tell(self, event_id: str, headers: RequestHeaders, case: Case) -> Receipt:
        """Give the receipt of an event. Raises `Refusal` and `StoreUnavailable`."""
        caller = await self.gate.admit(headers, "GET", f"{self.gate.url}/events/{event_id}", int(self.clock()), case)
        return await self.deliveries.read(event_id, caller, case)

    def answer(self, receipt: Receipt) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Give status, members and headers of the answer about a receipt."""
        if not receipt.is_running:
            return 200, receipt.answer(), {}
        headers = {
            "Location": f"{self.gate.url}/events/{receipt.event_id}",
            "Retry-After": str(self.deliveries.retry_after(receipt)),
        }
        return 202, receipt.answer(), headers


def _read(body: bytes, headers: RequestHeaders, event_id: str, case: Case) -> CloudEvent:
    media_type = headers.media_type("event-malformed")
    if media_type != CLOUDEVENT:
        raise case.trace.refuse(
            "content-type",
            CLOUDEVENT,
            media_type,
            "event-malformed",
            f"the body's `Content-Type` is not `{CLOUDEVENT}`",
        )
    try:
        event = events.parse(body)
    except events.EventMalformed as error:
        raise case.trace.refuse(
            "event", "a CDEvents service event in a CloudEvent", "malformed", "event-malformed", str(error)
        ) from None
    if event.id != event_id:
        raise case.trace.refuse(
            "webhook-id", event.id, event_id, "event-malformed", "`webhook-id` is not the id of the event"
        )
    return event
