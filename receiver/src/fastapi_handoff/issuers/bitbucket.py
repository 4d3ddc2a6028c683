"""Bitbucket Pipelines: the identity provider of one workspace, and what its step tokens attest.

https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from fastapi_handoff.issuers.base import Claim, Issuer, IssuerName, IssuerSettings, claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Uuid = Annotated[str, StringConstraints(pattern=r"^\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$")]
"""As Bitbucket writes it: in braces, lower case."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=100)]


def _plain(branch: str) -> str:
    if branch.startswith("refs/"):
        raise ValueError("is a branch's plain name, without `refs/heads/`")
    return branch


Branch = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x20\x7f~^:\[\]\\]+$", max_length=255), AfterValidator(_plain)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BitbucketStep:
    """A step of a pipeline, as Bitbucket attests it. UUIDs are as Bitbucket writes them, in braces."""

    workspace: Annotated[
        str, Claim(claim="workspace", description="The workspace's slug: a part of `iss`, which the policy names.")
    ]
    workspace_uuid: Annotated[str, Claim(claim="workspaceUuid", description="The workspace's immutable id.")]
    repository_uuid: Annotated[
        str,
        Claim(
            claim="repositoryUuid",
            description="The repository's immutable id.",
            match="repository",
            value=Uuid,
            pinned=True,
        ),
    ]
    pipeline_uuid: Annotated[str, Claim(claim="pipelineUuid", description="The pipeline.")]
    step_uuid: Annotated[str, Claim(claim="stepUuid", description="The step.")]
    branch: Annotated[
        str | None,
        Claim(
            claim="branchName",
            description="Exact, or a glob matched whole: `*` and `?` stop at a `/`, `**` does not; absent: any.",
            required=False,
            match="branch",
            value=Branch,
            is_pattern=True,
        ),
    ]
    """The plain name; `None` where the token has no branch, as on tag builds."""
    environment_uuid: Annotated[
        str | None,
        Claim(
            claim="deploymentEnvironmentUuid",
            description="The deployment environment's id; absent: any, or none.",
            required=False,
            match="environment",
            value=Uuid,
        ),
    ]
    """`None` where the step has no `deployment:`."""
    pipeline_run_uuid: Annotated[
        str | None,
        Claim(claim="pipelineRunUuid", description="The run of the pipeline.", required=False, shown=False),
    ]
    """A newer claim, which not every token has."""


class BitbucketSettings(IssuerSettings):
    """Whose identity provider is trusted. Keys are fetched from this workspace's issuer only."""

    name: IssuerName = "bitbucket"
    kind: Literal["bitbucket"] = "bitbucket"
    workspace: Slug = Field(description="The workspace's slug: it is part of the issuer's URL.")
    workspace_uuid: Uuid = Field(description="The workspace's immutable id: a slug can be renamed and taken over.")


class Bitbucket(Issuer):
    """The identity provider of one workspace."""

    kind = "bitbucket"
    claims = claims_of(BitbucketStep)
    source = "repository_uuid"
    algorithms = frozenset({"RS256"})
    types = None
    subject_token_type = "id_token"  # noqa: S105 - the name of a type
    settings = BitbucketSettings
    audience_advice = "add it to the step's `oidc: audiences`"

    workspace = ""

    @classmethod
    def from_settings(cls, settings: BitbucketSettings, bitbucket_url: str) -> Bitbucket:
        """Return the issuer of a workspace."""
        url = f"{bitbucket_url}/2.0/workspaces/{settings.workspace}/pipelines-config/identity/oidc"
        # A slug can be given up and taken by another workspace; its UUID cannot.
        issuer = cls(settings, url, f"{url}/keys.json", expected={"workspaceUuid": settings.workspace_uuid})
        issuer.workspace = settings.workspace
        issuer.default_audience = f"ari:cloud:bitbucket::workspace/{settings.workspace_uuid.strip('{}')}"
        return issuer

    def flat(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims, with the slug that stands in `iss`."""
        return {**claims, "workspace": self.workspace}
