"""What an app asks for: the scopes of its routes and handlers. Importing an app runs its code."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi_handoff.cli.output import Misused
from fastapi_handoff.dispatch import Handlers
from fastapi_handoff.policy import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator


def needed_scopes(name: str) -> dict[str, tuple[str, ...]]:
    """Return each scope that the app `module:app` asks for, and by what: `POST /config/sync`, `service.deployed`."""
    from fastapi.routing import APIRoute

    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise Misused("--app is MODULE:NAME, e.g. --app main:app")
    sys.path.insert(0, str(Path.cwd()))
    try:
        app = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - whatever the app's own code raises
        raise PolicyError(f"the app `{name}` cannot be imported: {type(error).__name__}: {error}") from None
    found: dict[str, list[str]] = defaultdict(list)
    for route in getattr(app, "routes", []):
        if isinstance(route, APIRoute):
            for scope, user in _of_route(route):
                if user not in found[scope]:
                    found[scope].append(user)
    if not found:
        raise PolicyError(f"`{name}` is no FastAPI app with a route or a handler that asks for a scope")
    return {scope: tuple(users) for scope, users in found.items()}


def _of_route(route: Any) -> Iterator[tuple[str, str]]:
    handlers = getattr(route, "handlers", None)
    if isinstance(handlers, Handlers):
        for event_type, scope in handlers.scopes():
            yield scope, event_type
    for scope in _scopes(route.dependant):
        yield scope, f"{' '.join(sorted(route.methods))} {route.path}"


def _scopes(dependant: Any) -> Iterator[str]:
    from fastapi_handoff.web import IdentityDependency

    if isinstance(dependant.call, IdentityDependency):
        yield from [*(dependant.parent_oauth_scopes or ()), *(dependant.own_oauth_scopes or ())]
    for each in dependant.dependencies:
        yield from _scopes(each)
