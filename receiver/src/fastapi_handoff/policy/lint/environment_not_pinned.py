"""A grant that leaves out the environment which its neighbour asks for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.policy.lint.base import Rule, asked, path_of, pins, quoted, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    pinned: dict[Any, tuple[int, str]] = {}
    for position, grant in enumerate(policy.grants):
        if asked(grant, "environment") is not None:
            for scope in writes(grant):
                pinned.setdefault((pins(grant), scope), (position, grant.name))
    for position, grant in enumerate(policy.grants):
        if asked(grant, "environment") is not None:
            continue
        siblings: dict[tuple[int, str], list[str]] = defaultdict(list)
        for scope in writes(grant):
            if (pins(grant), scope) in pinned:
                siblings[pinned[pins(grant), scope]].append(scope)
        for (other, name), scopes in siblings.items():
            line = policy.source.line(path_of(policy, other, "environment"))
            yield (
                ("grants", position),
                f"It gives {quoted(scopes)} without an environment, where grant `{name}` (line {line}) asks for one: "
                "a step that skips the environment has the scope all the same.",
                {condition.claim: condition.expected for condition in grant.conditions if not condition.is_pattern},
            )


RULE: Final = Rule(
    id="environment-not-pinned",
    severity="error",
    title="A grant that leaves out the environment which its neighbour asks for",
    help=(
        "A deployment environment brings Bitbucket's own permissions and approvals with it. Where one grant of a "
        "repository and scope asks for it, another that does not is the way around it. Pin `environment` in both."
    ),
    check=_check,
)
