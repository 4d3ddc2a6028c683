"""Keys and secrets: rotation by itself, old keys until their last token is dead, webhooks secrets while rotating."""

from __future__ import annotations

import asyncio

import pytest
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey

from fastapi_handoff.auth.signing_keys import PUBLISHED_SECONDS, ROTATION_SECONDS, SigningKeys
from fastapi_handoff.store import Store, StoreUnavailable
from helpers.pipe import Pipe, event, event_id
from helpers.receiver_app import URL

OLD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


async def test_signing_key_rotates_and_the_old_one_serves_until_its_last_token_is_dead(receivers) -> None:
    first, second = await receivers(), await receivers()
    start = first.clock.now
    first.clock.now = second.clock.now = start
    await first.access_token()
    # The last moment of the first key: its token lives 300 seconds from here.
    first.clock.now = second.clock.now = start + ROTATION_SECONDS - 1
    last_of_old = await first.access_token()
    first.clock.now = second.clock.now = start + ROTATION_SECONDS
    await first.access_token()

    assert len((await second.client.get(f"{URL}/jwks.json")).json()["keys"]) == 2
    first.clock.now = second.clock.now = start + ROTATION_SECONDS - 1 + 300 + 60
    await second.handoff.recorder.store.purge(int(second.clock()))
    first.pipe.clock = second.clock
    assert (await first.pipe.deliver(second.client, last_of_old, event(event_id()))).status_code == 200
    first.clock.now = second.clock.now = start + PUBLISHED_SECONDS + 1
    await second.handoff.recorder.store.purge(int(second.clock()))
    assert len((await second.client.get(f"{URL}/jwks.json")).json()["keys"]) == 1


async def test_token_of_a_dead_key_is_expired_or_unknown(receiver) -> None:
    token = await receiver.access_token()
    receiver.clock.now += PUBLISHED_SECONDS + 61
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    assert response.status_code == 401


async def test_private_key_is_nowhere_in_the_store(receiver, sql) -> None:
    await receiver.access_token()
    [(jwk,)] = sql("SELECT jwk FROM public_keys")
    assert '"d"' not in jwk


async def test_flood_of_unknown_kids_costs_one_look_and_hides_no_new_key(store_url: str, monkeypatch) -> None:
    clock = iter(range(10**6))
    store = Store(store_url)
    await store.open()
    keys, other = (SigningKeys(store, monotonic=lambda: next(clock) / 1000) for _ in range(2))
    looks = 0
    read = store.read

    async def counted(job):
        nonlocal looks
        looks += 1
        return await read(job)

    monkeypatch.setattr(store, "read", counted)
    monkeypatch.setattr("fastapi_handoff.auth.signing_keys.LOOKUP_SECONDS", 0.01)
    key = other.current(1000)
    await store.write(lambda connection: other.publish(connection, key))

    found = await asyncio.gather(*(keys.find(f"unknown-{n}", 1000) for n in range(200)), keys.find(key.kid, 1000))

    assert found[:-1] == [None] * 200
    assert found[-1] is not None
    assert looks <= 2
    await store.close()


async def test_store_away_while_looking_for_a_key_is_not_an_unknown_key(store_url: str, monkeypatch) -> None:
    store = Store(store_url)
    await store.open()
    keys = SigningKeys(store, monotonic=lambda: 0.0)
    monkeypatch.setattr("fastapi_handoff.auth.signing_keys.LOOKUP_SECONDS", 0.0)

    async def away(_):
        raise StoreUnavailable

    monkeypatch.setattr(store, "read", away)
    results = await asyncio.gather(*(keys.find("x", 1000) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    await store.close()


async def test_all_who_wait_for_a_key_share_one_failure_of_the_store(store_url: str, monkeypatch) -> None:
    clock = iter(range(10**6))
    store = Store(store_url)
    await store.open()
    keys = SigningKeys(store, monotonic=lambda: next(clock) / 1000)
    monkeypatch.setattr("fastapi_handoff.auth.signing_keys.LOOKUP_SECONDS", 0.0)
    looks = 0

    async def away(_):
        nonlocal looks
        looks += 1
        raise StoreUnavailable("gone fishing")

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", away)
        results = await asyncio.gather(*(keys.find(f"x{n}", 1000) for n in range(12)), return_exceptions=True)
        assert [(type(result), str(result)) for result in results] == [(StoreUnavailable, "gone fishing")] * 12
        assert looks == 1
        with pytest.raises(StoreUnavailable):
            await keys.find("x", 1000)
        assert looks == 2, "who comes after the failure looks again"
    assert await keys.find("x", 1000) is None
    await store.close()


UNREADABLE = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"kty":"EC","crv":"P-256","x":1,"y":2}',
    '{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}',
    '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
    "[" * 100_000,
]


@pytest.mark.parametrize("jwk", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_unreadable_key_in_the_store_hides_no_other_and_is_told_once(receivers, sql, caplog, jwk: str) -> None:
    first, second = await receivers(), await receivers()
    token = await first.access_token()
    sql(f"INSERT INTO public_keys (kid, jwk, not_after) VALUES ('broken', '{jwk}', {2**40})")

    for _ in range(2):
        [published] = (await second.client.get(f"{URL}/jwks.json")).json()["keys"]
        assert published["kid"] != "broken"
    assert (await first.pipe.deliver(second.client, token, event(event_id()))).status_code == 200
    assert caplog.text.count("public key `broken`") == 1


@pytest.mark.parametrize("secret", [OLD_SECRET, NEW_SECRET])
async def test_either_secret_verifies_while_rotating(receivers, secret: str) -> None:
    receiver = await receivers(signing_secrets=[OLD_SECRET, NEW_SECRET])
    receiver.pipe.secret = secret
    response = await receiver.pipe.deliver(receiver.client, await receiver.access_token(), event(event_id()))
    assert response.status_code == 200


async def test_pipe_may_sign_with_two_secrets(receivers) -> None:
    receiver = await receivers(signing_secrets=[NEW_SECRET])
    content = event(event_id())
    token = await receiver.access_token()
    import json

    body = json.dumps(content).encode()
    signatures = []
    for secret in (OLD_SECRET, NEW_SECRET):
        signer = Pipe(URL, clock=receiver.clock, secret=secret)
        signatures.append(signer.signature(content["id"], int(receiver.clock()), body))
    response = await receiver.pipe.deliver(receiver.client, token, content, webhook_signature=" ".join(signatures))
    assert response.status_code == 200


async def test_receiver_without_secrets_ignores_the_signature(receiver) -> None:
    token = await receiver.access_token()
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()), webhook_signature="v1,AAAA")
    assert response.status_code == 200


async def test_access_token_verifies_under_another_implementation(receiver) -> None:
    token = await receiver.access_token()
    [jwk] = (await receiver.client.get(f"{URL}/jwks.json")).json()["keys"]
    key = ECKey.import_key(jwk)
    assert key.thumbprint() == jwk["kid"]
    assert joserfc_jws.deserialize_compact(token, key, algorithms=["ES256"]).protected["kid"] == jwk["kid"]
