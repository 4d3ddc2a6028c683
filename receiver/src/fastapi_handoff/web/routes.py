"""The handoff's routes. Each reads its request itself: sizes first, and nothing parsed before it is measured."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from fastapi.utils import generate_unique_id

from fastapi_handoff.request.context import Case
from fastapi_handoff.request.headers import RequestHeaders, read_body, trace_id
from fastapi_handoff.request.limits import EVENT_BODY_BYTES, TOKEN_BODY_BYTES
from fastapi_handoff.request.refusal import RETRY_AFTER, Refusal, Render, oauth_error, problem
from fastapi_handoff.store import StoreUnavailable
from fastapi_handoff.web import openapi, token_request
from fastapi_handoff.web.dependency import DPoP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi_handoff.auth.signing_keys import SigningKeys
    from fastapi_handoff.web.event_endpoint import Reception
    from fastapi_handoff.web.health import Health
    from fastapi_handoff.web.responses import Desk
    from fastapi_handoff.web.token_endpoint import Exchange


def build(
    path: str, *, desk: Desk, exchange: Exchange, reception: Reception, keys: SigningKeys, health: Health
) -> APIRouter:
    """Give the router of a receiver; `path` is that of its URL, for the audit records.

    The names of the routes that change something are this router's alone: an app finds their paths by them.
    """
    # With the same names, the second handoff of an app would take the first one's paths for its own. The OpenAPI page
    # keeps the plain names: it must not change with each start.
    suffix = f"_{secrets.token_hex(8)}"
    router = APIRouter(
        tags=["handoff"],
        generate_unique_id_function=lambda route: generate_unique_id(route).replace(suffix, ""),
    )

    async def answer(
        request: Request, action: str, resource: str, render: Render, work: Callable[[Case], Awaitable[JSONResponse]]
    ) -> JSONResponse:
        case = Case(action, f"{request.method} {path}{resource}", trace_id(request.scope))
        try:
            return await work(case)
        except (Refusal, StoreUnavailable) as error:
            return await desk.refuse(error, case, render)

    @router.post("/token", name=f"handoff_token{suffix}", **openapi.TOKEN)
    async def token(request: Request) -> JSONResponse:
        async def work(case: Case) -> JSONResponse:
            headers = RequestHeaders(request.scope)
            body = await read_body(request, TOKEN_BODY_BYTES, "token-request-malformed")
            asked = token_request.parse(body, headers.media_type("token-request-malformed"), exchange.url)
            members = await exchange.answer(asked, headers, case)
            return JSONResponse(members, headers={"Cache-Control": "no-store"})

        return await answer(request, "token.exchange", "/token", oauth_error, work)

    @router.post("/events", name=f"handoff_events{suffix}", **openapi.EVENTS)
    async def events(request: Request) -> JSONResponse:
        async def work(case: Case) -> JSONResponse:
            headers = RequestHeaders(request.scope)
            body = await read_body(request, EVENT_BODY_BYTES, "event-malformed")
            return _receipt(reception, await reception.take(body, headers, case))

        return await answer(request, "event.accept", "/events", problem, work)

    # The dependency brings the scheme into the OpenAPI page. `openapi.EVENTS` names it without the time that one takes.
    @router.get("/events/{event_id}", name="handoff_receipt", dependencies=[Depends(DPoP())], **openapi.RECEIPT)
    async def receipt(request: Request) -> JSONResponse:
        event_id: str = request.path_params["event_id"]

        async def work(case: Case) -> JSONResponse:
            headers = RequestHeaders(request.scope)
            return _receipt(reception, await reception.tell(event_id, headers, case))

        return await answer(request, "receipt.read", f"/events/{event_id}", problem, work)

    @router.get("/jwks.json", name="handoff_jwks", **openapi.KEYS)
    async def jwks(request: Request) -> JSONResponse:
        async def work(_: Case) -> JSONResponse:
            return JSONResponse({"keys": await keys.all_public(int(desk.clock()))})

        return await answer(request, "keys.read", "/jwks.json", problem, work)

    @router.get("/health", name="handoff_health", **openapi.HEALTH)
    async def readiness() -> JSONResponse:
        checks = await health.check()
        is_ready = all(checks.values())
        members: dict[str, Any] = {
            "status": "ready" if is_ready else "unready",
            "checks": {name: "ok" if is_well else "failed" for name, is_well in checks.items()},
        }
        return JSONResponse(members) if is_ready else JSONResponse(members, 503, {"Retry-After": str(RETRY_AFTER)})

    return router


def _receipt(reception: Reception, receipt: Any) -> JSONResponse:
    status, members, headers = reception.answer(receipt)
    return JSONResponse(members, status, headers)
