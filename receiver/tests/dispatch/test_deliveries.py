"""Exactly once, or told: on SQLite and on PostgreSQL, in one process and in several."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from fastapi_handoff.store import StoreUnavailable
from helpers.pipe import event, event_id
from helpers.receiver_app import URL, Receiver


class Gate:
    """A handler that says when it runs, and ends when it is told."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, _: object) -> dict[str, int]:
        self.entered.set()
        await self.open.wait()
        return {"release": 8}


def gated(receiver: Receiver) -> Gate:
    gate = Gate()
    receiver.behave = gate
    return gate


async def test_concurrent_deliveries_run_the_handler_once(receivers, records) -> None:
    replicas = [await receivers() for _ in range(2)]
    token = await replicas[0].access_token()
    pipe, content = replicas[0].pipe, event(event_id())

    responses = await asyncio.gather(*(pipe.deliver(replica.client, token, content) for replica in replicas * 4))

    assert [response.status_code for response in responses] == [200] * 8
    assert len({response.text for response in responses}) == 1
    assert sum(len(replica.calls) for replica in replicas) == 1
    actions = [record["action"] for record in records()]
    assert [actions.count(a) for a in ("event.accept", "event.redeliver", "event.outcome")] == [1, 7, 1]


async def test_slow_handler_is_answered_202_and_polled(receivers) -> None:
    receiver = await receivers(inline_timeout=0.05)
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())

    response = await receiver.pipe.deliver(receiver.client, token, content)

    assert (response.status_code, response.json()["state"]) == (202, "running")
    assert response.headers["location"] == f"{URL}/events/{content['id']}"
    assert int(response.headers["retry-after"]) >= 1
    poll = await receiver.pipe.poll(receiver.client, token, content["id"])
    assert (poll.status_code, poll.json()) == (202, response.json())
    gate.open.set()
    final = await receiver.pipe.deliver(receiver.client, token, content)
    assert (final.status_code, final.json()["result"]) == (200, {"release": 8})
    assert (await receiver.pipe.poll(receiver.client, token, content["id"])).json() == final.json()
    assert len(receiver.calls) == 1


async def test_other_replica_waits_for_the_one_that_runs(receivers) -> None:
    first, second = await receivers(inline_timeout=0.05), await receivers()
    gate = gated(first)
    token, content = await first.access_token(), event(event_id())
    assert (await first.pipe.deliver(first.client, token, content)).status_code == 202

    waiting = asyncio.create_task(first.pipe.deliver(second.client, token, content))
    await asyncio.sleep(0)
    gate.open.set()

    assert (await waiting).json()["state"] == "succeeded"
    assert len(second.calls) == 0


async def test_client_that_goes_away_does_not_stop_the_handler(receiver) -> None:
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())
    request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    await gate.entered.wait()

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    gate.open.set()

    final = await receiver.pipe.deliver(receiver.client, token, content)
    assert final.json()["state"] == "succeeded"
    assert len(receiver.calls) == 1


async def test_client_that_goes_away_during_the_commit_does_not_lose_its_event(receiver, monkeypatch) -> None:
    store = receiver.handoff.recorder.store
    write = store.write
    committed = asyncio.Event()
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())

    async def commits_slowly(work, **_):
        result = await write(work)
        committed.set()
        await asyncio.Event().wait()
        return result

    monkeypatch.setattr(store, "write", commits_slowly)
    request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    await committed.wait()
    monkeypatch.setattr(store, "write", write)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)

    # Nobody delivers it again: the receiver itself sees to it.
    await gate.entered.wait()
    gate.open.set()
    final = await receiver.pipe.deliver(receiver.client, token, content)
    assert final.json()["state"] == "succeeded"
    assert len(receiver.calls) == 1


async def test_event_whose_acceptance_was_not_told_is_started_though_nobody_asks(receivers, monkeypatch) -> None:
    """Neither the answer of the commit nor the client came back: the receiver looks at the table."""
    receiver = await receivers(lease=0.5)
    store = receiver.handoff.recorder.store
    write = store.write
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())

    async def committed_but_not_told(work, **_):
        await write(work)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", committed_but_not_told)
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 503
    await asyncio.wait_for(gate.entered.wait(), 10)
    gate.open.set()
    assert (await receiver.pipe.deliver(receiver.client, token, content)).json()["state"] == "succeeded"
    assert len(receiver.calls) == 1


async def test_failed_event_is_not_run_again(receiver) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    receiver.behave = fail
    token, content = await receiver.access_token(), event(event_id())
    first = await receiver.pipe.deliver(receiver.client, token, content)
    second = await receiver.pipe.deliver(receiver.client, token, content)

    assert first.json() == second.json()
    assert len(receiver.calls) == 1


async def test_token_of_one_replica_is_accepted_by_another(receivers) -> None:
    first, second = await receivers(), await receivers()
    token = await first.access_token()

    assert (await first.pipe.deliver(second.client, token, event(event_id()))).status_code == 200
    keys = [(await replica.client.get(f"{URL}/jwks.json")).json() for replica in (first, second)]
    assert keys[0] == keys[1]
    assert len(keys[0]["keys"]) == 1
    assert "d" not in keys[0]["keys"][0]


async def test_replayed_proof_is_refused_by_another_replica(receivers) -> None:
    first, second = await receivers(), await receivers()
    token, content = await first.access_token(), event(event_id())
    body = json.dumps(content).encode()
    headers = first.pipe.event_headers(token, body, content["id"])

    answers = await asyncio.gather(
        *(replica.client.post(f"{URL}/events", content=body, headers=headers) for replica in (first, second))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 401]


async def test_step_token_is_bound_on_every_replica(receivers) -> None:
    first, second = await receivers(), await receivers()
    token = first.step_token()

    answers = await asyncio.gather(*(r.pipe.exchange(r.client, token) for r in (first, second)))

    assert sorted(answer.status_code for answer in answers) == [200, 403]


async def test_outcome_is_written_once_the_store_is_back(receiver, monkeypatch) -> None:
    """The handler has run: its outcome is kept until it can be told, and the handler is not run again."""
    store = receiver.handoff.recorder.store
    write = store.write
    failures = 2
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())
    request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    await gate.entered.wait()

    async def unavailable_for_a_while(work, **_):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreUnavailable
        return await write(work)

    monkeypatch.setattr(store, "write", unavailable_for_a_while)
    gate.open.set()

    assert (await request).json()["state"] == "succeeded"
    assert failures < 0
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("at", ["acceptance", "outcome"])
async def test_commit_whose_answer_was_lost_is_found_to_have_happened(receiver, records, monkeypatch, at: str) -> None:
    store = receiver.handoff.recorder.store
    write = store.write
    lose = at == "acceptance"
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())

    async def committed_but_not_told(work, **_):
        nonlocal lose
        result = await write(work)
        if lose:
            lose = False
            raise StoreUnavailable
        return result

    monkeypatch.setattr(store, "write", committed_but_not_told)
    gate.open.set()
    if at == "acceptance":
        response = await receiver.pipe.deliver(receiver.client, token, content)
        assert (response.status_code, len(receiver.calls)) == (503, 0)
        response = await receiver.pipe.deliver(receiver.client, token, content)
    else:
        gate.open.clear()
        request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
        await gate.entered.wait()
        lose = True
        gate.open.set()
        response = await request

    assert response.json()["state"] == "succeeded"
    assert len(receiver.calls) == 1
    actions = [record["action"] for record in records()]
    assert (actions.count("event.outcome"), actions.count("event.late_outcome")) == (1, 0)


async def test_handler_of_a_lost_commit_is_not_started_under_a_lease_that_has_ended(receiver, sql, monkeypatch) -> None:
    """The outage may outlast the lease: under an ended one, another replica would take the handler for dead."""
    store = receiver.handoff.recorder.store
    write = store.write
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())

    async def committed_but_not_told(work, **_):
        await write(work)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", committed_but_not_told)
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 503
    sql("UPDATE receipts SET lease_until = 1")
    request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    await gate.entered.wait()
    ((lease_until,),) = sql("SELECT lease_until FROM receipts")
    gate.open.set()

    assert lease_until > (time.time() + 30) * 1_000_000
    assert (await request).json()["state"] == "succeeded"


async def test_claim_whose_answer_was_lost_starts_the_handler_once(receiver, records, monkeypatch) -> None:
    store = receiver.handoff.recorder.store
    write = store.write
    token, content = await receiver.access_token(), event(event_id())
    writes = 0

    async def second_is_committed_but_not_told(work, **_):
        nonlocal writes
        writes += 1
        result = await write(work)
        if writes == 2:
            raise StoreUnavailable
        return result

    monkeypatch.setattr(store, "write", second_is_committed_but_not_told)
    response = await receiver.pipe.deliver(receiver.client, token, content)

    assert response.json()["state"] == "succeeded"
    assert (len(receiver.calls), writes) == (1, 4)
    assert [record["action"] for record in records()][1:] == ["event.accept", "event.outcome"]


async def test_store_that_is_away_means_503_and_no_handler(receiver, monkeypatch) -> None:
    token = await receiver.access_token()

    async def away(_, **__):
        raise StoreUnavailable

    monkeypatch.setattr(receiver.handoff.recorder.store, "write", away)
    event_response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    token_response = await receiver.pipe.exchange(receiver.client, receiver.step_token())
    open_response = await receiver.client.post("/open")

    for response in (event_response, token_response, open_response):
        assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
        assert int(response.headers["retry-after"]) > 0
    assert receiver.calls == []


async def test_handler_in_a_thread(receiver) -> None:
    @receiver.handoff.on("service.upgraded", scope="deployments:write")
    def upgraded(event, identity):
        return event.service

    token = await receiver.access_token()
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id(), "upgraded"))
    assert response.json()["result"] == "api"


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyError])
async def test_handler_in_a_thread_that_raises_fails_its_event(receivers, error: type[BaseException]) -> None:
    receiver = await receivers(inline_timeout=2)

    @receiver.handoff.on("service.upgraded", scope="deployments:write")
    def upgraded(event, identity):
        raise error

    token = await receiver.access_token()
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id(), "upgraded"))
    assert (response.status_code, response.json()["state"]) == (200, "failed")


@pytest.mark.parametrize(
    "result", [object(), {1, 2}, float("nan"), "\ud800", "x" * 300_000, SystemExit(), asyncio.CancelledError()]
)
async def test_result_that_cannot_be_told_fails_the_event(receiver, result: object, caplog) -> None:
    def behave(_: object) -> object:
        if isinstance(result, BaseException):
            raise result
        return result

    receiver.behave = behave
    token = await receiver.access_token()
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    assert (response.status_code, response.json()["state"]) == (200, "failed")


async def test_lifespan_waits_for_handlers_then_interrupts_them(policy_file, store_url, issuer, monkeypatch) -> None:
    monkeypatch.setattr("fastapi_handoff.handoff._GRACE_SECONDS", 0.05)
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05)
    async with receiver.handoff.lifespan(receiver.app):
        gated(receiver)
        token, content = await receiver.access_token(), event(event_id())
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 202
    async with receiver.handoff.lifespan(receiver.app):
        response = await receiver.pipe.poll(receiver.client, token, content["id"])
    assert response.json()["state"] == "interrupted"
