"""A grant that no test of the policy touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        is_touched = any(
            case.issuer == grant.issuer
            and grant.is_about(case.claims)
            and set(grant.scopes) & {*case.allow, *case.deny}
            for case in policy.cases
        )
        if not is_touched:
            yield ("grants", position), "No test has a caller of this grant's own, with a scope that it gives.", None


RULE: Final = Rule(
    id="untested-grant",
    severity="note",
    title="A grant that no test of the policy touches",
    help="`[[tests]]` say what must stay true: one `allow` for whom it is meant, one `deny` for who is next to them.",
    check=_check,
    persona="pedantic",
)
