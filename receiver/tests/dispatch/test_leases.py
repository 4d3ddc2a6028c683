"""Who answers for a receipt: by the database's clock, by threads that cannot be stopped, by what a process leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time

import pytest
from test_deliveries import gated

from fastapi_handoff.audit.verify import verify
from fastapi_handoff.dispatch.states import RELEASE_SECONDS
from fastapi_handoff.store import Store, StoreUnavailable
from helpers.fixtures_store import connect
from helpers.pipe import event, event_id
from helpers.receiver_app import Receiver


async def final(receiver: Receiver, token: str, content: dict) -> dict:
    """Ask until the receipt is final."""
    for _ in range(500):
        response = await receiver.pipe.poll(receiver.client, token, content["id"])
        if response.status_code == 200:
            return response.json()
        await asyncio.sleep(0.02)
    raise AssertionError(response.text)


@pytest.mark.parametrize("ahead", [-3000, -50, 50, 3000])
async def test_live_handler_is_not_taken_for_dead_by_a_replica_with_another_clock(
    receivers, sql, records, ahead: int
) -> None:
    first = await receivers(inline_timeout=0.05, lease=1.5)
    second = await receivers(inline_timeout=0.05, lease=1.5)
    second.clock.now += ahead
    gate = gated(first)
    token, content = await first.access_token(), event(event_id())
    assert (await first.pipe.deliver(first.client, token, content)).status_code == 202

    await asyncio.sleep(2.5)  # the second has seen enough of the store by now to judge leases

    assert sql("SELECT state FROM receipts") == [("running",)]
    gate.open.set()
    assert (await final(first, token, content))["state"] == "succeeded"
    assert [r["decision"] for r in records() if r["action"] == "event.outcome"] == ["succeeded"]


def plain(receiver: Receiver, **options) -> tuple[threading.Event, list[str]]:
    """Register a plain handler that waits for the event."""
    go_on, started = threading.Event(), []

    @receiver.handoff.on("service.upgraded", scope="deployments:write", **options)
    def upgraded(event, identity):
        started.append(event.id)
        assert go_on.wait(30)
        return "done"

    return go_on, started


async def test_slow_plain_handlers_keep_nothing_else_waiting(receivers) -> None:
    receiver = await receivers(inline_timeout=0.01)
    go_on, started = plain(receiver)
    token = await receiver.access_token()
    contents = [event(event_id(), "upgraded") for _ in range(40)]
    for content in contents:
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 202
    try:
        # What fetches the issuer's keys looks the name up like this, and the app's own `to_thread` has threads left.
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 443, type=socket.SOCK_STREAM), 5)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 8), 5) == 8
        assert len(started) == 16
    finally:
        go_on.set()
    for content in contents:
        assert (await final(receiver, token, content))["result"] == "done"
    assert sorted(started) == sorted(content["id"] for content in contents)


async def test_event_that_waits_for_a_thread_is_not_claimed(receivers, sql) -> None:
    receiver = await receivers(inline_timeout=0.01, handler_threads=1)
    go_on, started = plain(receiver)
    token = await receiver.access_token()
    try:
        for _ in range(2):
            response = await receiver.pipe.deliver(receiver.client, token, event(event_id(), "upgraded"))
            assert (response.status_code, response.json()["state"]) == (202, "running")
        assert sorted(sql("SELECT state, attempts FROM receipts")) == [("pending", 0), ("running", 1)]
        assert len(started) == 1
    finally:
        go_on.set()


def test_no_threads_at_all_do_not_start(policy_file, store_url, issuer) -> None:
    with pytest.raises(ValueError, match="`handler_threads` must be at least 1, not 0"):
        Receiver(policy_file, store_url, issuer, handler_threads=0)


@pytest.mark.parametrize("idempotent", [False, True])
async def test_plain_handler_keeps_its_lease_until_it_ends_though_the_app_shuts_down(
    policy_file, store_url, issuer, receivers, monkeypatch, sql, idempotent: bool
) -> None:
    monkeypatch.setattr("fastapi_handoff.handoff._GRACE_SECONDS", 0.05)
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05, lease=0.6)
    go_on, started = plain(receiver, idempotent=idempotent)
    waits = event(event_id(), "upgraded")
    lifespan = receiver.handoff.lifespan(receiver.app)
    await lifespan.__aenter__()
    token = await receiver.access_token()
    assert (await receiver.pipe.deliver(receiver.client, token, waits)).status_code == 202
    replica = await receivers(inline_timeout=0.05, lease=0.6)
    _, started_again = plain(replica, idempotent=idempotent)

    end = asyncio.create_task(lifespan.__aexit__(None, None, None))
    await asyncio.sleep(2)  # three leases
    assert sql("SELECT state FROM receipts") == [("running",)]
    assert not end.done()
    go_on.set()
    await end

    assert sql("SELECT state, attempts FROM receipts") == [("succeeded", 1)]
    assert (started, started_again) == ([waits["id"]], [])


async def test_what_was_not_started_at_shutdown_is_started_by_the_next_process_at_once(
    policy_file, store_url, issuer, receivers, sql
) -> None:
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05, handler_threads=1)
    go_on, started = plain(receiver)
    async with receiver.handoff.lifespan(receiver.app):
        token = await receiver.access_token()
        contents = [event(event_id(), "upgraded") for _ in range(2)]
        for content in contents:
            assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 202
        asyncio.get_running_loop().call_later(0.5, go_on.set)
    assert dict(sql("SELECT event_id, state FROM receipts")) == {
        contents[0]["id"]: "succeeded",
        contents[1]["id"]: "pending",
    }

    with Store(store_url, read_only=True).snapshot() as connection:
        assert verify(connection).findings == []

    began = time.monotonic()
    replica = await receivers(lease=1)
    go_on, started_next = plain(replica)
    go_on.set()
    while sql(f"SELECT state FROM receipts WHERE event_id = '{contents[1]['id']}'") != [("succeeded",)]:
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.05)
    assert (started, started_next) == ([contents[0]["id"]], [contents[1]["id"]])


async def test_event_whose_handler_the_app_has_not_any_more_fails_and_says_so(
    policy_file, store_url, issuer, receivers, sql
) -> None:
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05, handler_threads=1)
    go_on, _ = plain(receiver)
    async with receiver.handoff.lifespan(receiver.app):
        token = await receiver.access_token()
        contents = [event(event_id(), "upgraded") for _ in range(2)]
        for content in contents:
            await receiver.pipe.deliver(receiver.client, token, content)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
    replica = await receivers(lease=0.3)
    await asyncio.sleep(0.5)
    waiting = await receiver.pipe.poll(replica.client, token, contents[1]["id"])
    assert waiting.json()["state"] == "running", "a release is under way, perhaps, and another replica has the handler"
    replica.clock.now += RELEASE_SECONDS
    await asyncio.sleep(0.5)
    response = await replica.pipe.poll(replica.client, await replica.access_token(), contents[1]["id"])
    assert response.json()["state"] == "failed"
    assert "the handler was not started" in response.json()["detail"]


@pytest.mark.parametrize("backend", ["sqlite"])
def test_worker_that_was_forked_after_the_app_was_loaded_starts_nothing_of_another(
    policy_file, store_url, issuer, sql, tmp_path
) -> None:
    """As with `gunicorn --preload`: one object, and a copy of it in each worker."""
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05, lease=0.9)
    runs = tmp_path / "runs"
    runs.touch()

    async def slow(_: object) -> None:
        with runs.open("a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.sleep(1.5)

    receiver.behave = slow

    async def serve(*, delivers: bool) -> None:
        async with receiver.handoff.lifespan(receiver.app):
            if delivers:
                token = await receiver.access_token()
                await receiver.pipe.deliver(receiver.client, token, event(event_id()))
            await asyncio.sleep(2.5)

    other = os.fork()
    if other == 0:
        with contextlib.suppress(BaseException):
            asyncio.run(serve(delivers=False))
        os._exit(0)
    asyncio.run(serve(delivers=True))
    os.waitpid(other, 0)

    assert runs.read_text().split() == [str(os.getpid())]
    assert sql("SELECT state, attempts FROM receipts") == [("succeeded", 1)]


async def test_writes_that_stand_still_for_longer_than_a_lease_make_no_live_handler_look_dead(
    receivers, sql, store_url, monkeypatch
) -> None:
    """Reads go on meanwhile, as under SQLite's lock for writers or an index that is being made."""
    lease = 1.5
    first = await receivers(inline_timeout=0.05, lease=lease)
    second = await receivers(inline_timeout=0.05, lease=lease)
    started = []
    for replica in (first, second):
        gated(replica)

        @replica.handoff.on("service.upgraded", scope="deployments:write", idempotent=True)
        async def upgraded(event, identity):
            started.append(event.id)
            await asyncio.sleep(30)

    token = await first.access_token()
    for predicate in ("deployed", "upgraded"):
        response = await first.pipe.deliver(first.client, token, event(event_id(), predicate))
        assert response.status_code == 202
    await asyncio.sleep(1.6)  # the second has seen enough of the store by now to judge leases

    def stand_still() -> None:
        with connect(store_url) as connection:
            is_sqlite = store_url.startswith("sqlite")
            connection.execute("BEGIN IMMEDIATE" if is_sqlite else "LOCK TABLE receipts IN SHARE MODE")
            time.sleep(2 * lease)
            connection.rollback()

    store = first.handoff.recorder.store
    write, again = store.write, asyncio.Event()

    async def is_the_last_to_notice(work, **options):
        await again.wait()
        return await write(work, **options)

    monkeypatch.setattr(store, "write", is_the_last_to_notice)
    await asyncio.to_thread(stand_still)
    asyncio.get_running_loop().call_later(0.3, again.set)
    await asyncio.sleep(1.5)

    assert sql("SELECT state, attempts FROM receipts") == [("running", 1)] * 2
    assert len(started) == 1
    for replica in (first, second):
        await replica.handoff._dispatcher.stop(0)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_one_renewal_that_fails_late_loses_no_lease(receivers, sql, monkeypatch) -> None:
    lease = 2.4
    first = await receivers(inline_timeout=0.05, lease=lease)
    await receivers(lease=lease)
    gated(first)
    store = first.handoff.recorder.store
    write, renewals = store.write, 0

    async def second_renewal_fails_late(work, *, urgent=False):
        nonlocal renewals
        renewals += urgent
        if urgent and renewals == 2:
            await asyncio.sleep(0.45 * lease)
            raise StoreUnavailable
        return await write(work, urgent=urgent)

    token = await first.access_token()
    monkeypatch.setattr(store, "write", second_renewal_fails_late)
    assert (await first.pipe.deliver(first.client, token, event(event_id()))).status_code == 202
    await asyncio.sleep(1.7 * lease)
    assert renewals > 2
    assert sql("SELECT state FROM receipts") == [("running",)]
    await first.handoff._dispatcher.stop(0)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_shutdown_that_is_cut_short_leaves_nothing_that_tries_for_ever(
    policy_file, store_url, issuer, monkeypatch
) -> None:
    monkeypatch.setattr("fastapi_handoff.dispatch.runs._GIVE_UP_SECONDS", 0.2)
    receiver = Receiver(policy_file, store_url, issuer, inline_timeout=0.05)
    gate, stopping = gated(receiver), asyncio.Event()

    async def live() -> None:
        async with receiver.handoff.lifespan(receiver.app):
            token = await receiver.access_token()
            await receiver.pipe.deliver(receiver.client, token, event(event_id()))
            stopping.set()

    life = asyncio.create_task(live())
    await stopping.wait()
    await asyncio.sleep(0.1)
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    gate.open.set()

    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("handoff ")]
    assert left
    assert not (await asyncio.wait(left, timeout=3))[1]
