"""CDEvents service events in structured CloudEvents: the wire's model. All it says is *asserted* by the pipe.

https://cdevents.dev (0.5), https://cloudevents.io (1.0)
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from fastapi_handoff.events.base import EventMalformed
from fastapi_handoff.events.integrity import EVENT_ID
from fastapi_handoff.jose import NotStrictJson, parse_json_object

SERVICE_EVENTS: Final = (
    "service.deployed",
    "service.upgraded",
    "service.rolledback",
    "service.removed",
    "service.published",
)
"""The CDEvents 0.5 predicates that are taken, as `@handoff.on` names them."""
_NEEDS_ENVIRONMENT: Final = frozenset(SERVICE_EVENTS[:3])
_TYPE: Final = r"^dev\.cdevents\.service\.(deployed|upgraded|rolledback|removed|published)\.0\.3\.0$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
EventId = Annotated[str, StringConstraints(pattern=f"^{EVENT_ID.pattern}$")]
EventType = Annotated[str, StringConstraints(pattern=_TYPE)]
_DATE_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
Time = Annotated[str, StringConstraints(pattern=_DATE_TIME), Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Member(BaseModel):
    # Unknown members are passed over: CloudEvents and CDEvents both grow by adding some.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Environment(_Member):
    """Where the service is; its `id` is the environment's name."""

    id: Text
    source: Text | None = None


class Content(_Member):
    """What is known of the service: where it is, and from what it was made."""

    environment: Environment | None = None
    artifact_id: Text | None = Field(None, alias="artifactId")


class Subject(_Member):
    """The service."""

    id: Text
    source: Text | None = None
    content: Content


class Context(_Member):
    """The CDEvent's own envelope; it repeats the CloudEvent's."""

    specversion: Annotated[str, StringConstraints(pattern=r"^0\.5\.[0-9]{1,3}$")]
    id: EventId
    source: Text
    type: EventType
    timestamp: Time

    @field_validator("timestamp")
    @classmethod
    def _is_a_moment(cls, value: str) -> str:
        moment(value)
        return value


class BitbucketData(_Member):
    """What the sender says of a pipeline. Of a Bitbucket step, the first six and `branch` must be what is attested."""

    workspace: Text
    workspace_uuid: Text
    repository_uuid: Text
    pipeline_uuid: Text
    step_uuid: Text
    environment_uuid: Text | None = None
    branch: Text | None = None
    repository: Text | None = None
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    tag: Text | None = None
    build_number: Count | None = None
    step_run_number: Count | None = None
    pull_request: Count | None = None


class CustomData(_Member):
    """What CDEvents leaves to us."""

    bitbucket: BitbucketData | None = Field(None, description="Required of a step of Bitbucket Pipelines.")
    custom: dict[str, Any] = Field(default_factory=dict, description="The user's `CUSTOM_DATA`.")


class CDEvent(_Member):
    """A CDEvents service event."""

    context: Context
    subject: Subject
    custom_data: CustomData = Field(default_factory=lambda: CustomData.model_validate({}), alias="customData")


class CloudEvent(_Member):
    """A structured CloudEvent whose data is a CDEvents service event."""

    specversion: Literal["1.0"]
    id: EventId
    source: Text
    type: EventType
    subject: Text
    time: Time
    datacontenttype: Literal["application/json"] = "application/json"
    data: CDEvent

    @property
    def predicate(self) -> str:
        """`service.deployed` of `dev.cdevents.service.deployed.0.3.0`."""
        return predicate_of(self.type)

    @field_validator("time")
    @classmethod
    def _is_a_moment(cls, value: str) -> str:
        moment(value)
        return value

    @model_validator(mode="after")
    def _envelope_and_data_agree(self) -> Self:
        # Whoever reads the envelope and whoever reads the data must have read the same event.
        context, subject = self.data.context, self.data.subject
        for name, outer, inner in (
            ("id", self.id, context.id),
            ("type", self.type, context.type),
            ("source", self.source, context.source),
            ("subject", self.subject, subject.id),
        ):
            if outer != inner:
                raise ValueError(f"the envelope's `{name}` differs from the data's")
        if self.predicate in _NEEDS_ENVIRONMENT:
            content = subject.content
            if content.environment is None or content.artifact_id is None:
                raise ValueError(f"`{self.type}` needs an `environment` and an `artifactId`")
        return self


def predicate_of(event_type: str) -> str:
    """Return `service.deployed` for `dev.cdevents.service.deployed.0.3.0`."""
    return ".".join(event_type.split(".")[2:4])


def parse(body: bytes) -> CloudEvent:
    """Read an event's bytes. Raises `EventMalformed` for anything that is not such an event."""
    try:
        return CloudEvent.model_validate(parse_json_object(body))
    except NotStrictJson as error:
        raise EventMalformed(f"the body is not usable: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise EventMalformed(f"`{where}`: {said[0].lower()}{said[1:]}" if where else said) from None


def moment(text: str) -> datetime:
    """Return the moment of an RFC 3339 text. Raises `ValueError` for one that is in no calendar."""
    # Python reads at most six digits of a fraction of a second.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
