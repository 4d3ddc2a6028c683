"""The handoff's routes. Each endpoint reads its request itself: sizes first, and nothing is parsed before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from fastapi_handoff.request import RETRY_AFTER
from fastapi_handoff.web import openapi
from fastapi_handoff.web.dependency import DPoP
from fastapi_handoff.web.recorded_route import Recorded, RecordedRoute
from fastapi_handoff.web.responses import oauth_error, problem

if TYPE_CHECKING:
    from fastapi_handoff.auth import SigningKeys
    from fastapi_handoff.web.event_endpoint import EventEndpoint
    from fastapi_handoff.web.health import Health
    from fastapi_handoff.web.recorder import Recorder
    from fastapi_handoff.web.token_endpoint import TokenEndpoint

RECORDED: Final = {
    "handoff_token": Recorded("token.exchange", "/token", oauth_error),
    "handoff_events": Recorded("event.accept", "/events", problem),
    "handoff_receipt": Recorded("receipt.read", "/events/{event_id}", problem),
    "handoff_jwks": Recorded("keys.read", "/jwks.json", problem),
}
"""By the route's name. `/health` records nothing and refuses nothing."""


def build(
    path: str, *, recorder: Recorder, tokens: TokenEndpoint, events: EventEndpoint, keys: SigningKeys, health: Health
) -> APIRouter:
    """Return the router of a receiver; `path` is that of its public URL, for the audit records."""
    own_route = type("HandoffRoute", (RecordedRoute,), {"recorder": recorder, "base_path": path, "recorded": RECORDED})
    router = APIRouter(tags=["handoff"], route_class=own_route)

    @router.post("/token", name="handoff_token", **openapi.TOKEN)
    async def token(request: Request) -> JSONResponse:
        return await tokens.exchange(request)

    @router.post("/events", name="handoff_events", **openapi.EVENTS)
    async def deliver(request: Request) -> JSONResponse:
        return await events.deliver(request)

    # The dependency brings the scheme into the OpenAPI page. `openapi.EVENTS` names it without the time that one takes.
    @router.get("/events/{event_id}", name="handoff_receipt", dependencies=[Depends(DPoP())], **openapi.RECEIPT)
    async def receipt(request: Request) -> JSONResponse:
        return await events.tell(request)

    @router.get("/jwks.json", name="handoff_jwks", **openapi.KEYS)
    async def jwks() -> JSONResponse:
        return JSONResponse({"keys": await keys.all_public(int(recorder.clock()))})

    @router.get("/health", name="handoff_health", **openapi.HEALTH)
    async def readiness() -> JSONResponse:
        checks = await health.check()
        is_ready = "failed" not in checks.values()
        members: dict[str, Any] = {"status": "ready" if is_ready else "unready", "checks": checks}
        return JSONResponse(members) if is_ready else JSONResponse(members, 503, {"Retry-After": str(RETRY_AFTER)})

    return router
