"""A grant that limits nothing, because a wider one gives the same."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.compare.access import Reach, events_of, find_caller
from fastapi_handoff.policy.compare.walk import Budget
from fastapi_handoff.policy.file import table_of
from fastapi_handoff.policy.lint.base import Rule, pins, settings_of
from fastapi_handoff.policy.mistakes import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Grant, Policy

_STEPS: Final = 20_000
"""Of one pair. Globs that are more entangled than that are left to `policy diff`, which says so."""
_PAIRS: Final = 200_000
"""Of a policy: a receiver lints when it starts. Four hundred grants of one repository are fewer."""


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    siblings = defaultdict(list)
    for position, grant in enumerate(policy.grants):
        siblings[pins(grant)].append((position, grant))
    pairs = (
        (position, grant, other, wider)
        for group in siblings.values()
        for position, grant in group
        for other, wider in group
        if other != position
    )
    dead: set[int] = set()
    for position, grant, other, wider in islice(pairs, _PAIRS):
        if position not in dead:
            # Of two that give the same, the later one is the one too many.
            is_swallowed = _swallows(policy, wider, grant, earlier=other < position)
            if is_swallowed and not (other > position and _swallows(policy, grant, wider, earlier=True)):
                dead.add(position)
                line = policy.source.line(("grants", other))
                yield (
                    ("grants", position),
                    f"Every caller of this grant gets the same from `{wider.name}` (line {line}): what it asks for "
                    "limits nobody.",
                    None,
                )


def _swallows(policy: Policy, wider: Grant, grant: Grant, *, earlier: bool) -> bool:
    limits_events = grant.services is not None or grant.environment_name is not None
    if grant.default_audience and not wider.default_audience:
        return False
    if not set(grant.scopes) <= set(wider.scopes) or (limits_events and not earlier):
        # An earlier grant with limits keeps its callers from a later one without.
        return False
    if not all(event.is_let_through(wider) for event in events_of(grant)):
        return False
    try:
        caller = find_caller(table_of(settings_of(policy, grant)), Reach(grant, ()), [Reach(wider, ())], Budget(_STEPS))
    except PolicyError:
        return False
    return caller is None


RULE: Final = Rule(
    id="wider-sibling",
    severity="warning",
    title="A grant that limits nothing, because a wider one gives the same",
    help=(
        "Somebody reads the narrow grant, and takes its limits for real. Remove it, or narrow the wider one: "
        "`policy diff` shows what that takes away."
    ),
    check=_check,
)
