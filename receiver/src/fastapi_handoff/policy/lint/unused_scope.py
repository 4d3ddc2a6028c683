"""A scope that no handler and no route asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, known: Knowledge) -> Iterator[Found]:
    if known.needed_scopes is None:
        return
    for position, grant in enumerate(policy.grants):
        for scope in grant.scopes:
            if scope not in known.needed_scopes:
                yield ("grants", position, "scopes"), f"No handler and no route of the app asks for `{scope}`.", None


RULE: Final = Rule(
    id="unused-scope",
    severity="warning",
    title="A scope that no handler and no route asks for",
    help="It gives nothing today, and whatever somebody will hang on that name tomorrow. Needs `--app module:app`.",
    check=_check,
)
