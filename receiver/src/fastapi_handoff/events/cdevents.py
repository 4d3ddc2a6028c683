"""The event: a CDEvents service event in a structured CloudEvent. All it says is *asserted* by the pipe.

What must equal the attested identity is compared in `require_identity`; nothing else of it is proved by anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from fastapi_handoff.events.integrity import EVENT_ID
from fastapi_handoff.jose.strict_json import NotStrictJson, parse_object

if TYPE_CHECKING:
    from fastapi_handoff.identity import Identity
    from fastapi_handoff.policy.model import Grant
    from fastapi_handoff.request.checks import Trace

EVENT_TYPES: Final = (
    "service.deployed",
    "service.upgraded",
    "service.rolledback",
    "service.removed",
    "service.published",
)
"""The CDEvents 0.5 predicates that are taken, as `@handoff.on` names them."""
_NEEDS_ENVIRONMENT: Final = frozenset(EVENT_TYPES[:3])
_TYPE: Final = r"^dev\.cdevents\.service\.(deployed|upgraded|rolledback|removed|published)\.0\.3\.0$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
EventId = Annotated[str, StringConstraints(pattern=f"^{EVENT_ID.pattern}$")]
EventType = Annotated[str, StringConstraints(pattern=_TYPE)]
_DATE_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
Time = Annotated[str, StringConstraints(pattern=_DATE_TIME), Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class EventMalformed(ValueError):  # noqa: N818 - named for what the input is
    """The bytes are not such an event; the text names the member and what is wrong with it."""


class _Member(BaseModel):
    # Members that are not known are passed over: CloudEvents and CDEvents both grow by adding some.
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
        _moment(value)
        return value


class BitbucketData(_Member):
    """What the pipe says of its pipeline; the first six and `branch` are compared with the attested identity."""

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

    bitbucket: BitbucketData
    custom: dict[str, Any] = Field(default_factory=dict, description="The user's `CUSTOM_DATA`.")


class CDEvent(_Member):
    """A CDEvents service event."""

    context: Context
    subject: Subject
    custom_data: CustomData = Field(alias="customData")


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

    @field_validator("time")
    @classmethod
    def _is_a_moment(cls, value: str) -> str:
        _moment(value)
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
        if predicate(self.type) in _NEEDS_ENVIRONMENT:
            content = subject.content
            if content.environment is None or content.artifact_id is None:
                raise ValueError(f"`{self.type}` needs an `environment` and an `artifactId`")
        return self


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """What a handler gets of an event. Every field is asserted by the pipe; what is attested is in `Identity`.

    The workspace, repository, pipeline, step, environment UUID and branch that the event names were found equal to the
    attested ones, and the environment's name and the service are what the grant pins, where it pins them.
    """

    id: str
    type: str
    """`service.deployed`, `service.upgraded`, `service.rolledback`, `service.removed` or `service.published`."""
    time: datetime
    source: str
    service: str
    environment: str | None
    """The environment's name."""
    artifact_id: str | None
    """A package URL."""
    repository: str | None
    """Workspace and repository slug."""
    commit: str | None
    tag: str | None
    build_number: int | None
    step_run_number: int | None
    pull_request: int | None
    custom: dict[str, Any] = field(repr=False)
    """The user's `CUSTOM_DATA`."""


def predicate(event_type: str) -> str:
    """Give `service.deployed` for `dev.cdevents.service.deployed.0.3.0`."""
    return ".".join(event_type.split(".")[2:4])


def parse(body: bytes) -> CloudEvent:
    """Read an event's bytes. `EventMalformed` for all that is not such an event."""
    try:
        return CloudEvent.model_validate(parse_object(body))
    except NotStrictJson as error:
        raise EventMalformed(f"the body is not usable: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise EventMalformed(f"`{where}`: {said[0].lower()}{said[1:]}" if where else said) from None


def deployment_event(event: CloudEvent) -> DeploymentEvent:
    """Give what a handler sees of an event."""
    subject, custom_data = event.data.subject, event.data.custom_data
    asserted = custom_data.bitbucket
    return DeploymentEvent(
        id=event.id,
        type=predicate(event.type),
        time=_moment(event.time),
        source=event.source,
        service=subject.id,
        environment=subject.content.environment.id if subject.content.environment else None,
        artifact_id=subject.content.artifact_id,
        repository=asserted.repository,
        commit=asserted.commit,
        tag=asserted.tag,
        build_number=asserted.build_number,
        step_run_number=asserted.step_run_number,
        pull_request=asserted.pull_request,
        custom=custom_data.custom,
    )


def asserted_members(event: CloudEvent) -> dict[str, str | None]:
    """Give the members of a receipt's `asserted`: what the event says and nobody proved."""
    subject = event.data.subject
    return {
        "type": event.type,
        "service": subject.id,
        "environment": subject.content.environment.id if subject.content.environment else None,
        "artifact_id": subject.content.artifact_id,
        "commit": event.data.custom_data.bitbucket.commit,
        "time": event.time,
    }


def require_identity(event: CloudEvent, identity: Identity, grant: Grant, trace: Trace) -> None:
    """Compare what the event says of its origin with what is attested, and with what the grant pins.

    Raises `Refusal`: `identity-mismatch`, naming the field.
    """
    asserted = event.data.custom_data.bitbucket
    for name in ("workspace", "workspace_uuid", "repository_uuid", "pipeline_uuid", "step_uuid", "environment_uuid"):
        _require(name, getattr(identity, name), getattr(asserted, name), trace)
    if asserted.branch is not None:
        _require("branch", identity.branch, asserted.branch, trace)
    subject = event.data.subject
    if grant.environment_name is not None:
        environment = subject.content.environment
        _require("environment_name", grant.environment_name, environment.id if environment else None, trace)
    if grant.services is not None and subject.id not in grant.services:
        expected = " ".join(sorted(grant.services))
        raise trace.refuse(
            "service",
            expected,
            subject.id,
            "identity-mismatch",
            f"the event's `service` is `{subject.id}`, but the grant is for `{expected}` only",
        )


def _require(name: str, attested: str | None, asserted: str | None, trace: Trace) -> None:
    if attested != asserted:
        raise trace.refuse(
            name, attested, asserted, "identity-mismatch", f"the event's `{name}` is not what is attested or granted"
        )
    trace.passed(name, attested)


def _moment(text: str) -> datetime:
    # Python reads at most six digits of a fraction of a second.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
