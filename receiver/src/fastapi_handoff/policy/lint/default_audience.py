"""A grant that takes tokens which were meant for other services as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        if grant.default_audience:
            yield (
                ("grants", position, "default_audience"),
                f"Every service that the workspace sends its tokens to could use one here, for {quoted(grant.scopes)}.",
                None,
            )


RULE: Final = Rule(
    id="default-audience",
    severity="warning",
    title="A grant that takes tokens which were meant for other services as well",
    help="Give the step this receiver's URL as its `oidc: audiences`, and remove `default_audience` from the grant.",
    check=_check,
)
