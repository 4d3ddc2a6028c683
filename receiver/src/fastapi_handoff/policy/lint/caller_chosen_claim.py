"""A limit that the caller itself decides about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.file import table_of
from fastapi_handoff.policy.lint.base import Rule, asked, quoted, settings_of, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        if not any(claim.match == "environment" for claim in table_of(settings_of(policy, grant))):
            # Nobody attests an environment of this issuer's callers, so there is nothing better to ask for.
            continue
        if grant.environment_name is not None and asked(grant, "environment") is None and writes(grant):
            yield (
                ("grants", position, "environment_name"),
                f"`{grant.environment_name}` is what the event says of itself, and nobody attests it: any caller that "
                f"the grant matches has {quoted(writes(grant))} by writing that name. Ask for the `environment` that "
                "the issuer attests.",
                {each.claim: each.expected for each in grant.conditions if not each.is_pattern},
            )


RULE: Final = Rule(
    id="caller-chosen-claim",
    severity="error",
    title="A limit that the caller itself decides about",
    help=(
        "`environment_name` is compared with the event, which the caller writes. Bitbucket attests the environment's "
        "UUID only, so pin `environment` beside it: then the name is the name of that environment. Where an issuer "
        "attests no environment, there is nothing to pin, and the rule is silent."
    ),
    check=_check,
)
