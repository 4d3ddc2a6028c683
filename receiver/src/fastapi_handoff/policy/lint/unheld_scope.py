"""A scope that the app asks for and nobody holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, known: Knowledge) -> Iterator[Found]:
    held = {scope for grant in policy.grants for scope in grant.scopes}
    for scope, users in (known.needed_scopes or {}).items():
        if scope not in held:
            yield (), f"{quoted(users)} asks for `{scope}`, which no grant gives: every caller is refused there.", None


RULE: Final = Rule(
    id="unheld-scope",
    severity="warning",
    title="A scope that the app asks for and nobody holds",
    help="The route is dead, or the scope is spelled in two ways. Needs `--app module:app`.",
    check=_check,
)
