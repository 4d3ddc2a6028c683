"""The identity: the attested facts behind an access token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_IDS: Final = {
    "workspace_uuid": "workspaceUuid",
    "repository_uuid": "repositoryUuid",
    "pipeline_uuid": "pipelineUuid",
    "step_uuid": "stepUuid",
    "branch": "branchName",
    "environment_uuid": "deploymentEnvironmentUuid",
}
"""Our names of the attested claims that every record and receipt shows, and Bitbucket's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who called: what Bitbucket's identity provider attests about a step, and what the policy made of it.

    UUIDs are as Bitbucket writes them, in braces. Nothing here is asserted by the pipe.
    """

    workspace: str
    """The workspace's slug, from the policy."""
    workspace_uuid: str
    repository_uuid: str
    pipeline_uuid: str
    step_uuid: str
    branch: str | None
    """`None` where the token has no branch, as on tag builds."""
    environment_uuid: str | None
    """`None` where the step has no `deployment:`."""
    pipeline_run_uuid: str | None
    sub: str
    """Bitbucket's own subject, another on every run of a step."""
    scopes: frozenset[str]
    grant: str
    """The name of the policy's grant that applied."""
    policy: str
    """The digest of the policy the access token was made under."""

    @classmethod
    def of(
        cls, sub: str, attested: Mapping[str, str], *, workspace: str, scopes: Iterable[str], grant: str, policy: str
    ) -> Identity:
        """Give the identity of attested claims under Bitbucket's own names."""
        return cls(
            workspace=workspace,
            workspace_uuid=attested["workspaceUuid"],
            repository_uuid=attested["repositoryUuid"],
            pipeline_uuid=attested["pipelineUuid"],
            step_uuid=attested["stepUuid"],
            branch=attested.get("branchName"),
            environment_uuid=attested.get("deploymentEnvironmentUuid"),
            pipeline_run_uuid=attested.get("pipelineRunUuid"),
            sub=sub,
            scopes=frozenset(scopes),
            grant=grant,
            policy=policy,
        )

    @classmethod
    def stored(cls, members: Mapping[str, Any], sub: str, scope: str) -> Identity:
        """Give the identity that `as_json` gave."""
        return cls(**members, sub=sub, scopes=frozenset(scope.split()))

    def as_json(self) -> dict[str, Any]:
        """Give what is stored with a receipt; the receipt shows it without `pipeline_run_uuid`."""
        return {
            "workspace": self.workspace,
            **{name: getattr(self, name) for name in _IDS},
            "pipeline_run_uuid": self.pipeline_run_uuid,
            "grant": self.grant,
            "policy": self.policy,
        }

    def actor(self) -> dict[str, str | None]:
        """Give the attested ids that an audit record names."""
        return {"sub": self.sub, **{name: getattr(self, name) for name in _IDS}}


def attested_actor(sub: str, attested: Mapping[str, str]) -> dict[str, str | None]:
    """Give the ids that an audit record names, of a step that has no `Identity` yet."""
    return {"sub": sub, **{name: attested.get(claim) for name, claim in _IDS.items()}}
