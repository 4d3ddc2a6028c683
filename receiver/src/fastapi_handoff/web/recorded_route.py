"""The handoff's own routes: each owns its request's context, and no refusal leaves it unrecorded.

An endpoint behind one reads as its own few lines: what it raises is recorded and rendered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from fastapi import HTTPException
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Host, Match, Mount

from fastapi_handoff.request import Refusal, RequestContext, trace_id
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fastapi import Request, Response
    from starlette.types import Scope

    from fastapi_handoff.web.recorder import Recorder
    from fastapi_handoff.web.responses import Render

_CONTEXT_KEY: Final = "fastapi_handoff.context"
_MATCHED_KEY: Final = "fastapi_handoff.matched"


class Recorded(NamedTuple):
    """How a route's requests are recorded, and their refusals rendered."""

    action: str
    """What the audit calls them: `event.accept`."""
    resource: str
    """The path below the receiver's URL, with the route's parameters in braces."""
    render: Render


class RecordedRoute(APIRoute):
    """A route whose requests are recorded by the handoff itself, in the transaction of what they change."""

    recorder: ClassVar[Recorder]
    base_path: ClassVar[str]
    """The path of the receiver's public URL: records name the resource as the client knows it."""
    recorded: ClassVar[Mapping[str, Recorded]]
    """By the route's name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the endpoint. FastAPI calls this once for each route."""
        endpoint = super().get_route_handler()
        recorded = self.recorded.get(self.name)
        if recorded is None:
            return endpoint

        async def handle(request: Request) -> Response:
            path = recorded.resource.format(**request.path_params)
            context = RequestContext(
                recorded.action, f"{request.method} {self.base_path}{path}", trace_id(request.scope)
            )
            request.scope[_CONTEXT_KEY] = context
            try:
                return await endpoint(request)
            except (Refusal, StoreUnavailable) as error:
                return await self.recorder.refuse(error, context, recorded.render)
            except HTTPException as refused:
                # Of a dependency that the app put on the router, such as a limit of its rate.
                with suppress(StoreUnavailable):
                    await self.recorder.record(context.entry("refused", outcome={"status": refused.status_code}))
                raise
            except Exception:
                with suppress(StoreUnavailable):
                    await self.recorder.record(context.entry("failed", outcome={"status": None}))
                raise

        return handle

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as every route does, and leave a note for `matched_route`.

        Not where the app added a route of its own to the handoff's router: that one is recorded as any route is.
        """
        match, child = super().matches(scope)
        if match is Match.FULL and self.name in self.recorded:
            scope[_MATCHED_KEY] = self
        return match, child


def context_of(request: Request) -> RequestContext:
    """Return the context of a request to a recorded route."""
    context: RequestContext = request.scope[_CONTEXT_KEY]
    return context


def matched_route(scope: Scope) -> RecordedRoute | None:
    """Return the recorded route that an app will give a request to; `None` where it is any other, or none.

    By the routes themselves and not by their paths: an app may have a `/token` of its own. What cannot be looked into
    (a mounted app of another framework) is `None` too, so that its requests are recorded as any request is.
    """
    probe: dict[str, Any] = {**scope, _MATCHED_KEY: None}
    routes = _routes_of(scope.get("app"))
    while routes:
        for route in routes:
            match, child = route.matches(probe)
            if match is Match.FULL:
                probe.update(child)
                routes = _routes_of(route) if isinstance(route, Mount | Host) else ()
                break
        else:
            return None
    matched: RecordedRoute | None = probe[_MATCHED_KEY]
    return matched


def _routes_of(holder: object) -> Sequence[BaseRoute]:
    routes = getattr(holder, "routes", ())
    is_starlettes = isinstance(routes, Sequence) and all(isinstance(route, BaseRoute) for route in routes)
    return routes if is_starlettes else ()
