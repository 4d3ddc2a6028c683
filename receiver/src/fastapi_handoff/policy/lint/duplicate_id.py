"""One id under two names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule, asked, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    yield from _issuers(policy)
    yield from _environments(policy)
    yield from _uses(policy)


def _issuers(policy: Policy) -> Iterator[Found]:
    seen: dict[tuple[str, str], str] = {}
    short = any(path == ("bitbucket",) for path in policy.source.lines)
    for position, settings in enumerate(policy.issuers):
        table = ("bitbucket",) if short and position == 0 else ("issuers", position - short)
        for key in ("workspace", "workspace_uuid"):
            value = getattr(settings, key, None)
            if value is not None and seen.setdefault((key, value), settings.name) != settings.name:
                yield (
                    (*table, key),
                    f"`{value}` is the `{key}` of issuer `{seen[key, value]}` and of `{settings.name}`: only one of "
                    "them can ever be the one that a token is from.",
                    None,
                )


def _environments(policy: Policy) -> Iterator[Found]:
    names: dict[str, tuple[str, int]] = {}
    for position, grant in enumerate(policy.grants):
        environment = asked(grant, "environment")
        is_id = environment is not None and environment.expected.startswith("{")
        if environment is None or grant.environment_name is None or not is_id:
            # Other providers attest an environment's name, which is another one in each repository.
            continue
        line = policy.source.line(("grants", position, "environment_name"))
        name, at = names.setdefault(environment.expected, (grant.environment_name, line))
        if name != grant.environment_name:
            yield (
                ("grants", position, "environment_name"),
                f"The environment `{environment.expected}` is `{name}` on line {at} and `{grant.environment_name}` "
                "here: it has one name, so one of the two ids was copied from another.",
                None,
            )


def _uses(policy: Policy) -> Iterator[Found]:
    keys: dict[str, tuple[str, int]] = {}
    for position, grant in enumerate(policy.grants):
        for condition in grant.conditions:
            path = path_of(policy, position, condition.key)
            if not condition.is_pattern and condition.expected.startswith("{"):
                key, line = keys.setdefault(condition.expected, (condition.key, policy.source.line(path)))
                if key != condition.key:
                    yield (
                        path,
                        f"`{condition.expected}` is a {key} on line {line} and a {condition.key} here.",
                        None,
                    )


RULE: Final = Rule(
    id="duplicate-id",
    severity="error",
    title="One id under two names",
    help="A UUID names one thing. Where it stands under two names, one was copied without being changed: compare both.",
    check=_check,
)
