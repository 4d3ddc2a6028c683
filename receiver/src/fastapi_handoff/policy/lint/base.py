"""What every rule has, and what it may know beside the policy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from fastapi_handoff.issuers import OidcSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fastapi_handoff.issuers import IssuerSettings
    from fastapi_handoff.policy.model import Condition, Grant, Policy
    from fastapi_handoff.policy.source import Path

Severity = Literal["error", "warning", "note"]
PERSONAS: Final = ("regular", "pedantic", "auditor")
Found = tuple["Path", str, "Mapping[str, str] | None"]
"""Where it stands, what is wrong in one sentence or two, and the claims of a caller who shows it."""

_IMMUTABLE_SUBJECT: Final = re.compile(r"repo:[^/:@]+@[0-9]+/[^/:@]+@[0-9]+(:|$)")
_READ_WORDS: Final = frozenset({"read", "view", "list", "get"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What can be known beside the policy's file; `None` where nobody said."""

    needed_scopes: Mapping[str, tuple[str, ...]] | None = None
    """Each scope that the app asks for, and the routes and handlers that do."""
    used_grants: frozenset[str] | None = None
    """The names of the grants that the audit saw in use."""
    used_since: str = ""
    """From when on, as people write it: `the last 90 days`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of leak."""

    id: str
    severity: Severity
    """An `error` keeps the receiver from starting."""
    title: str
    help: str
    """Why it is a leak, and what to do instead."""
    check: Callable[[Policy, Knowledge], Iterator[Found]] = field(repr=False)
    persona: str = "regular"
    """The first of the personas that sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One leak that a rule found."""

    rule: Rule
    path: Path
    line: int
    message: str
    witness: Mapping[str, str] | None = None
    """Claims of a caller who shows it, by our names."""
    reason: str | None = None
    """Why it is allowed, where a comment suppresses it."""

    @property
    def is_suppressed(self) -> bool:
        """Whether a comment in the policy allows it."""
        return self.reason is not None


def writes(grant: Grant) -> list[str]:
    """Return the scopes that are not plainly for reading: `config:read`, `read:config`, `config.view`."""
    return [scope for scope in grant.scopes if not _READ_WORDS & {*_ends(scope.lower())}]


def _ends(scope: str) -> tuple[str, str]:
    words = re.split(r"[:./_-]", scope)
    return words[0], words[-1]


def asked(grant: Grant, key: str) -> Condition | None:
    """Return what a grant asks under one of its keys."""
    return next((condition for condition in grant.conditions if condition.key == key), None)


def path_of(policy: Policy, position: int, key: str) -> Path:
    """Return where a key of a grant stands: in the grant itself, or in its `match`."""
    in_match: Path = ("grants", position, "match", key)
    return in_match if in_match in policy.source.lines else ("grants", position, key)


def settings_of(policy: Policy, grant: Grant) -> IssuerSettings:
    """Return the settings of a grant's issuer."""
    return next(settings for settings in policy.issuers if settings.name == grant.issuer)


def oidc_settings(policy: Policy, grant: Grant) -> OidcSettings | None:
    """Return the settings of a grant's issuer where the policy itself says which claims are ids; else `None`."""
    settings = settings_of(policy, grant)
    return settings if isinstance(settings, OidcSettings) else None


def pins(grant: Grant) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return whom a grant is about: its issuer and the immutable ids that it asks for."""
    return grant.issuer, frozenset((each.claim, each.expected) for each in grant.conditions if each.pinned)


def has_immutable_subject(claims: Mapping[str, str]) -> bool:
    """Return whether `sub` names GitHub's owner and repository by id: `repo:acme@12/api@34:ref:refs/heads/main`.

    No name there can have an `@`, so the form cannot be imitated.
    """
    return _IMMUTABLE_SUBJECT.match(claims.get("sub", "")) is not None


def quoted(scopes: list[str] | tuple[str, ...]) -> str:
    """Return scopes as a sentence has them."""
    return ", ".join(f"`{scope}`" for scope in scopes)
