"""The policy, compiled once into an immutable value, and the one function that decides by it.

The token endpoint and the command line call the same `Policy.decide`, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi_handoff.policy import cases, patterns
from fastapi_handoff.policy.cases import Case
from fastapi_handoff.policy.file import FILE_BYTES, asked_for, read, table_of
from fastapi_handoff.policy.mistakes import PolicyError
from fastapi_handoff.policy.source import Source, scan
from fastapi_handoff.request import Check, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from fastapi_handoff.issuers import IssuerSettings
    from fastapi_handoff.policy.file import PolicyFile


@dataclass(frozen=True, slots=True)
class Condition:
    """What a grant asks of one attested claim."""

    key: str
    """The grant's key: `branch`."""
    claim: str
    """The claim, by our name: `branch`."""
    expected: str
    is_pattern: bool
    pinned: bool
    """Whether every grant of this kind of issuer has it: an immutable id."""
    is_list: bool = False
    """Whether the claim is a list of words; all words of `expected` must be among them."""

    def holds(self, claims: Mapping[str, str]) -> bool:
        """Return whether the attested claims fit. An absent claim fits nothing."""
        got = claims.get(self.claim)
        if got is None:
            return False
        if self.is_list:
            return set(self.expected.split(" ")) <= set(got.split(" "))
        return patterns.matches(self.expected, got) if self.is_pattern else got == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One rule: which callers, and what they may."""

    name: str
    issuer: str
    """The name of the issuer whose tokens it is for."""
    conditions: tuple[Condition, ...]
    scopes: tuple[str, ...]
    environment_name: str | None
    """The name that an event's environment must have. Bitbucket attests the environment's UUID only."""
    services: frozenset[str] | None
    """The subjects that an event may have."""
    default_audience: bool = False
    """Whether it takes a token that is meant for all services of its tenant."""

    def checks(self, claims: Mapping[str, str]) -> tuple[Check, ...]:
        """Compare attested claims, by our names, with what this grant expects of each."""
        return tuple(
            Check(each.key, shown(each.expected), shown(claims.get(each.claim)), each.holds(claims), self.name)
            for each in self.conditions
        )

    def matches(self, issuer: str, claims: Mapping[str, str]) -> bool:
        """Return whether the grant is for this issuer and every condition holds. It has one at least: the pinned id."""
        return issuer == self.issuer and all(condition.holds(claims) for condition in self.conditions)

    def takes(self, *, default_audience: bool) -> bool:
        """Return whether the grant is for a token of that audience: the tenant's default one, or this receiver's."""
        return self.default_audience or not default_audience

    def is_about(self, claims: Mapping[str, str]) -> bool:
        """Return whether the grant is about this caller's own repository (or role, or client)."""
        return all(condition.holds(claims) for condition in self.conditions if condition.pinned)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says about a caller."""

    grant: Grant | None
    """The grant that applies, or `None`: refused."""
    scopes: tuple[str, ...]
    """What is granted, in the grant's order: all of its scopes, or the requested ones."""
    checks: tuple[Check, ...]
    """Each claim a grant looked at, in the order of the file; grants about the caller's own repository come first."""
    code: str | None
    """`None`, `no-grant-matches`, `audience-mismatch` or `scope-not-granted`.

    Of `gives`, `issuer-audit-only` and `issuer-unknown` as well.
    """
    reason: str | None
    """Why it was refused, in words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, as loaded. It does not change while the process lives."""

    issuers: tuple[IssuerSettings, ...]
    """Whom the policy trusts; grants without an issuer mean the first."""
    grants: tuple[Grant, ...]
    digest: str
    """`sha-256:` and the hex of the file's bytes."""
    cases: tuple[Case, ...] = ()
    """The file's `[[tests]]`."""
    source: Source = field(default_factory=lambda: Source("", ""), repr=False, compare=False)
    """The file's text, and where in it things stand."""

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Policy:
        """Read a policy file and run its tests.

        Raises `PolicyError`, which names file, line and key of every mistake, or each test that fails.
        """
        policy = cls.parse(read_file(path), str(path))
        if failed := [result for result in cases.run(policy) if not result.passed]:
            mistakes = [(result, said) for result in failed for said in result.failures]
            lines = [
                f"{path}:{policy.source.line(('tests', result.position))}: test `{result.case.name}` fails: {said}"
                for result, said in mistakes
            ]
            raise PolicyError("\n".join(lines))
        return policy

    @classmethod
    def parse(cls, raw: bytes, name: str) -> Policy:
        """Read a policy's bytes; messages call the file `name`. Its tests are not run. Raises `PolicyError`."""
        parsed = read(raw, name)
        try:
            source = scan(name, raw.decode())
        except RecursionError:
            raise PolicyError(f"{name}: is nested too deep") from None
        digest = f"sha-256:{sha256(raw).hexdigest()}"
        return cls(tuple(parsed.all_issuers()), _grants(parsed), digest, _cases(parsed), source)

    def grant(self, name: str) -> Grant | None:
        """Return the grant of that name."""
        return next((grant for grant in self.grants if grant.name == name), None)

    def knows(self, issuer: str, claims: Mapping[str, str]) -> bool:
        """Return whether any grant of the issuer is about this caller's own repository (or role, or client)."""
        return any(grant.is_about(claims) for grant in self.grants if grant.issuer == issuer)

    def takes_default_audience(self, issuer: str) -> bool:
        """Return whether any grant of the issuer takes tokens that are meant for all services of a tenant."""
        return any(grant.default_audience for grant in self.grants if grant.issuer == issuer)

    def decide(
        self,
        issuer: str,
        claims: Mapping[str, str],
        requested: Iterable[str] = (),
        *,
        default_audience: bool = False,
    ) -> Decision:
        """Decide about what the issuer of that name *attested*, by our names of its claims.

        `default_audience` tells whether the token is meant for all services of its tenant, and not for this one.

        The first grant, in the order of the file, that matches and has every requested scope applies, alone: scopes
        of several grants are never added up, so that the one name in a token or a record explains all it allows.
        """
        wanted = tuple(dict.fromkeys(requested))
        matching = [grant for grant in self.grants if grant.matches(issuer, claims)]
        if default_audience and matching and not any(grant.default_audience for grant in matching):
            checks = tuple(Check("default_audience", "true", "false", ok=False, grant=grant.name) for grant in matching)
            reason = "the token is meant for all services of its tenant, and no matching grant has `default_audience`"
            return Decision(None, (), checks, "audience-mismatch", reason)
        matching = [grant for grant in matching if grant.takes(default_audience=default_audience)]
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
        own = [grant for grant in self.grants if grant.issuer == issuer]
        # Python's sort is stable: what is about this caller's own id first, the order of the file within.
        ordered = sorted(own, key=lambda grant: not grant.is_about(claims))
        checks = tuple(check for grant in ordered for check in grant.checks(claims))
        reason = "no grant of the policy matches what the issuer attests about this caller"
        return Decision(None, (), checks, "no-grant-matches", reason)

    def gives(self, issuer: str, claims: Mapping[str, str], requested: Iterable[str] = ()) -> Decision:
        """Return what a caller with a token for this receiver would be answered: the decision, and the issuer's mode.

        The token endpoint decides first and asks the mode after, so that it can record what would have been granted.
        """
        mode = next(settings.mode for settings in self.issuers if settings.name == issuer)
        if mode == "off":
            return Decision(None, (), (), "issuer-unknown", f"the issuer `{issuer}` is off: it is not trusted")
        decision = self.decide(issuer, claims, requested)
        if mode == "enforce" or decision.grant is None:
            return decision
        reason = (
            f"grant `{decision.grant.name}` would give `{' '.join(decision.scopes)}`, but the issuer `{issuer}` is on "
            "trial: its callers are only judged and recorded"
        )
        return Decision(None, (), decision.checks, "issuer-audit-only", reason)


def read_file(path: str | PathLike[str]) -> bytes:
    """Return a policy file's bytes; of one that is too large, no more than tells so. Raises `PolicyError`."""
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from None


def _cases(parsed: PolicyFile) -> tuple[Case, ...]:
    issuers = {settings.name: settings for settings in parsed.all_issuers()}
    first = next(iter(issuers))
    made = []
    for table in parsed.tests:
        issuer = table.issuer or first
        names = {claim.match: claim.name for claim in table_of(issuers[issuer])}
        claims = {names[key]: value for key, value in table.claims.items()}
        made.append(
            Case(name=table.name, issuer=issuer, claims=claims, allow=tuple(table.allow), deny=tuple(table.deny))
        )
    return tuple(made)


def _grants(parsed: PolicyFile) -> tuple[Grant, ...]:
    issuers = {settings.name: settings for settings in parsed.all_issuers()}
    first = next(iter(issuers))
    grants = []
    for table in parsed.grants:
        issuer = table.issuer or first
        asked = asked_for(table)
        conditions = tuple(
            Condition(claim.match, claim.name, asked[claim.match], claim.is_pattern, claim.pinned, claim.is_list)
            # Repository, environment, branch: the order in which a refusal shows them.
            for claim in sorted(table_of(issuers[issuer]), key=lambda claim: (not claim.pinned, claim.is_pattern))
            if claim.match in asked
        )
        grants.append(
            Grant(
                name=table.name,
                issuer=issuer,
                conditions=conditions,
                scopes=tuple(table.scopes),
                environment_name=table.environment_name,
                services=None if table.services is None else frozenset(table.services),
                default_audience=table.default_audience,
            )
        )
    return tuple(grants)
