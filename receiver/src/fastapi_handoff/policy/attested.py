"""Claims as people have them at hand, made into what the policy decides about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi_handoff.issuers import KINDS
from fastapi_handoff.policy.file import table_of
from fastapi_handoff.policy.mistakes import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.issuers import IssuerSettings
    from fastapi_handoff.policy.model import Policy


def issuer_named(policy: Policy, name: str | None) -> IssuerSettings:
    """Return the issuer of that name, or the first one. Raises `PolicyError`."""
    for settings in policy.issuers:
        if name in (None, settings.name):
            return settings
    known = ", ".join(f"`{settings.name}`" for settings in policy.issuers)
    raise PolicyError(f"`{name}` is no issuer of this policy: expected one of {known}")


def issuer_at(policy: Policy, url: str, bitbucket_url: str) -> IssuerSettings | None:
    """Return the issuer whose `iss` is `url`, as audit records name it."""
    for settings in policy.issuers:
        if KINDS[settings.kind].from_settings(settings, bitbucket_url).url == url:
            return settings
    return None


def claims_from(settings: IssuerSettings, given: Mapping[str, Any]) -> dict[str, str]:
    """Return claims by our names. They may be given by the issuer's names, by ours, or by the keys of a grant.

    Raises `PolicyError` for a claim that the kind does not have, for one that is given twice, and for what is not text;
    the message names the claim, and never its value.
    """
    names: dict[str, str] = {}
    for claim in table_of(settings):
        names |= {claim.claim: claim.name, claim.name: claim.name}
        if claim.match is not None:
            names[claim.match] = claim.name
    found: dict[str, str] = {}
    for key, value in given.items():
        if key not in names:
            known = ", ".join(f"`{claim.match or claim.name}`" for claim in table_of(settings))
            raise PolicyError(f"claim `{key[:100]}` is none of a `{settings.kind}` issuer: expected {known}")
        if not isinstance(value, str):
            raise PolicyError(f"claim `{key}` is not text")
        if names[key] in found:
            raise PolicyError(f"claim `{names[key]}` is given twice")
        if value:
            # An issuer's empty claim is an absent one.
            found[names[key]] = value
    return found


def known_claims(settings: IssuerSettings, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims of a record or of a whole token that the kind has; what else is there is left out."""
    return {
        claim.name: value
        for claim in table_of(settings)
        for value in [given.get(claim.name) or given.get(claim.claim) or given.get(claim.match or claim.name)]
        if isinstance(value, str) and value
    }
