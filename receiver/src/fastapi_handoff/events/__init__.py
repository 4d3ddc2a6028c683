"""What a body says: formats of events, their models, and what binds their bytes.

Here belongs everything that is known of an event by reading it. Not here: who sent it (`auth`), and what happens to it
(`dispatch`).
"""

from typing import Final

from fastapi_handoff.events.base import Event, EventFormat, EventMalformed
from fastapi_handoff.events.deployment import DeploymentEvent, ServiceEvents
from fastapi_handoff.events.integrity import (
    EVENT_ID,
    SigningSecrets,
    content_digest,
    require_digest,
    require_signature,
    require_webhook_headers,
)

PIPE_EVENTS: Final[EventFormat] = ServiceEvents()
"""What `POST /events` takes."""
FORMATS: Final[tuple[EventFormat, ...]] = (PIPE_EVENTS,)
"""Every format of events. A new one is a file beside `deployment.py`, and its name in this line."""


def name_of(event_type: str) -> str:
    """Return what `@handoff.on` calls events of a full type; the type itself where no format knows it."""
    return next((name for each in FORMATS if (name := each.name_of(event_type)) is not None), event_type)


def parse_stored(event_type: str, body: bytes) -> Event:
    """Read an event that was accepted before. Raises `EventMalformed`."""
    for each in FORMATS:
        if each.name_of(event_type) is not None:
            return each.parse(body)
    raise EventMalformed(f"no format has events of type `{event_type}`")


__all__ = [
    "EVENT_ID",
    "FORMATS",
    "PIPE_EVENTS",
    "DeploymentEvent",
    "Event",
    "EventFormat",
    "EventMalformed",
    "SigningSecrets",
    "content_digest",
    "name_of",
    "parse_stored",
    "require_digest",
    "require_signature",
    "require_webhook_headers",
]
