"""What every kind of event is to the receiver, and what every format of events must be able to do.

A new kind of event is one file beside `deployment.py`, and its format's name in the line in `__init__.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi_handoff.identity import Identity
    from fastapi_handoff.policy import Grant
    from fastapi_handoff.request import Checks


class EventMalformed(ValueError):  # noqa: N818 - named for what the input is
    """The bytes are no event of the format; the text names the member and what is wrong with it."""


class Event(Protocol):
    """An event whose form was checked. What it says is asserted by whoever sent it."""

    @property
    def id(self) -> str:
        """The id that its sender gave it. A retry has the same one."""
        ...

    @property
    def type(self) -> str:
        """Its full type, as records and receipts have it: `dev.cdevents.service.deployed.0.3.0`."""
        ...

    @property
    def name(self) -> str:
        """What `@handoff.on` calls it: `service.deployed`."""
        ...

    def for_handler(self) -> Any:
        """Return the object that a handler gets."""
        ...

    def asserted(self) -> Mapping[str, str | None]:
        """Return what records and receipts show of it, and nobody proved."""
        ...

    def require_identity(self, identity: Identity, grant: Grant, checks: Checks) -> None:
        """Compare what it says of its origin with what is attested, and with what the grant pins.

        Raises `Refusal`: `identity-mismatch`, naming the member.
        """
        ...


class EventFormat(Protocol):
    """A way to write events down: bytes of one media type."""

    media_type: str
    description: str
    """What a refusal says was expected: `a CDEvents service event in a CloudEvent`."""
    names: Sequence[str]
    """What `@handoff.on` can be given."""

    def name_of(self, event_type: str) -> str | None:
        """Return the name of a full type; `None` for a type that is not of this format."""
        ...

    def parse(self, body: bytes) -> Event:
        """Read an event. Raises `EventMalformed`."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a body, for the OpenAPI page."""
        ...
