"""The app's handlers: registered by type of event, run with an event and an identity, and what they may answer."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi_handoff.dispatch.states import Happening, State, step
from fastapi_handoff.events import FORMATS, name_of

if TYPE_CHECKING:
    from fastapi_handoff.dispatch.threads import HandlerThreads
    from fastapi_handoff.events import Event
    from fastapi_handoff.identity import Identity

logger = logging.getLogger(__name__)

HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Any])
RESULT_BYTES: Final = 256 * 1024
"""A result is part of every answer about its event, and the pipe reads 1 MiB at most."""


class Rejected(Exception):  # noqa: N818 - what a handler says, not a fault of it
    """Raise it in a handler to fail the event; the text goes to the pipe, and to the commit's report."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handler ended."""

    happening: Happening
    """`SUCCEEDED`, `FAILED` or `STOPPED`."""
    detail: str | None = None
    result: Any = field(default=None, repr=False)
    result_text: str | None = field(default=None, repr=False)
    """`result` as JSON."""

    @property
    def state(self) -> State:
        """The state that it brings a running receipt to."""
        return step(State.RUNNING, self.happening).to


FAILED: Final = Outcome(Happening.FAILED, "the handler failed: the receiver's log has the reason")


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler."""

    function: Callable[..., Any]
    scope: str
    idempotent: bool

    @property
    def is_plain(self) -> bool:
        """Whether it runs in a thread."""
        return not inspect.iscoroutinefunction(self.function)

    async def run(self, event: Event, identity: Identity, threads: HandlerThreads) -> Outcome:
        """Run it to its end, a plain function in a thread. Raises nothing but `CancelledError`."""
        try:
            if self.is_plain:
                value = await threads.run(self.function, event.for_handler(), identity)
                if inspect.isawaitable(value):
                    value = await value
            else:
                value = await self.function(event.for_handler(), identity)
        except Rejected as rejection:
            return Outcome(Happening.FAILED, str(rejection) or "the handler rejected the event without saying why")
        except (Exception, SystemExit):
            # SystemExit too: in a task it would stop the event loop, and with it every other handler.
            logger.exception("the handler of event %s (%s) failed", event.id, event.type)
            return FAILED
        return _as_outcome(value, event)


def _as_outcome(value: Any, event: Event) -> Outcome:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError):
        logger.exception("the handler of event %s (%s) ended well, but its result is not JSON", event.id, event.type)
        return Outcome(Happening.FAILED, "the handler ended, but its result is not JSON: the receiver's log says why")
    if size > RESULT_BYTES:
        logger.error("the handler of event %s (%s) ended well, but its result has %d bytes", event.id, event.type, size)
        return Outcome(Happening.FAILED, f"the handler ended, but its result is longer than {RESULT_BYTES} bytes")
    # A copy: the app may go on changing what its handler returned, and what is told must be what is stored.
    return Outcome(Happening.SUCCEEDED, result=json.loads(text), result_text=text)


class Handlers:
    """The handlers of an app, one for a type of event."""

    def __init__(self) -> None:
        self._by_name: dict[str, Handler] = {}

    def find(self, name: str) -> Handler | None:
        """Return the handler of a type of event by its name, as `service.deployed`."""
        return self._by_name.get(name)

    def find_stored(self, event_type: str) -> Handler | None:
        """Return the handler of the full type of event that a receipt has."""
        return self.find(name_of(event_type))

    def register(
        self, event_type: str, *, scope: str, idempotent: bool
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Return the decorator that registers a handler. `ValueError` and `TypeError` for one that could never run."""
        names = [name for each in FORMATS for name in each.names]
        if event_type not in names:
            known = ", ".join(f"`{name}`" for name in names)
            raise ValueError(f"`{event_type}` is no type of event: expected one of {known}")
        if not scope or " " in scope:
            raise ValueError("`scope` names the one scope that an access token needs for the event")

        def decorate(function: HandlerFunction) -> HandlerFunction:
            if event_type in self._by_name:
                raise ValueError(f"`{event_type}` has a handler already: call both from one")
            try:
                inspect.signature(function).bind(object(), object())
            except TypeError:
                raise TypeError(f"the handler of `{event_type}` must take two arguments: event, identity") from None
            self._by_name[event_type] = Handler(function, scope, idempotent)
            return function

        return decorate
