"""Who gains and who loses what between two policies, each change with a witness.

Access is compared, not text: a grant that is renamed, split or moved changes nothing where the same callers have the
same scopes for the same events. A new grant is held against all old ones together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fastapi_handoff.policy.compare.access import Event, Granted, events_of, find_caller
from fastapi_handoff.policy.compare.walk import Budget
from fastapi_handoff.policy.file import table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi_handoff.issuers import Claim, IssuerSettings
    from fastapi_handoff.policy.model import Grant, Policy

Trust = tuple[tuple[str, str], ...]
"""What makes an issuer who it is: its settings, all but the name that the policy has for it."""


_Callers = tuple[Trust, frozenset[tuple[str, str]]]
"""An issuer, and the immutable ids that a grant asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One caller, and one event, that one policy lets in and the other does not."""

    issuer: str
    """The issuer's name in the policy that lets it in."""
    claims: Mapping[str, str] = field(hash=False)
    """What the issuer attests, by our names; what is not here is absent."""
    service: str | None
    """What the event is about, where only that makes the difference; else `None`."""
    environment_name: str | None
    default_audience: bool = False
    """Whether its token is meant for all services of its tenant, and not for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Scopes that a grant gives to the witness in one policy, and no grant gives in the other."""

    grant: str
    position: int
    """Of the grant in its policy, from zero."""
    scopes: tuple[str, ...]
    witness: Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiff:
    """What changes from a base to a head."""

    gains: tuple[Change, ...]
    losses: tuple[Change, ...]
    unchanged: tuple[str, ...]
    """The names of grants that stand in both policies and say the same."""
    new_issuers: tuple[str, ...]
    """The names of issuers that the head trusts and the base does not."""
    dropped_issuers: tuple[str, ...]


def compare(base: Policy | None, head: Policy) -> PolicyDiff:
    """Compare two policies; without a base, all that the head gives is gained.

    Exact. Raises `PolicyError` where the globs are too entangled for that in bounded time.
    """
    old = {} if base is None else _trusts(base)
    new = _trusts(head)
    before = {} if base is None else {grant.name: _content(grant, old[grant.issuer]) for grant in base.grants}
    return PolicyDiff(
        gains=_gains(base, head),
        losses=() if base is None else _gains(head, base),
        unchanged=tuple(
            grant.name for grant in head.grants if before.get(grant.name) == _content(grant, new[grant.issuer])
        ),
        new_issuers=tuple(name for name, trust in new.items() if trust not in old.values()),
        dropped_issuers=tuple(name for name, trust in old.items() if trust not in new.values()),
    )


def _gains(base: Policy | None, head: Policy) -> tuple[Change, ...]:
    budget = Budget()
    old = {} if base is None else _by_callers(base)
    tables = {settings.name: table_of(settings) for settings in head.issuers}
    found: list[Change] = []
    positions = {grant.name: position for position, grant in enumerate(head.grants)}
    for callers, grants in _by_callers(head).items():
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for default_audience in (False, True):
            # For the receiver's own audience every grant counts; for the tenant's default one, those that say so.
            own, others = (
                Granted([grant for grant in each if grant.takes(default_audience=default_audience)])
                for each in (grants, old.get(callers, []))
            )
            for grant in own.grants:
                for change in _changes(tables[grant.issuer], grant, positions[grant.name], own, others, budget):
                    if (change.grant, change.scopes) not in seen or not default_audience:
                        found.append(_with_audience(change, default_audience=default_audience))
                    seen.add((change.grant, change.scopes))
    return tuple(sorted(found, key=lambda change: change.position))


def _with_audience(change: Change, *, default_audience: bool) -> Change:
    return replace(change, witness=replace(change.witness, default_audience=default_audience))


def _changes(
    table: Sequence[Claim], grant: Grant, position: int, own: Granted, others: Granted, budget: Budget
) -> list[Change]:
    scopes: dict[tuple[Event, tuple[tuple[str, str], ...]], list[str]] = defaultdict(list)
    for scope in grant.scopes:
        for event in events_of(grant):
            inside = next(reach for reach in own.reaches(scope, event) if reach.grant is grant)
            caller = find_caller(table, inside, others.reaches(scope, event), budget)
            if caller is not None:
                scopes[event, tuple(caller.items())].append(scope)
    changes = []
    for (event, caller_items), gained in scopes.items():
        claims = dict(caller_items)
        # A caller that the other policy gives the scope too gains events only, and they are part of the witness.
        limited = any(others.has_scope(scope, claims) for scope in gained)
        witness = Witness(
            issuer=grant.issuer,
            claims=claims,
            service=event.service if limited else None,
            environment_name=event.environment if limited else None,
        )
        changes.append(Change(grant=grant.name, position=position, scopes=tuple(gained), witness=witness))
    return _without_repeats(changes)


def _without_repeats(changes: list[Change]) -> list[Change]:
    """Drop changes of the same caller and scopes: where the scope itself is gained, each of the services is too."""
    whole = [change for change in changes if change.witness.service is None]
    seen: dict[tuple[tuple[tuple[str, str], ...], tuple[str, ...]], Change] = {}
    for change in whole:
        seen.setdefault((tuple(change.witness.claims.items()), change.scopes), change)
    return [*seen.values(), *(change for change in changes if change.witness.service is not None)]


def _trusts(policy: Policy) -> dict[str, Trust]:
    return {settings.name: _trust(settings) for settings in policy.issuers}


def _trust(settings: IssuerSettings) -> Trust:
    return tuple(sorted((key, repr(value)) for key, value in settings.model_dump(exclude={"name", "mode"}).items()))


def _by_callers(policy: Policy) -> dict[_Callers, list[Grant]]:
    """Return the grants in the file's order, apart by what no two of them can share a caller over."""
    trusts = _trusts(policy)
    grants: dict[_Callers, list[Grant]] = defaultdict(list)
    enforced = {settings.name for settings in policy.issuers if settings.mode == "enforce"}
    for grant in policy.grants:
        if grant.issuer not in enforced:
            # Judged and recorded, or not trusted at all: nothing is given.
            continue
        ids = frozenset((each.claim, each.expected) for each in grant.conditions if each.pinned)
        grants[trusts[grant.issuer], ids].append(grant)
    return grants


def _content(grant: Grant, trust: Trust) -> tuple[object, ...]:
    return (
        trust,
        grant.default_audience,
        grant.conditions,
        frozenset(grant.scopes),
        grant.environment_name,
        grant.services,
    )
