"""The exchange: a step token for an access token (RFC 8693), bound to the proof's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi_handoff.audit import append
from fastapi_handoff.auth import access_token
from fastapi_handoff.auth import dpop as proof
from fastapi_handoff.auth.replay import bind, claim
from fastapi_handoff.identity import attested_actor
from fastapi_handoff.issuers import bitbucket as step_token
from fastapi_handoff.request.refusal import Refusal
from fastapi_handoff.web.token_request import ACCESS_TOKEN

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth.dpop import Proof
    from fastapi_handoff.auth.signing_keys import SigningKeys
    from fastapi_handoff.issuers.bitbucket import StepIdentity
    from fastapi_handoff.issuers.jwks import Issuer
    from fastapi_handoff.policy.model import Decision, Grant, Policy
    from fastapi_handoff.request.context import Case
    from fastapi_handoff.request.headers import RequestHeaders
    from fastapi_handoff.store import Store
    from fastapi_handoff.web.token_request import TokenRequest


@dataclass(frozen=True, slots=True)
class Exchange:
    """Makes access tokens for the steps that the policy grants something."""

    policy: Policy
    url: str
    issuer: Issuer
    keys: SigningKeys
    store: Store
    clock: Clock

    async def answer(self, request: TokenRequest, headers: RequestHeaders, case: Case) -> dict[str, Any]:
        """Give the members of a successful answer. Raises `Refusal` and `StoreUnavailable`; a refusal binds nothing."""
        now = int(self.clock())
        step = await self._verified(request.unverified_subject_token, now, case)
        case.actor, case.policy = attested_actor(step.sub, step.attested), self.policy.digest
        verified = proof.verify(headers.one("dpop"), method="POST", url=f"{self.url}/token", now=now, trace=case.trace)
        decision = self.policy.decide(step.attested, request.scopes)
        grant = _granted(decision, case)
        return await self._issue(step, verified, grant, decision.scopes, now, case)

    async def _verified(self, text: str, now: int, case: Case) -> StepIdentity:
        token = step_token.parse(text)
        step_token.require_issuer(token, self.issuer.url)
        step_token.require_algorithm(token)
        return step_token.verify(
            token,
            await self.issuer.key(token.kid),
            issuer=self.issuer.url,
            workspace_uuid=self.policy.workspace_uuid,
            audience=self.url,
            now=now,
            trace=case.trace,
        )

    async def _issue(
        self, step: StepIdentity, verified: Proof, grant: Grant, scopes: tuple[str, ...], now: int, case: Case
    ) -> dict[str, Any]:
        key = self.keys.current(now)
        token, expires_in = access_token.mint(
            step,
            url=self.url,
            jkt=verified.jkt,
            scopes=scopes,
            grant=grant.name,
            policy=self.policy.digest,
            key=key,
            now=now,
        )
        scope = " ".join(scopes)
        outcome = {"scope": scope, "expires_in": expires_in, "jkt": verified.jkt}

        def issue(connection: Connection) -> None:
            claim(connection, verified)
            bind(connection, step, verified.jkt)
            self.keys.publish(connection, key)
            append(connection, case.entry("accepted", outcome=outcome), clock=self.clock)

        await self.store.write(issue)
        self.keys.published(key)
        return {
            "access_token": token,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "DPoP",
            "expires_in": expires_in,
            "scope": scope,
        }


def _granted(decision: Decision, case: Case) -> Grant:
    case.trace.extend(decision.checks)
    if decision.grant is None:
        raise Refusal(decision.code or "no-grant-matches", decision.reason or "")
    case.grant = decision.grant.name
    return decision.grant
