"""The policy: a file, parsed and compiled once into an immutable value, and the one function that decides by it.

The token endpoint and `fastapi-handoff policy check` call the same `Policy.decide`, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi_handoff.policy.file import PolicyError, PolicyFile, read
from fastapi_handoff.policy import patterns as glob
from fastapi_handoff.request.checks import shown
from fastapi_handoff.request.refusal import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from fastapi_handoff.policy.file import GrantTable

__all__ = ["Decision", "Grant", "Policy", "PolicyError"]

_CLAIMS = {"repository": "repositoryUuid", "environment": "deploymentEnvironmentUuid", "branch": "branchName"}
"""What a grant can ask of the attested claims: its key, and the claim's name."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule: which steps, and what they may."""

    name: str
    repository: str
    environment: str | None
    branch: str | None
    scopes: tuple[str, ...]
    environment_name: str | None
    """The name that an event's environment must have. Bitbucket attests the environment's UUID only."""
    services: frozenset[str] | None
    """The subjects that an event may have."""

    def checks(self, claims: Mapping[str, str]) -> tuple[Check, ...]:
        """Compare the attested claims (under Bitbucket's own names) with what this grant expects of each."""
        rows = []
        for key, claim in _CLAIMS.items():
            expected, got = getattr(self, key), claims.get(claim)
            if expected is not None:
                ok = got is not None and (glob.matches(expected, got) if key == "branch" else got == expected)
                rows.append(Check(key, shown(expected), shown(got), ok, self.name))
        return tuple(rows)

    def matches(self, claims: Mapping[str, str]) -> bool:
        """Tell whether every check is well. There is always one: a grant without a repository does not exist."""
        return all(check.ok for check in self.checks(claims))


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says about a step."""

    grant: Grant | None
    """The grant that applies, or `None`: refused."""
    scopes: tuple[str, ...]
    """What is granted, in the grant's order: all of its scopes, or the requested ones."""
    checks: tuple[Check, ...]
    """Each claim a grant looked at, in the order of the file; those of the step's own repository first."""
    code: str | None
    """`None`, `no-grant-matches` or `scope-not-granted`."""
    reason: str | None
    """Why it was refused, in words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, as loaded. It does not change while the process lives."""

    workspace: str
    workspace_uuid: str
    grants: tuple[Grant, ...]
    digest: str
    """`sha-256:` and the hex of the file's bytes."""

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Policy:
        """Read a policy file. `PolicyError` names file, line and key of every mistake."""
        file = Path(path)
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise PolicyError(f"{file}: cannot be read: {error.strerror}") from None
        return cls._compile(read(raw, str(file)), raw)

    @classmethod
    def _compile(cls, parsed: PolicyFile, raw: bytes) -> Policy:
        return cls(
            workspace=parsed.bitbucket.workspace,
            workspace_uuid=parsed.bitbucket.workspace_uuid,
            grants=tuple(_grant(table) for table in parsed.grants),
            digest=f"sha-256:{sha256(raw).hexdigest()}",
        )

    def grant(self, name: str) -> Grant | None:
        """Give the grant of that name."""
        return next((grant for grant in self.grants if grant.name == name), None)

    def decide(self, claims: Mapping[str, str], requested: Iterable[str] = ()) -> Decision:
        """Decide about *attested* claims, under Bitbucket's own names (`repositoryUuid`, `branchName`, …).

        The first grant, in the order of the file, that matches and has every requested scope applies, alone: scopes
        of several grants are never added up, so that the one name in a token or a record explains all it allows.
        """
        wanted = tuple(dict.fromkeys(requested))
        matching = [grant for grant in self.grants if grant.matches(claims)]
        for grant in matching:
            if set(wanted) <= set(grant.scopes):
                scopes = tuple(scope for scope in grant.scopes if not wanted or scope in wanted)
                return Decision(grant, scopes, grant.checks(claims), None, None)
        if matching:
            asked, given = " ".join(wanted), dict.fromkeys(scope for grant in matching for scope in grant.scopes)
            checks = tuple(
                Check("scope", shown(" ".join(grant.scopes)), shown(asked), ok=False, grant=grant.name)
                for grant in matching
            )
            reason = f"no single matching grant gives `{shown(asked)}`; what they give: `{' '.join(given)}`"
            return Decision(None, (), checks, "scope-not-granted", reason)
        # Python's sort is stable: a step's own repository first, the order of the file within.
        ordered = sorted(self.grants, key=lambda grant: grant.repository != claims.get("repositoryUuid"))
        checks = tuple(check for grant in ordered for check in grant.checks(claims))
        reason = "no grant of the policy matches what Bitbucket attests about this step"
        return Decision(None, (), checks, "no-grant-matches", reason)


def _grant(table: GrantTable) -> Grant:
    return Grant(
        name=table.name,
        repository=table.repository,
        environment=table.environment,
        branch=table.branch,
        scopes=tuple(table.scopes),
        environment_name=table.environment_name,
        services=None if table.services is None else frozenset(table.services),
    )
