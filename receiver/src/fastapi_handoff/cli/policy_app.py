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
from fastapi_handoff.web import SCHEME_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def needed_scopes(name: str) -> dict[str, tuple[str, ...]]:
    """Return each scope that the app `module:app` asks for, and by what: `POST /config/sync`, `service.deployed`.

    A route that its author keeps out of the OpenAPI page is not seen. Raises `PolicyError`.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise Misused("--app is MODULE:NAME, e.g. --app main:app")
    sys.path.insert(0, str(Path.cwd()))
    try:
        app = getattr(importlib.import_module(module), attribute)
        page = app.openapi()
    except Exception as error:  # noqa: BLE001 - whatever the app's own code raises
        raise PolicyError(f"the app `{name}` cannot be read: {type(error).__name__}: {error}") from None
    found: dict[str, list[str]] = defaultdict(list)
    for scope, user in [*_handlers(app.routes), *_routes(page)]:
        if user not in found[scope]:
            found[scope].append(user)
    if not found:
        raise PolicyError(f"`{name}` is no FastAPI app with a route or a handler that asks for a scope")
    return {scope: tuple(users) for scope, users in found.items()}


def _handlers(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in routes:
        handlers = getattr(route, "handlers", None)
        if isinstance(handlers, Handlers):
            for event_type, scope in handlers.scopes():
                yield scope, event_type
        # FastAPI of today keeps an included router whole; an older one copies its routes into the app.
        yield from _handlers(getattr(getattr(route, "original_router", route), "routes", None) or ())


def _routes(page: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, operations in page.get("paths", {}).items():
        for method, operation in operations.items():
            for requirement in operation.get("security", ()):
                for scope in requirement.get(SCHEME_NAME, ()):
                    yield scope, f"{method.upper()} {path}"
