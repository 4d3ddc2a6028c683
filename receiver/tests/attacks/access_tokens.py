"""Hostile access tokens, with events, polls and the app's own routes."""

from __future__ import annotations

from typing import Any

import httpx

from attacks.attack import Attack, Stage
from helpers.pipe import event, event_id
from helpers.provider import OTHER_UUID, encode_part
from helpers.receiver_app import ORIGIN, URL


def authorization(value: str | None):
    return lambda stage: stage.deliver(authorization=value.format(token=stage.token) if value else None)


def forged(**changes: Any):
    """An access token with claims changed, signed with a key of the attacker's."""
    return lambda stage: stage.deliver_with_token(stage.forged_token(lambda _, claims: claims.update(changes)))


def forged_header(**members: Any):
    return lambda stage: stage.deliver_with_token(stage.forged_token(lambda header, _: header.update(members)))


async def unsigned(stage: Stage) -> httpx.Response:
    _, payload, _ = stage.token.split(".")
    return await stage.deliver_with_token(f"{encode_part({'typ': 'at+jwt', 'alg': 'none', 'kid': 'x'})}.{payload}.")


async def tampered(stage: Stage) -> httpx.Response:
    header, payload, signature = stage.token.split(".")
    return await stage.deliver_with_token(f"{header}.{payload[:-4]}AAAA.{signature}")


async def expired(stage: Stage) -> httpx.Response:
    stage.receiver.clock.now += 361
    return await stage.deliver()


async def step_token_instead(stage: Stage) -> httpx.Response:
    return await stage.deliver_with_token(stage.receiver.step_token())


async def two_authorizations(stage: Stage) -> httpx.Response:
    return await stage.deliver_with_headers(("authorization", f"DPoP {stage.token}"))


async def scope_of_a_preview(stage: Stage) -> httpx.Response:
    stage.token = await stage.receiver.access_token(branchName="feature/x", deploymentEnvironmentUuid=None)
    content = event(event_id(), branch="feature/x", environment_uuid=None)
    return await stage.deliver(content)


async def narrowed(stage: Stage) -> httpx.Response:
    """A token for one scope does not get back what it gave up."""
    token = await stage.pipe.access_token(stage.client, stage.receiver.step_token(), scope="deployments:write")
    return await stage.call(token)


async def poll_of_another_step(stage: Stage) -> httpx.Response:
    assert (await stage.deliver()).status_code == 200
    token = await stage.receiver.access_token(sub="another", stepUuid=OTHER_UUID)
    return await stage.pipe.poll(stage.client, token, stage.content["id"])


async def poll(stage: Stage) -> httpx.Response:
    return await stage.pipe.poll(stage.client, stage.token, "evt_unknown")


async def poll_odd_id(stage: Stage) -> httpx.Response:
    url = f"{URL}/events/%00%ff"
    headers = {"authorization": f"DPoP {stage.token}", "dpop": stage.pipe.proof("GET", url, stage.token)}
    return await stage.client.get(url, headers=headers)


async def poll_with_the_proof_of_an_event(stage: Stage) -> httpx.Response:
    url = f"{URL}/events/evt_1"
    headers = {"authorization": f"DPoP {stage.token}", "dpop": stage.pipe.proof("POST", f"{URL}/events", stage.token)}
    return await stage.client.get(url, headers=headers)


async def call_without_anything(stage: Stage) -> httpx.Response:
    return await stage.client.post("/config/sync")


async def call_with_bearer(stage: Stage) -> httpx.Response:
    return await stage.client.post("/config/sync", headers={"Authorization": f"Bearer {stage.token}"})


async def call_replayed(stage: Stage) -> httpx.Response:
    proof = stage.pipe.proof("POST", f"{ORIGIN}/config/sync", stage.token)
    headers = {"Authorization": f"DPoP {stage.token}", "DPoP": proof}
    assert (await stage.client.post("/config/sync", headers=headers)).status_code == 200
    return await stage.client.post("/config/sync", headers=headers)


async def call_with_the_proof_of_another_host(stage: Stage) -> httpx.Response:
    """`Host` is the client's to choose: it must not say what a proof is for."""
    proof = stage.pipe.proof("POST", "https://evil.example/config/sync", stage.token)
    headers = {"Authorization": f"DPoP {stage.token}", "DPoP": proof, "Host": "evil.example"}
    return await stage.client.post("/config/sync", headers=headers)


async def call_with_long_header(stage: Stage) -> httpx.Response:
    return await stage.client.post("/config/sync", headers={"Authorization": f"DPoP {'x' * 16385}"})


ATTACKS = [
    Attack("no authorization", "token-missing", authorization(None)),
    Attack("an empty authorization", "token-invalid", lambda s: s.deliver(authorization=" ")),
    Attack("Bearer", "token-invalid", authorization("Bearer {token}")),
    Attack("Basic", "token-invalid", authorization("Basic dXNlcjpwYXNz")),
    Attack("DPoP without a token", "token-invalid", authorization("DPoP ")),
    Attack("two tokens in one header", "token-invalid", authorization("DPoP {token} {token}")),
    Attack("a comma after the token", "token-invalid", authorization("DPoP {token},")),
    Attack("two authorizations", "token-invalid", two_authorizations),
    Attack("a token that is no JWS", "token-invalid", authorization("DPoP x")),
    Attack("a token over its limit", "token-invalid", authorization("DPoP " + "x" * 8193)),
    Attack("a padded token", "token-invalid", authorization("DPoP {token}==")),
    Attack("the step token instead", "token-invalid", step_token_instead),
    Attack("a forged token", "token-invalid", forged(scope="admin")),
    Attack("a forged token with its key inside", "token-invalid", forged_header(jwk={"kty": "EC"})),
    Attack("a forged token of another typ", "token-invalid", forged_header(typ="JWT")),
    Attack("a forged token of an unknown kid", "token-invalid", forged_header(kid="unknown")),
    Attack("a kid that is an object", "token-invalid", forged_header(kid={})),
    Attack("alg none", "token-invalid", unsigned),
    Attack("alg HS256", "token-invalid", forged_header(alg="HS256")),
    Attack("a tampered token", "token-invalid", tampered),
    Attack("an expired token", "token-expired", expired),
    Attack("a preview's scope", "scope-missing", scope_of_a_preview),
    Attack("an event of an unknown id", "event-not-found", poll),
    Attack("an event id that is no text", "proof-invalid", poll_odd_id),
    Attack("another step's event", "event-not-found", poll_of_another_step),
    Attack("a poll with the proof of an event", "proof-invalid", poll_with_the_proof_of_an_event),
    Attack("a call without anything", "token-missing", call_without_anything),
    Attack("a call with Bearer", "token-invalid", call_with_bearer),
    Attack("a call with a scope given up", "scope-missing", narrowed),
    Attack("a replayed call", "proof-replayed", call_replayed),
    Attack("a call with the proof of another route", "proof-invalid", lambda s: s.call(htu=f"{ORIGIN}/open")),
    Attack("a call with the proof of another method", "proof-invalid", lambda s: s.call(htm="GET")),
    Attack("a call with the proof of another host", "proof-invalid", call_with_the_proof_of_another_host),
    Attack("a call with a long header", "payload-too-large", call_with_long_header),
]
