"""A delivery: one event of one caller that passed every check but the last two, its replay and a conflict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_handoff.auth import Caller
    from fastapi_handoff.dispatch.registry import Handler
    from fastapi_handoff.events import Event


@dataclass(frozen=True, slots=True)
class Delivery:
    """What `Dispatcher.accept` takes."""

    event: Event
    body: bytes = field(repr=False)
    digest: str
    """The body's `Content-Digest`."""
    caller: Caller
    handler: Handler
    """Looked up once; the caller has its scope."""
