"""Authentication by an access token and a DPoP proof: the same for events and for the app's own routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi_handoff.auth import access_token, dpop
from fastapi_handoff.auth.base import Caller
from fastapi_handoff.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi_handoff.auth.access_token import AccessToken
    from fastapi_handoff.auth.signing_keys import SigningKeys
    from fastapi_handoff.issuers import Issuer
    from fastapi_handoff.policy import Grant, Policy
    from fastapi_handoff.request import Checks, RequestContext, RequestHeaders

_AUTHORIZATION: Final = re.compile(r"dpop +([A-Za-z0-9._~+/=-]+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DPoPAuthenticator:
    """Verifies the access token and the proof of a request to the receiver at `url`."""

    policy: Policy
    url: str
    keys: SigningKeys
    issuers: Sequence[Issuer]
    """Those whose callers get tokens now."""

    async def authenticate(
        self, headers: RequestHeaders, method: str, target: str, now: int, context: RequestContext
    ) -> Caller:
        """Verify, in the protocol's order: access token, proof, key, grant. See `Authenticator.authenticate`."""
        checks = context.checks
        text = _token_text(headers, checks)
        unverified = access_token.parse(text, checks)
        key = await self.keys.find(unverified.kid, now)
        if key is None:
            raise checks.refuse(
                "access token kid",
                "a key of this receiver",
                None,
                "token-invalid",
                "the access token's key is not known",
            )
        token = access_token.verify(unverified, key, url=self.url, now=now, checks=checks)
        proof = dpop.verify(headers.one("dpop"), method=method, url=target, now=now, checks=checks, access_token=text)
        access_token.require_key(token, proof.id.jkt, checks)
        identity = Identity(
            issuer=token.issuer,
            issuer_url=token.issuer_url,
            kind=token.kind,
            subject=token.subject,
            source=token.source,
            claims=token.claims,
            scopes=token.scopes,
            grant=token.grant,
            policy=token.policy,
        )
        context.authenticated(identity.actor(), identity.grant, identity.policy)
        return Caller(identity, self._grant(token, checks), proof.id, proof.content_digest)

    def _grant(self, token: AccessToken, checks: Checks) -> Grant:
        """Return the grant a token was made under. A token that the present policy would not make is void at once."""
        grant = self.policy.grant(token.grant)
        is_trusted = any(
            (issuer.name, issuer.url, issuer.kind) == (token.issuer, token.issuer_url, token.kind)
            and issuer.has_attested(token.claims, token.source)
            for issuer in self.issuers
        )
        if (
            grant is not None
            and is_trusted
            and (
                token.policy == self.policy.digest
                or (
                    grant.matches(token.issuer, token.claims)
                    and grant.takes(default_audience=token.is_for_default_audience)
                    and token.scopes <= set(grant.scopes)
                )
            )
        ):
            return grant
        raise checks.refuse(
            "policy",
            self.policy.digest,
            token.policy,
            "token-invalid",
            "the access token was made under another policy, and the present one does not give as much: "
            "exchange the subject token again",
        )


def _token_text(headers: RequestHeaders, checks: Checks) -> str:
    """Return the access token of `Handoff-Authorization`, or of `Authorization` where there is no such header.

    A gateway in front (AWS IAM, an OAuth proxy) may need `Authorization` for a credential of its own.
    """
    values = {name: headers.one(name) for name in ("handoff-authorization", "authorization")}
    name = "authorization" if values["handoff-authorization"] is None else "handoff-authorization"
    value = values[name]
    if value is None:
        raise checks.refuse(
            "authorization", "DPoP", None, "token-missing", "the request has no `Authorization: DPoP` header"
        )
    match = _AUTHORIZATION.fullmatch(value)
    if match is None:
        # A `Bearer` of the same token must not pass: it would do without the proof, so a stolen token would do.
        raise checks.refuse(
            name, "DPoP", "another scheme", "token-invalid", f"`{name.title()}` is not `DPoP` and a token"
        )
    if name == "handoff-authorization" and (values["authorization"] or "").lower().startswith("dpop"):
        # A gateway may have looked at the one that is not looked at here.
        raise checks.refuse(name, "one DPoP token", "two", "token-invalid", "the request has two DPoP access tokens")
    return match[1]
