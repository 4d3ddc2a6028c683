"""Who has access by a policy: one question, decided exactly by a search for a caller.

A caller has a scope where a grant applies to it that gives the scope, for the events that the grant lets through.
The first grant that matches and has all that is asked for applies; so a grant is out of reach for whoever matches an
earlier one that gives at least the same. Where the earlier one lets fewer events through, that is a difference.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from fastapi_handoff.policy.compare.walk import texts
from fastapi_handoff.policy.patterns import is_literal, literal_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fastapi_handoff.issuers import Claim
    from fastapi_handoff.policy.compare.walk import Budget
    from fastapi_handoff.policy.model import Condition, Grant

_ANY_SERVICE: Final = "any-other-service"
_ANY_ENVIRONMENT: Final = "any-other-environment"
_FRESH_VALUES: Final = (*(f"{{00000000-0000-4000-8000-{number:012d}}}" for number in range(1, 4)), "x", "y", "0", "1")


@dataclass(frozen=True, slots=True)
class Event:
    """What an event is about, as far as a grant can limit it. The caller asserts both."""

    service: str
    environment: str

    def is_let_through(self, grant: Grant) -> bool:
        """Return whether the grant lets such an event through."""
        return (grant.services is None or self.service in grant.services) and (
            grant.environment_name is None or grant.environment_name == self.environment
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """A grant, and the earlier ones that take it out of reach for some callers."""

    grant: Grant
    shadows: tuple[Grant, ...]

    def covers(self, claims: Mapping[str, str]) -> bool:
        """Return whether a caller of the grant's issuer gets by it what it gives."""
        return _fits(self.grant, claims) and not any(_fits(shadow, claims) for shadow in self.shadows)


def events_of(grant: Grant) -> list[Event]:
    """Return an event for each way in which the grant's limits can differ from another's."""
    services = sorted(grant.services) if grant.services else [_ANY_SERVICE]
    return [Event(service, grant.environment_name or _ANY_ENVIRONMENT) for service in services]


class Granted:
    """The grants of one issuer in the file's order, and what they give."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = tuple(grants)
        limited = [
            (at, grant) for at, grant in enumerate(grants) if grant.services is not None or grant.environment_name
        ]
        self._shadows = [
            [earlier for before, earlier in limited if before < at and set(grant.scopes) <= set(earlier.scopes)]
            for at, grant in enumerate(grants)
        ]
        """For each grant, the earlier ones that give at least the same scopes, for some events only."""
        self._reaches: dict[tuple[str, Event], list[Reach]] = {}

    def reaches(self, scope: str, event: Event) -> list[Reach]:
        """Return the grants that give a scope for an event."""
        found = self._reaches.get((scope, event))
        if found is None:
            found = self._reaches[scope, event] = [
                # An earlier grant that lets the event through as well takes nothing away.
                Reach(grant, tuple(earlier for earlier in shadows if not event.is_let_through(earlier)))
                for grant, shadows in zip(self.grants, self._shadows, strict=True)
                if scope in grant.scopes and event.is_let_through(grant)
            ]
        return found

    def has_scope(self, scope: str, claims: Mapping[str, str]) -> bool:
        """Return whether a caller gets the scope, for whatever events."""
        return any(scope in grant.scopes and _fits(grant, claims) for grant in self.grants)


def find_caller(
    table: Sequence[Claim], inside: Reach, outside: Sequence[Reach], budget: Budget
) -> dict[str, str] | None:
    """Return claims of a caller that `inside` covers and none of `outside` does, or `None`: there is no such caller.

    Claims are by our names; an absent claim is absent. The caller is the simplest one: the shortest branch that Git
    allows, no deployment environment where none is asked for.
    """
    asked = {condition.claim: condition for condition in inside.grant.conditions}
    budget.spend(len(outside))
    relevant = [reach for reach in outside if not _excludes(asked, reach.grant)]
    if any(not reach.shadows and _is_part(reach.grant, inside.grant) for reach in relevant):
        return None
    shadows = [*inside.shadows, *(shadow for reach in relevant for shadow in reach.shadows)]
    claims = [claim for claim in table if claim.match is not None]
    # Globs come last in the table's order and first here: only the first axis is walked no further than needed.
    axes = [
        _values(claim, asked.get(claim.name), [reach.grant for reach in relevant], shadows, budget)
        for claim in sorted(claims, key=lambda claim: not claim.is_pattern)
    ]
    names = [claim.name for claim in sorted(claims, key=lambda claim: not claim.is_pattern)]
    rest = [list(axis) for axis in axes[1:]]
    for first in axes[0]:
        for others in itertools.product(*rest):
            caller = {name: value for name, value in zip(names, (first, *others), strict=True) if value is not None}
            budget.spend(1 + len(relevant))
            if inside.covers(caller) and not any(reach.covers(caller) for reach in relevant):
                return {claim.name: caller[claim.name] for claim in claims if claim.name in caller}
    return None


def _values(
    claim: Claim, asked: Condition | None, outside: Iterable[Grant], shadows: Iterable[Grant], budget: Budget
) -> Iterator[str | None]:
    """Yield values of a claim, among them one for each way in which grants can differ over it; `None` is absent."""
    if claim.is_list:
        yield from _word_lists(claim, asked, shadows, budget)
        return
    if asked is not None and (not claim.is_pattern or is_literal(asked.expected)):
        yield asked.expected
        return
    if claim.is_pattern:
        globs = dict.fromkeys(
            condition.expected
            for grant in (*outside, *shadows)
            for condition in grant.conditions
            if condition.claim == claim.name
        )
        yield from texts(list(globs), budget, must_fit=None if asked is None else asked.expected)
        if asked is None and not claim.required:
            yield None
        return
    # A value that nobody names fits nothing that is asked of the claim: no other is further outside. Named ones matter
    # only to what takes a grant out of reach.
    named = [condition.expected for grant in shadows for condition in grant.conditions if condition.claim == claim.name]
    everywhere = [c.expected for grant in (*outside, *shadows) for c in grant.conditions if c.claim == claim.name]
    yield None if not claim.required else _fresh_value(claim, everywhere)
    yield from dict.fromkeys(named)


def _word_lists(
    claim: Claim, asked: Condition | None, shadows: Iterable[Grant], budget: Budget
) -> Iterator[str | None]:
    """Yield lists of words: what is asked and no more, then with what takes grants out of reach."""
    own = asked.expected.split(" ") if asked is not None else []
    more = dict.fromkeys(c.expected for grant in shadows for c in grant.conditions if c.claim == claim.name)
    for count in range(len(more) + 1):
        for chosen in itertools.combinations(more, count):
            budget.spend()
            words = dict.fromkeys([*own, *(word for each in chosen for word in each.split(" "))])
            yield " ".join(words) or (None if not claim.required else "x")


def _fresh_value(claim: Claim, taken: Iterable[str]) -> str:
    taken = set(taken)
    adapter = TypeAdapter(claim.value)
    numbered = (f"{{00000000-0000-4000-8000-{number:012d}}}" for number in range(4, len(taken) + 5))
    for value in (*_FRESH_VALUES, *numbered):
        try:
            if value not in taken and adapter.validate_python(value, strict=True) == value:
                return value
        except ValidationError:
            continue
    return "x" * (max(map(len, taken), default=0) + 1)


def _fits(grant: Grant, claims: Mapping[str, str]) -> bool:
    return all(condition.holds(claims) for condition in grant.conditions)


def _excludes(asked: Mapping[str, Condition], grant: Grant) -> bool:
    """Return whether it is plain that no caller can have what is asked and match the grant too."""
    return any(
        condition.claim in asked and _are_apart(asked[condition.claim], condition) for condition in grant.conditions
    )


def _are_apart(one: Condition, other: Condition) -> bool:
    if one.expected == other.expected or one.is_list:
        return False
    if not one.is_pattern or (is_literal(one.expected) and is_literal(other.expected)):
        return True
    beginnings = literal_start(one.expected), literal_start(other.expected)
    length = min(map(len, beginnings))
    return beginnings[0][:length] != beginnings[1][:length]


def _is_part(wider: Grant, narrower: Grant) -> bool:
    """Return whether all that the wider grant asks is asked by the narrower one in the same words."""
    return set(wider.conditions) <= set(narrower.conditions)
