"""A scope that changes something, for every branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.file import table_of
from fastapi_handoff.policy.lint.base import Rule, asked, path_of, quoted, settings_of, writes
from fastapi_handoff.policy.patterns import tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def fits_every_name(pattern: str) -> bool:
    """Return whether the pattern names nothing: only wildcards, and slashes between them."""
    return not set(tokens_of(pattern)) - {"*", "**", "?", "/"}


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        branch = asked(grant, "branch")
        has_branches = any(claim.match == "branch" for claim in table_of(settings_of(policy, grant)))
        if not has_branches or not writes(grant) or (branch is not None and not fits_every_name(branch.expected)):
            continue
        how = "It asks for no branch" if branch is None else f"`{branch.expected}` asks for no name in the branch"
        depth = 0 if branch is None else branch.expected.count("/")
        witness = {c.claim: c.expected for c in grant.conditions} | {"branch": "any" + "/branch" * max(depth, 0)}
        yield (
            path_of(policy, position, "branch"),
            f"{how}, so {quoted(writes(grant))} goes to whoever can push a branch: "
            "they can edit the pipeline file on it.",
            witness if branch is None or branch.holds(witness) else None,
        )


RULE: Final = Rule(
    id="any-branch",
    severity="error",
    title="A scope that changes something, for every branch",
    help=(
        "Whoever can push a branch can edit `bitbucket-pipelines.yml` on it, and so run any step, in any deployment "
        "environment that Bitbucket does not restrict to branches. Ask for the `branch` that is protected: `main`, "
        "`release/*`. Scopes that are plainly for reading (`config:read`) are not looked at."
    ),
    check=_check,
)
