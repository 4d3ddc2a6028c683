"""`/token`: the exchange of a subject token for an access token (RFC 8693) that is bound to the proof's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from fastapi_handoff.audit import append
from fastapi_handoff.auth import bind, mint, verify_proof
from fastapi_handoff.identity import attested_actor
from fastapi_handoff.issuers import subject_token
from fastapi_handoff.request import TOKEN_BODY_BYTES, Refusal, RequestHeaders
from fastapi_handoff.web import token_request
from fastapi_handoff.web.body import read_body
from fastapi_handoff.web.recorded_route import context_of
from fastapi_handoff.web.token_request import ACCESS_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request
    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth import Proof, SigningKeys
    from fastapi_handoff.issuers import Attested
    from fastapi_handoff.issuers.jwks import IssuerKeys
    from fastapi_handoff.policy import Decision, Grant, Policy
    from fastapi_handoff.request import Checks, RequestContext
    from fastapi_handoff.store import Store
    from fastapi_handoff.web.token_request import TokenRequest


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Issues access tokens to the callers that the policy grants something."""

    policy: Policy
    url: str
    """The receiver's."""
    issuer_keys: Mapping[str, IssuerKeys]
    """The keys of each issuer that the policy trusts, by the issuer's `iss`."""
    signing_keys: SigningKeys
    store: Store
    clock: Clock

    async def exchange(self, request: Request) -> JSONResponse:
        """Answer `POST /token`. Raises `Refusal` and `StoreUnavailable`; a refusal binds nothing."""
        context, headers = context_of(request), RequestHeaders(request.scope)
        body = await read_body(request, TOKEN_BODY_BYTES, "token-request-malformed")
        asked = token_request.parse(body, headers.media_type("token-request-malformed"), self.url)
        now = int(self.clock())
        attested = await self._verified(asked, now, context)
        context.actor, context.policy = attested_actor(attested), self.policy.digest
        context.asserted = attested.asserted
        if self.policy.knows(attested.issuer.name, attested.claims):
            context.checks.disclosed = True
        attested.issuer.admit(attested.claims, context.checks)
        proof = verify_proof(
            headers.one("dpop"), method="POST", url=f"{self.url}/token", now=now, checks=context.checks
        )
        _require_key(attested, proof, context.checks)
        decision = self.policy.decide(
            attested.issuer.name, attested.claims, asked.scopes, default_audience=attested.is_for_default_audience
        )
        grant = _granted(decision, context)
        _require_enforced(attested, decision, context.checks)
        members = await self._issue(attested, proof, grant, decision.scopes, now, context)
        return JSONResponse(members, headers={"Cache-Control": "no-store"})

    async def _verified(self, asked: TokenRequest, now: int, context: RequestContext) -> Attested:
        token = subject_token.parse(asked.unverified_subject_token)
        issuer = subject_token.issuer_of(token, [keys.issuer for keys in self.issuer_keys.values()])
        token_request.require_type(asked, issuer)
        return subject_token.verify(
            token,
            await self.issuer_keys[issuer.url].key(token.kid),
            issuer,
            audience=self.url,
            takes_default_audience=self.policy.takes_default_audience(issuer.name),
            now=now,
            checks=context.checks,
        )

    async def _issue(
        self, attested: Attested, proof: Proof, grant: Grant, scopes: tuple[str, ...], now: int, context: RequestContext
    ) -> dict[str, Any]:
        key = self.signing_keys.current(now)
        token, expires_in = mint(
            attested,
            url=self.url,
            jkt=proof.id.jkt,
            scopes=scopes,
            grant=grant.name,
            policy=self.policy.digest,
            key=key,
            now=now,
        )
        scope = " ".join(scopes)
        outcome = {"scope": scope, "expires_in": expires_in, "jkt": proof.id.jkt}

        def issue(connection: Connection) -> None:
            proof.id.claim(connection)
            bind(connection, attested, proof.id.jkt)
            self.signing_keys.publish(connection, key)
            append(connection, context.entry("accepted", outcome=outcome), clock=self.clock)

        await self.store.write(issue)
        self.signing_keys.published(key)
        return {
            "access_token": token,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "DPoP",
            "expires_in": expires_in,
            "scope": scope,
        }


def _granted(decision: Decision, context: RequestContext) -> Grant:
    context.checks.extend(decision.checks)
    if decision.grant is None:
        raise Refusal(decision.code or "no-grant-matches", decision.reason or "")
    context.grant = decision.grant.name
    return decision.grant


def _require_key(attested: Attested, proof: Proof, checks: Checks) -> None:
    """Compare the key that a subject token is bound to with the proof's. Raises `Refusal`: `key-mismatch`."""
    if attested.jkt is None:
        return
    if attested.jkt != proof.id.jkt:
        raise checks.refuse(
            "cnf.jkt",
            attested.jkt,
            proof.id.jkt,
            "key-mismatch",
            "the subject token is bound to another key than the proof's: ask its issuer for one with the same key",
        )
    checks.passed("cnf.jkt", attested.jkt)


def _require_enforced(attested: Attested, decision: Decision, checks: Checks) -> None:
    """Refuse what would be granted, where the issuer is on trial. Raises `Refusal`: `issuer-audit-only`."""
    if attested.issuer.mode != "enforce":
        raise checks.refuse(
            "mode",
            "enforce",
            attested.issuer.mode,
            "issuer-audit-only",
            f"`{' '.join(decision.scopes)}` would be granted, but callers of this issuer are only judged and recorded",
        )
