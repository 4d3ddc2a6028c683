"""Several uvicorn processes on one PostgreSQL: killed while they work, their database taken away."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import httpx
import pytest
import pytest_asyncio

from fastapi_handoff.store import Store
from helpers.chain import verified
from helpers.pipe import Pipe, event, event_id
from helpers.provider import step_claims
from helpers.receiver_app import URL
from helpers.replicas import Replicas, final


@pytest.fixture
def backend() -> str:
    return "postgresql"


@pytest_asyncio.fixture
async def replicas(tmp_path, policy_file, store_url, issuer):
    started = Replicas(tmp_path, policy_file, store_url, issuer)
    yield started
    await started.close()


@pytest.fixture
def step_token(issuer) -> str:
    return issuer.keys[0].sign(step_claims(issuer.issuer, [URL]))


def doing(what: str, predicate: str = "deployed") -> dict:
    content = event(event_id(), predicate)
    content["data"]["customData"]["custom"] = {"do": what}
    return content


async def test_sigkill_while_the_handler_runs_leaves_interrupted(replicas, step_token, records) -> None:
    first, second = await replicas.start(2)
    pipe = Pipe(URL)
    token, content = await pipe.access_token(first.client, step_token), doing("hang")
    assert (await pipe.deliver(first.client, token, content)).status_code == 202

    first.kill()
    receipt = await final(second, pipe, token, content["id"])

    assert receipt["state"] == "interrupted"
    assert replicas.runs() == [content["id"]]
    again = await pipe.deliver(second.client, token, content)
    assert again.json() == receipt
    outcome = next(record for record in records() if record["action"] == "event.outcome")
    assert (outcome["decision"], outcome["seq"]) == ("interrupted", receipt["audit"]["seq"])


async def test_sigkill_while_an_idempotent_handler_runs_runs_it_again(replicas, step_token, records) -> None:
    first, second = await replicas.start(2)
    pipe = Pipe(URL)
    token, content = await pipe.access_token(first.client, step_token), doing("hang", "upgraded")
    assert (await pipe.deliver(first.client, token, content)).status_code == 202

    first.kill()
    receipt = await final(second, pipe, token, content["id"])

    assert (receipt["state"], receipt["result"]) == ("succeeded", {"service": "api"})
    assert replicas.runs() == [content["id"]] * 2
    assert [r["outcome"] for r in records() if r["action"] == "event.resume"] == [{"attempt": 2}]


async def test_what_a_killed_process_had_not_started_is_started_by_the_next(replicas, step_token, records) -> None:
    """One thread for plain handlers: the second event was accepted, and waits for it."""
    first, second = await replicas.start(2)
    pipe = Pipe(URL)
    token = await pipe.access_token(first.client, step_token)
    started, waiting = doing("hang", "published"), doing("succeed", "published")
    for content in (started, waiting):
        assert (await pipe.deliver(first.client, token, content)).status_code == 202
    assert replicas.runs() == [started["id"]]

    first.kill()

    assert (await final(second, pipe, token, waiting["id"]))["state"] == "succeeded"
    receipt = await final(second, pipe, token, started["id"])
    assert receipt["state"] == "interrupted"
    assert "Look at what it changes before anything is run again" in receipt["detail"]
    assert replicas.runs() == [started["id"], waiting["id"]]
    assert [r["action"] for r in records() if r["event_id"] == waiting["id"]][:2] != ["event.resume"]


async def test_restarted_replica_ends_what_it_left(replicas, step_token) -> None:
    """One replica alone: nobody else is there to notice."""
    [only] = await replicas.start(1)
    pipe = Pipe(URL)
    token, content = await pipe.access_token(only.client, step_token), doing("hang")
    assert (await pipe.deliver(only.client, token, content)).status_code == 202

    only.kill()
    only.start()
    await only.ready()

    assert (await final(only, pipe, token, content["id"]))["state"] == "interrupted"


async def test_database_that_goes_and_comes_back_needs_no_restart(replicas, step_token, postgresql) -> None:
    [only] = await replicas.start(1)
    pipe = Pipe(URL)
    token, content = await pipe.access_token(only.client, step_token), doing("succeed")
    postgresql.stop()
    try:
        refused = await pipe.deliver(only.client, token, content)
        # Its answer may be of a try a second ago, when the database was there.
        for _ in range(30):
            health = await only.client.get(f"{URL}/health")
            if health.status_code == 503:
                break
            await asyncio.sleep(0.1)
    finally:
        postgresql.start()

    assert (refused.status_code, refused.json()["code"]) == (503, "store-unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert (health.status_code, health.json()["checks"]["store"]) == (503, "failed")
    assert replicas.runs() == []
    accepted = await pipe.deliver(only.client, token, content)
    assert accepted.json()["state"] == "succeeded"
    assert replicas.runs() == [content["id"]]


async def test_replica_starts_before_its_database(replicas, step_token, postgresql) -> None:
    [first] = await replicas.start(1)
    first.kill()
    postgresql.stop()
    try:
        first.start()
        await first.logs("the store cannot be opened")
    finally:
        postgresql.start()
    await first.ready()

    pipe = Pipe(URL)
    token = await pipe.access_token(first.client, step_token)
    assert (await pipe.deliver(first.client, token, doing("succeed"))).json()["state"] == "succeeded"


async def test_campaign_of_kills_and_an_outage_is_told_truly(
    replicas, step_token, postgresql, store_url, records
) -> None:
    """Every event succeeded once or its pipe was told; runs, receipts and records agree; the chain verifies."""
    three = await replicas.start(3)
    pipe = Pipe(URL)
    token = await pipe.access_token(three[0].client, step_token)
    told: dict[str, str] = {}
    chance = random.Random(7)

    async def deliver_until_told(content: dict) -> None:
        for _ in range(200):
            replica = chance.choice(three)
            try:
                response = await pipe.deliver(replica.client, token, content)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            assert response.status_code in {200, 202, 503}, response.text
            if response.status_code == 200:
                told[content["id"]] = response.json()["state"]
                return
            await asyncio.sleep(0.1)
        raise AssertionError(response.text)

    async def deliver_some() -> None:
        for _ in range(12):
            await deliver_until_told(doing("work"))

    async def faults() -> None:
        for victim in three[:2]:
            await asyncio.sleep(0.7)
            victim.kill()
            victim.start()
            await victim.ready()
        postgresql.stop()
        await asyncio.sleep(0.5)
        postgresql.start()

    await asyncio.gather(faults(), *(deliver_some() for _ in range(6)))

    assert len(told) == 72
    assert set(told.values()) <= {"succeeded", "interrupted"}
    runs = Counter(replicas.runs())
    assert set(runs.values()) == {1}
    assert {identifier for identifier, state in told.items() if state == "succeeded"} <= runs.keys()
    outcomes = {r["event_id"]: r["decision"] for r in records() if r["action"] == "event.outcome"}
    assert outcomes == told
    accepted = [r["event_id"] for r in records() if r["action"] == "event.accept" and r["decision"] == "accepted"]
    assert sorted(accepted) == sorted(told)
    found = verified(Store(store_url, read_only=True))
    assert (found.findings, found.records, found.receipts) == ([], len(records()), 72)
    assert not any(json.dumps(token) in replica.log() for replica in three)
