"""An id that belongs to another workspace, or that is no repository's at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.policy.lint.base import Rule, asked, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    workspaces = {getattr(settings, "workspace_uuid", None): settings.name for settings in policy.issuers}
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for position, grant in enumerate(policy.grants):
        for condition in grant.conditions:
            if condition.is_pattern:
                continue
            path = path_of(policy, position, condition.key)
            if condition.expected in workspaces:
                yield (
                    path,
                    f"`{condition.expected}` is the UUID of the workspace of issuer "
                    f"`{workspaces[condition.expected]}`, and no {condition.key}'s.",
                    None,
                )
        repository = asked(grant, "repository")
        if repository is None:
            continue
        issuer, line = first.setdefault(
            ("repository", repository.expected), (grant.issuer, policy.source.line(("grants", position)))
        )
        if issuer != grant.issuer:
            yield (
                path_of(policy, position, "repository"),
                f"The repository `{repository.expected}` is granted to issuer `{issuer}` (line {line}) and here to "
                f"`{grant.issuer}`: it belongs to one workspace, so one of the two is another's.",
                _claims(grant),
            )


def _claims(grant: Any) -> dict[str, str]:
    return {each.claim: each.expected for each in grant.conditions if not each.is_pattern}


RULE: Final = Rule(
    id="foreign-workspace",
    severity="error",
    title="An id that belongs to another workspace",
    help=(
        "A repository belongs to one workspace, and a workspace's UUID is no repository's. A grant with the wrong one "
        "lets nobody in today, and a stranger on the day that somebody repairs it by guessing. Copy the UUID from "
        "Bitbucket: `DRY_RUN: 'true'` prints them."
    ),
    check=_check,
)
