"""A grant that the audit has not seen in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, known: Knowledge) -> Iterator[Found]:
    if known.used_grants is None:
        return
    for position, grant in enumerate(policy.grants):
        if grant.name not in known.used_grants:
            yield ("grants", position), f"The audit has no use of this grant in {known.used_since}.", None


RULE: Final = Rule(
    id="unused-grant",
    severity="warning",
    title="A grant that the audit has not seen in use",
    help="Access that nobody uses is missed by nobody when it is taken away, or taken over. Needs `--store`.",
    check=_check,
)
