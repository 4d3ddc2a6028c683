"""A glob that fits more branches than it seems to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.any_branch import fits_every_name
from fastapi_handoff.policy.lint.base import Rule, path_of, quoted, writes
from fastapi_handoff.policy.patterns import is_literal, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy

_PROTECTED: Final = ("main", "master", "develop", "production", "trunk")
_WORD: Final = re.compile(r"^([^/*?]*[A-Za-z])\*+(?=$|/)")


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        for condition in grant.conditions:
            if not condition.is_pattern or is_literal(condition.expected) or fits_every_name(condition.expected):
                continue
            found = _looseness(condition.expected) if writes(grant) else None
            if found is not None:
                example, why = found
                claims = {each.claim: each.expected for each in grant.conditions} | {condition.claim: example}
                yield (
                    path_of(policy, position, condition.key),
                    f"`{condition.expected}` fits `{example}` too, which then has {quoted(writes(grant))}: {why}.",
                    claims,
                )


def _looseness(pattern: str) -> tuple[str, str] | None:
    """Return a name that the pattern fits and hardly means, and what to write instead."""
    if pattern[0] in "*?":
        plain = "my-own/" if pattern.startswith(("**", "*/")) else "my-own-"
        example = re.sub(r"\*+", "x", plain + re.sub(r"^[*?]+/?", "", pattern)).replace("?", "x")
        if matches(pattern, example):
            return example, "a branch of anybody's can end like that, so begin with a name that is protected"
    if word := _WORD.match(pattern):
        # `release*` says more than `release/*`: there, a name ends where the glob begins.
        rest = pattern[word.end() :].replace("**", "x").replace("*", "x").replace("?", "x")
        example = f"{word[1]}-by-anyone{rest}"
        meant = f"{word[1]}/*{pattern[word.end() :]}"
        if matches(pattern, example):
            return example, f"if branches below a folder are meant, write `{meant}`"
    for name in _PROTECTED:
        if matches(pattern, name) and not pattern.startswith(name):
            return name, "write the branches' names out"
    return None


RULE: Final = Rule(
    id="loose-glob",
    severity="error",
    title="A glob that fits more branches than it seems to",
    help=(
        "`release*` fits `release-by-anyone`, and `*/hotfix` fits `my-own/hotfix`: names that no branch restriction "
        "protects. Let a glob begin with a whole name and a slash (`release/*`), and restrict that folder in Bitbucket."
    ),
    check=_check,
)
