"""Deployment events: what the pipe says happened to a service, in CDEvents' words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.events import cdevents
from fastapi_handoff.events.cdevents import BitbucketData, CloudEvent, moment
from fastapi_handoff.issuers import Bitbucket

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fastapi_handoff.identity import Identity
    from fastapi_handoff.policy import Grant
    from fastapi_handoff.request import Checks

_NO_PIPELINE: Final = BitbucketData.model_construct(repository_uuid=None)
"""Of an event that names none."""


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """What a handler gets of an event. Every field is asserted by its sender; what is attested is in `Identity`.

    The environment's name and the service are what the grant pins, where it pins them. Where the caller is a step of
    Bitbucket Pipelines, the workspace, repository, pipeline, step, environment UUID and branch that the event names
    were found equal to the attested ones. Nobody vouches for a repository that another caller's event names.
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
    """40 hex digits."""
    tag: str | None
    build_number: int | None
    step_run_number: int | None
    """1, and one more for each re-run of the step."""
    pull_request: int | None
    custom: dict[str, Any] = field(repr=False)
    """The user's `CUSTOM_DATA`."""


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """A CDEvents service event that was read."""

    wire: CloudEvent

    @property
    def id(self) -> str:
        """The CloudEvent's id."""
        return self.wire.id

    @property
    def type(self) -> str:
        """The CloudEvent's type."""
        return self.wire.type

    @property
    def name(self) -> str:
        """`service.deployed` and the like."""
        return self.wire.predicate

    @property
    def _environment(self) -> str | None:
        environment = self.wire.data.subject.content.environment
        return environment.id if environment else None

    def for_handler(self) -> DeploymentEvent:
        """Return what a handler sees of the event."""
        subject, custom_data = self.wire.data.subject, self.wire.data.custom_data
        pipeline = custom_data.bitbucket or _NO_PIPELINE
        return DeploymentEvent(
            id=self.id,
            type=self.name,
            time=moment(self.wire.time),
            source=self.wire.source,
            service=subject.id,
            environment=self._environment,
            artifact_id=subject.content.artifact_id,
            repository=pipeline.repository,
            commit=pipeline.commit,
            tag=pipeline.tag,
            build_number=pipeline.build_number,
            step_run_number=pipeline.step_run_number,
            pull_request=pipeline.pull_request,
            custom=custom_data.custom,
        )

    def asserted(self) -> dict[str, str | None]:
        """Return what a receipt shows under `asserted`."""
        subject, pipeline = self.wire.data.subject, self.wire.data.custom_data.bitbucket or _NO_PIPELINE
        return {
            "type": self.type,
            "service": subject.id,
            "environment": self._environment,
            "artifact_id": subject.content.artifact_id,
            "repository": pipeline.repository or pipeline.repository_uuid,
            "commit": pipeline.commit,
            "time": self.wire.time,
        }

    def require_identity(self, identity: Identity, grant: Grant, checks: Checks) -> None:
        """Compare the event's pipeline with the attested step, and its service and environment with the grant's.

        Only a step of Bitbucket Pipelines has a pipeline to compare: what the event of any other caller says of one is
        asserted, and shown so. Raises `Refusal`: `identity-mismatch`, naming the member; `event-malformed` where a
        step's event leaves its pipeline out.
        """
        if identity.kind == Bitbucket.kind:
            self._require_step(identity, checks)
        if grant.environment_name is not None:
            _require("environment_name", grant.environment_name, self._environment, checks)
        service = self.wire.data.subject.id
        if grant.services is not None and service not in grant.services:
            expected = " ".join(sorted(grant.services))
            raise checks.refuse(
                "service",
                expected,
                service,
                "identity-mismatch",
                f"the event's `service` is `{service}`, but the grant is for `{expected}` only",
            )

    def _require_step(self, identity: Identity, checks: Checks) -> None:
        pipeline = self.wire.data.custom_data.bitbucket
        if pipeline is None:
            raise checks.refuse(
                "bitbucket", "present", None, "event-malformed", "`data.customData.bitbucket`: field required"
            )
        for name, attested in Bitbucket.shown(identity.claims).items():
            asserted = getattr(pipeline, name)
            # An event may leave the branch out; every other id must be there, or be absent from both.
            if name != "branch" or asserted is not None:
                _require(name, attested, asserted, checks)


class ServiceEvents:
    """The format of the pipe's events: a structured CloudEvent whose data is a CDEvents service event."""

    media_type = "application/cloudevents+json"
    description = "a CDEvents service event in a CloudEvent"
    names: Sequence[str] = cdevents.SERVICE_EVENTS

    def name_of(self, event_type: str) -> str | None:
        """Return `service.deployed` for `dev.cdevents.service.deployed.0.3.0`."""
        name = cdevents.predicate_of(event_type)
        return name if name in self.names else None

    def parse(self, body: bytes) -> ServiceEvent:
        """Read an event. Raises `EventMalformed`."""
        return ServiceEvent(cdevents.parse(body))

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the CloudEvent."""
        return CloudEvent.model_json_schema()


def _require(name: str, attested: str | None, asserted: str | None, checks: Checks) -> None:
    if attested != asserted:
        raise checks.refuse(
            name, attested, asserted, "identity-mismatch", f"the event's `{name}` is not what is attested or granted"
        )
    checks.passed(name, attested)
