"""The gate: who may pass with an access token and a proof. The same for events and for the app's own routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastapi_handoff.auth import access_token
from fastapi_handoff.auth import dpop as proof
from fastapi_handoff.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi_handoff.auth.access_token import AccessToken
    from fastapi_handoff.auth.dpop import Proof
    from fastapi_handoff.auth.signing_keys import SigningKeys
    from fastapi_handoff.policy.model import Grant, Policy
    from fastapi_handoff.request.checks import Trace
    from fastapi_handoff.request.context import Case
    from fastapi_handoff.request.headers import RequestHeaders

_AUTHORIZATION: Final = re.compile(r"dpop +([A-Za-z0-9._~+/=-]+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who passed. The proof's `jti` is not claimed yet."""

    identity: Identity
    grant: Grant
    proof: Proof


@dataclass(frozen=True, slots=True)
class Gate:
    """Verifies access token and proof of a request to `url`'s receiver."""

    policy: Policy
    url: str
    keys: SigningKeys

    async def admit(self, headers: RequestHeaders, method: str, target: str, now: int, case: Case) -> Caller:
        """Verify, in the protocol's order: access token, proof, key. Raises `Refusal` and `StoreUnavailable`.

        `target` is the URL that the proof must be made for, in normal form. Notes the caller in `case`.
        """
        trace = case.trace
        text = self._token_text(headers, trace)
        unverified = access_token.parse(text, trace)
        key = await self.keys.find(unverified.kid, now)
        if key is None:
            raise trace.refuse(
                "access token kid",
                "a key of this receiver",
                None,
                "token-invalid",
                "the access token's key is not known",
            )
        token = access_token.verify(unverified, key, url=self.url, now=now, trace=trace)
        verified = proof.verify(headers.one("dpop"), method=method, url=target, now=now, trace=trace, access_token=text)
        access_token.require_key(token, verified.jkt, trace)
        trace.disclosed = True
        identity = Identity.of(
            token.sub,
            token.attested,
            workspace=self.policy.workspace,
            scopes=token.scopes,
            grant=token.grant,
            policy=token.policy,
        )
        case.identify(identity)
        return Caller(identity, self._grant(token, trace), verified)

    @staticmethod
    def _token_text(headers: RequestHeaders, trace: Trace) -> str:
        value = headers.one("authorization")
        if value is None:
            raise trace.refuse(
                "authorization", "DPoP", None, "token-missing", "the request has no `Authorization: DPoP` header"
            )
        match = _AUTHORIZATION.fullmatch(value)
        if match is None:
            # A `Bearer` of the same token must not pass: it would do without the proof.
            raise trace.refuse(
                "authorization", "DPoP", "another scheme", "token-invalid", "`Authorization` is not `DPoP` and a token"
            )
        return match[1]

    def _grant(self, token: AccessToken, trace: Trace) -> Grant:
        """Find the grant a token was made under; one that the present policy would not make is void at once."""
        grant = self.policy.grant(token.grant)
        if grant is not None and (
            token.policy == self.policy.digest or (grant.matches(token.attested) and token.scopes <= set(grant.scopes))
        ):
            return grant
        raise trace.refuse(
            "policy",
            self.policy.digest,
            token.policy,
            "token-invalid",
            "the access token was made under another policy, and the present one does not give as much",
        )


def require_scopes(identity: Identity, scopes: Iterable[str], trace: Trace) -> None:
    """Compare what is needed with what the token gives. Raises `Refusal`: `scope-missing`."""
    needed = set(scopes)
    given = " ".join(sorted(identity.scopes))
    if not needed <= identity.scopes:
        raise trace.refuse(
            "scope", " ".join(sorted(needed)), given, "scope-missing", "the access token lacks a scope that is needed"
        )
    trace.passed("scope", given, expected=" ".join(sorted(needed)))
