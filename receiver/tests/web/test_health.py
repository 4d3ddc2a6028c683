"""Readiness is what a request needs: where every request is refused for the store, the receiver is not ready."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from pathlib import Path

import pytest

from fastapi_handoff import handoff as handoff_module
from fastapi_handoff.store import Store, StoreUnavailable
from fastapi_handoff.store.tables import VERSION_TABLE
from fastapi_handoff.web import health as web_health
from helpers.pipe import event, event_id
from helpers.receiver_app import URL


@pytest.fixture(autouse=True)
def try_each_time(monkeypatch) -> None:
    monkeypatch.setattr(web_health, "TRY_AGAIN_SECONDS", 0.0)


async def health(receiver) -> tuple[int, dict[str, str]]:
    response = await receiver.client.get(f"{URL}/health")
    return response.status_code, response.json()["checks"]


WELL = {"store": "ok", "chain": "ok", "clock": "ok", "issuer_keys": "ok"}


async def test_health_leaves_no_record_and_no_receipt(receiver, sql, records) -> None:
    for _ in range(3):
        assert await health(receiver) == (200, WELL)
    assert records() == []
    assert sql("SELECT event_id FROM receipts") == sql("SELECT jti FROM proof_ids") == []
    assert sql("SELECT issuer FROM subject_token_bindings") == [("health",)]
    await receiver.handoff.recorder.store.purge(int(receiver.clock.now) + 86_400)
    assert sql("SELECT issuer FROM subject_token_bindings") == []


@pytest.mark.parametrize("table", ["audit_records", "receipts", "subject_token_bindings", "proof_ids"])
@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
async def test_refused_or_swallowed_insert_is_no_readiness(receiver, sql, backend, table: str, when: str) -> None:
    await receiver.access_token()
    assert (await health(receiver))[0] == 200
    if backend == "sqlite":
        body = "SELECT RAISE(ABORT, 'no')" if when == "BEFORE" else f"DELETE FROM {table} WHERE rowid = NEW.rowid"
        sql(f"CREATE TRIGGER no {when} INSERT ON {table} BEGIN {body}; END")
    else:
        key = {"audit_records": "seq", "receipts": "event_id", "subject_token_bindings": "jkt", "proof_ids": "jti"}[
            table
        ]
        body = "RAISE 'no'" if when == "BEFORE" else f"DELETE FROM {table} WHERE {key} = NEW.{key}"
        sql(
            f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$",
            f"CREATE TRIGGER no {when} INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no()",
        )
    status, checks = await health(receiver)
    assert (status, checks["store"]) == (503, "failed")


def size(path: str) -> int:
    return Path(path).stat().st_size


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_full_disk_is_no_readiness(receiver, store_url) -> None:
    """A limit for the size of files stands for it: writing beyond it fails as on a disk that is full."""
    await receiver.access_token()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size(store_url.removeprefix("sqlite:///") + "-wal"), hard))
    try:
        exchange = await receiver.pipe.exchange(receiver.client, receiver.step_token())
        found = await health(receiver)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (exchange.status_code, exchange.json()["code"]) == (503, "store-unavailable")
    assert (found[0], found[1]["store"]) == (503, "failed")
    assert await health(receiver) == (200, WELL)


@pytest.mark.parametrize("column", ["time = 900000000000000000", "time = time + 1", "hash = ''"])
async def test_newest_record_that_cannot_be_built_upon_is_no_readiness(receiver, sql, column: str) -> None:
    await receiver.access_token()
    sql(f"UPDATE audit_records SET {column} WHERE seq = (SELECT max(seq) FROM audit_records)")
    status, checks = await health(receiver)
    assert (status, checks["chain"]) == (503, "failed")


async def test_record_from_the_future_is_a_warning(receiver, receivers) -> None:
    other = await receivers()
    other.clock.now += 86_400
    await other.access_token()
    # Before anything else is written, for a balancer asks first.
    assert await health(receiver) == (200, {**WELL, "clock": "warning"})
    await receiver.access_token()
    assert await health(receiver) == (200, {**WELL, "clock": "warning"})


async def test_tail_that_was_cut_off_is_a_warning(receiver, sql) -> None:
    await receiver.access_token()
    sql("DELETE FROM audit_records WHERE seq = (SELECT max(seq) FROM audit_records)")
    assert await health(receiver) == (200, {**WELL, "chain": "warning"}), "before anything else is written"
    await receiver.access_token()
    assert await health(receiver) == (200, {**WELL, "chain": "warning"})


async def test_health_checks_are_no_lever(receiver, monkeypatch) -> None:
    monkeypatch.undo()
    store = receiver.handoff.recorder.store
    write, read = store.write, store.read
    used = {"write": 0, "read": 0}

    async def counted_write(job, **options):
        used["write"] += 1
        return await write(job, **options)

    async def counted_read(job):
        used["read"] += 1
        return await read(job)

    monkeypatch.setattr(store, "write", counted_write)
    monkeypatch.setattr(store, "read", counted_read)
    for answer in await asyncio.gather(*(health(receiver) for _ in range(30))):
        assert answer == (200, WELL)
    assert used["write"] <= 4, "two for a try, and perhaps a second has passed"
    assert used["read"] <= 2


async def test_schema_of_another_version_is_not_used_until_it_is_the_right_one(receivers, sql, monkeypatch) -> None:
    monkeypatch.setattr(handoff_module, "_OPEN_AGAIN_SECONDS", 0.1)
    await receivers()
    version = sql(f"SELECT version_num FROM {VERSION_TABLE}")[0][0]
    sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    late = await receivers()
    status, checks = await health(late)
    assert (status, checks["store"]) == (503, "failed")
    exchange = await late.pipe.exchange(late.client, late.step_token())
    assert (exchange.status_code, exchange.json()["code"]) == (503, "store-unavailable")
    sql(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")
    for _ in range(100):
        if await health(late) == (200, WELL):
            break
        await asyncio.sleep(0.1)
    await late.access_token()


async def test_purge_in_the_transaction_of_a_health_check_fails_no_request(receiver, monkeypatch) -> None:
    monkeypatch.setattr(web_health, "TRY_AGAIN_SECONDS", 60.0)
    token = await receiver.access_token()
    assert await health(receiver) == (200, WELL)
    store, check = receiver.handoff.recorder.store, web_health.Health(receiver.handoff.recorder.store, [], time.time)
    may_commit = threading.Event()
    first = asyncio.create_task(store.write(lambda _: may_commit.wait(5)))
    await asyncio.sleep(0.1)
    together = [asyncio.create_task(store.write(check._write)), asyncio.create_task(store.purge(int(time.time())))]
    delivery = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, event(event_id())))
    await asyncio.sleep(0.2)
    may_commit.set()
    await asyncio.gather(first, *together)
    assert (await delivery).status_code == 200


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_purge_outlives_an_error_of_a_trigger(receivers, sql, monkeypatch, caplog) -> None:
    monkeypatch.setattr(handoff_module, "_PURGE_SECONDS", 0.05)
    await receivers()
    sql(
        "CREATE TRIGGER hold BEFORE DELETE ON proof_ids BEGIN SELECT RAISE(ABORT, 'legal hold'); END",
        "INSERT INTO proof_ids (jkt, jti, expires_at) VALUES ('a', 'b', 1)",
    )
    await _until(lambda: "legal hold" in caplog.text)
    sql("DROP TRIGGER hold")
    await _until(lambda: sql("SELECT jti FROM proof_ids") == [])


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_opening_the_store_is_tried_again_after_any_error(receivers, monkeypatch) -> None:
    monkeypatch.setattr(handoff_module, "_OPEN_AGAIN_SECONDS", 0.05)
    errors = [StoreUnavailable("no server"), RuntimeError("of some library")]
    open_store = Store.open

    async def fails_twice(store: Store) -> None:
        if errors:
            raise errors.pop(0)
        await open_store(store)

    monkeypatch.setattr(Store, "open", fails_twice)
    receiver = await receivers()
    for _ in range(100):
        if await health(receiver) == (200, WELL):
            break
        await asyncio.sleep(0.05)
    assert await health(receiver) == (200, WELL)


async def _until(is_true) -> None:
    for _ in range(100):
        if is_true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("in five seconds it did not come true")
