"""A grant that does not say which client it is for, or which of the people that use one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.issuers import OktaSettings
from fastapi_handoff.policy.lint.base import Rule, asked, oidc_settings, quoted, settings_of, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy

_SCOPES: Final = frozenset({"scope", "scp", "scopes", "permissions", "role", "roles", "groups"})
_TENANTS: Final = frozenset({"tid", "tenant_id", "org_id", "hd"})
_MANNERS: Final = frozenset({"idtyp", "gty", "typ", "token_use", "acr", "amr", "azpacr", "appidacr", "ver"})
_NOBODY: Final = _SCOPES | _TENANTS | _MANNERS
"""Claims that say what a token is for, within which tenant, and how it was got; not who has it."""


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        claims = {each.claim: each.expected for each in grant.conditions}
        oidc = oidc_settings(policy, grant)
        if oidc is not None and {*claims, *oidc.expected} <= _NOBODY:
            yield (
                ("grants", position),
                f"It asks for {' and '.join(f'`{each}`' for each in claims)} and for no client: "
                f"{quoted(grant.scopes)} goes to every client that the provider gives that to.",
                claims,
            )
        settings = settings_of(policy, grant)
        lets_people_in = isinstance(settings, OktaSettings) and settings.users
        if lets_people_in and asked(grant, "uid") is None and writes(grant):
            yield (
                ("grants", position),
                f"Issuer `{settings.name}` lets people in (`users = true`), and the grant asks for no `uid`: "
                f"{quoted(writes(grant))} goes to everybody who can sign in to this application.",
                {**claims, "uid": "00u-somebody"},
            )


RULE: Final = Rule(
    id="any-client",
    severity="error",
    title="A grant for any client, or for whoever uses one",
    help=(
        "A scope says what a token is for, and not who has it. Ask for the client's immutable id: `azp`, `client_id`, "
        "`oid`. Where Okta's `users = true` lets people in, ask for the person's `uid` too, or give services an "
        "authorization server of their own. People may have scopes that are plainly for reading."
    ),
    check=_check,
)
