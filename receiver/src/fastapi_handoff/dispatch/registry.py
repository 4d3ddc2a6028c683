"""The app's handlers: registered by type of event, run with an event and an identity, and what they may answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi_handoff.events import FORMATS

if TYPE_CHECKING:
    from fastapi_handoff.events import Event
    from fastapi_handoff.identity import Identity

logger = logging.getLogger(__name__)

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Any])
RESULT_BYTES: Final = 256 * 1024
"""A result is part of every answer about its event, and the pipe reads 1 MiB at most."""
NEUTRAL: Final = "the handler failed: the receiver's log has the reason"


class Rejected(Exception):  # noqa: N818 - what a handler says, not a fault of it
    """Raise it in a handler to fail the event; the text goes to the pipe, and to the commit's report."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handler ended."""

    state: str
    """`succeeded`, `failed` or `interrupted`."""
    detail: str | None = None
    result: str | None = None
    """JSON."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler."""

    function: Callable[..., Any]
    scope: str
    idempotent: bool

    async def run(self, event: Event, identity: Identity) -> Outcome:
        """Run it to its end, a plain function in a thread. Raises nothing but `CancelledError`."""
        try:
            if inspect.iscoroutinefunction(self.function):
                value = await self.function(event.for_handler(), identity)
            else:
                value = await asyncio.to_thread(self.function, event.for_handler(), identity)
                if inspect.isawaitable(value):
                    value = await value
        except Rejected as rejection:
            return Outcome("failed", str(rejection) or "the handler rejected the event without saying why")
        except (Exception, SystemExit):
            # SystemExit too: in a task it would stop the event loop, and with it every other handler.
            logger.exception("the handler of event %s (%s) failed", event.id, event.type)
            return Outcome("failed", NEUTRAL)
        return _as_outcome(value, event)


def _as_outcome(value: Any, event: Event) -> Outcome:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError):
        logger.exception("the handler of event %s (%s) ended well, but its result is not JSON", event.id, event.type)
        return Outcome("failed", "the handler ended, but its result is not JSON: the receiver's log says why")
    if size > RESULT_BYTES:
        logger.error("the handler of event %s (%s) ended well, but its result has %d bytes", event.id, event.type, size)
        return Outcome("failed", f"the handler ended, but its result is longer than {RESULT_BYTES} bytes")
    return Outcome("succeeded", result=text)


class Handlers:
    """The handlers of an app, one for a type of event."""

    def __init__(self) -> None:
        self._by_type: dict[str, Handler] = {}

    def find(self, event_type: str) -> Handler | None:
        """Give the handler of a type, as `service.deployed`."""
        return self._by_type.get(event_type)

    def register(
        self, event_type: str, *, scope: str, idempotent: bool
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Give the decorator that registers a handler. `ValueError` and `TypeError` for one that could never run."""
        names = [name for each in FORMATS for name in each.names]
        if event_type not in names:
            known = ", ".join(f"`{name}`" for name in names)
            raise ValueError(f"`{event_type}` is no type of event: expected one of {known}")
        if not scope or " " in scope:
            raise ValueError("`scope` names the one scope that an access token needs for the event")

        def decorate(function: HandlerFunction) -> HandlerFunction:
            if event_type in self._by_type:
                raise ValueError(f"`{event_type}` has a handler already: call both from one")
            try:
                inspect.signature(function).bind(object(), object())
            except TypeError:
                raise TypeError(f"the handler of `{event_type}` must take two arguments: event, identity") from None
            self._by_type[event_type] = Handler(function, scope, idempotent)
            return function

        return decorate
