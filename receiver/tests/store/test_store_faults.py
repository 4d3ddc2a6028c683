"""Databases that are gone, stand still, are full, locked or damaged: `StoreUnavailable`, then recovery, no hang."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, func, insert, select, text

from fastapi_handoff.audit import append
from fastapi_handoff.store import Store, StoreUnavailable, audit_records, engine, receipts
from fastapi_handoff.store.writer import WRITER_LOCK
from helpers import chain
from helpers.chain import entry
from helpers.fixtures_store import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Connection

    from helpers.postgresql import PostgreSQL


ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


async def add(store: Store) -> None:
    await chain.add(store, entry())


async def count(store: Store) -> int:
    query = select(func.count()).select_from(audit_records)
    return await store.read(lambda connection: connection.scalar(query) or 0)


@pytest.fixture
async def stopped(store: Store, postgresql: PostgreSQL) -> AsyncIterator[Store]:
    """A store that was in use when its server stopped."""
    await add(store)
    postgresql.stop()
    try:
        yield store
    finally:
        postgresql.start()


@ON_POSTGRESQL
async def test_server_that_is_gone_makes_the_store_unavailable_until_it_is_back(
    stopped: Store, postgresql: PostgreSQL
) -> None:
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await add(stopped)
        with pytest.raises(StoreUnavailable):
            await count(stopped)
        with pytest.raises(StoreUnavailable):
            await stopped.purge(0)
    postgresql.start()
    await add(stopped)
    assert await count(stopped) == 2


@ON_POSTGRESQL
async def test_store_opens_once_the_server_that_was_gone_is_back(
    stopped: Store, store_url: str, postgresql: PostgreSQL
) -> None:
    late = Store(store_url)
    with pytest.raises(StoreUnavailable):
        await late.open()
    postgresql.start()
    await late.open()
    await add(late)
    await late.close()


@ON_POSTGRESQL
async def test_restart_between_two_requests_is_not_noticed(store: Store, postgresql: PostgreSQL) -> None:
    # Connections of the writer and of several readers lie in the pools now, and the restart breaks each.
    await asyncio.gather(add(store), *(count(store) for _ in range(5)))
    postgresql.stop()
    postgresql.start()
    await asyncio.gather(*(add(store) for _ in range(6)), *(count(store) for _ in range(6)))
    assert await count(store) == 7


@ON_POSTGRESQL
async def test_connection_that_was_closed_on_this_side_is_replaced(store: Store) -> None:
    for use in (store.read, store.write):
        driver_connection = await use(lambda connection: connection.connection.driver_connection)
        driver_connection.close()
    await add(store)
    assert await count(store) == 1


@ON_POSTGRESQL
async def test_transaction_that_the_server_did_not_survive_wrote_nothing(store: Store, postgresql: PostgreSQL) -> None:
    def add_and_restart(connection: Connection) -> None:
        append(connection, entry(), clock=time.time)
        postgresql.stop()
        postgresql.start()

    with pytest.raises(StoreUnavailable):
        await store.write(add_and_restart)
    assert await count(store) == 0


@ON_POSTGRESQL
async def test_server_that_stands_still_is_not_waited_for(
    store: Store, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.5)
    await add(store)
    postgresql.freeze()
    try:
        # The kernel goes on taking bytes for a process that stands still, so only a deadline of our own can end this.
        started = time.monotonic()
        async with asyncio.timeout(30):
            waits = [add(store) for _ in range(4)] + [count(store) for _ in range(3)]
            results = await asyncio.gather(*waits, return_exceptions=True)
        # Those who came first are told when the transaction's time is over, the next ones no later than that and one
        # vain attempt to connect.
        assert time.monotonic() - started < 0.5 + engine.CONNECT_TIMEOUT + 1
    finally:
        postgresql.thaw()
    assert [type(result) for result in results] == [StoreUnavailable] * 7
    monkeypatch.undo()
    await add(store)
    # Those that gave up may have been committed by the server after all, as after any lost answer, but each as a whole.
    assert 2 <= await count(store) <= 6


@ON_POSTGRESQL
async def test_read_of_a_server_that_stands_still_is_given_up_by_callers_who_come_later_too(
    store: Store, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.5)
    await asyncio.gather(*(count(store) for _ in range(10)))
    postgresql.freeze()
    try:
        async with asyncio.timeout(30):
            results = await asyncio.gather(*(count(store) for _ in range(30)), return_exceptions=True)
    finally:
        postgresql.thaw()
    assert [type(result) for result in results] == [StoreUnavailable] * 30
    monkeypatch.undo()
    assert await count(store) == 0


@ON_POSTGRESQL
async def test_store_is_closed_while_its_server_stands_still(store: Store, postgresql: PostgreSQL) -> None:
    await add(store)
    postgresql.freeze()
    try:
        waiting = [asyncio.create_task(one) for one in (add(store), count(store))]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await store.close()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        postgresql.thaw()
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    await store.open()
    assert 1 <= await count(store) <= 2


async def test_host_that_is_looked_up_for_ever_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver has timeouts of its own, longer than ours, and nothing can interrupt it."""
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.3)
    done: list[None] = []
    has_found = threading.Event()
    event.listen(store._write_engine, "engine_connect", lambda _: time.sleep(1))
    event.listen(store._write_engine.pool, "checkin", lambda *_: has_found.set())
    async with asyncio.timeout(0.8):
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.write(lambda _: done.append(None))
    await asyncio.to_thread(has_found.wait, 10)
    assert done == [], "it is not done later, when nobody waits for it"


@ON_POSTGRESQL
async def test_lock_that_another_client_holds_is_not_waited_for_for_ever(
    store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 1)
    impatient = Store(store_url)
    await impatient.open()
    with connect(store_url) as other:
        other.execute(f"SELECT pg_advisory_lock({WRITER_LOCK})")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await add(impatient)
    await add(impatient)
    await impatient.close()


@ON_POSTGRESQL
async def test_replica_that_stops_amid_an_append_does_not_stop_the_others(
    store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", 1)
    stuck = Store(store_url)
    await stuck.open()

    has_appended, may_go_on = threading.Event(), threading.Event()

    def get_stuck(connection: Connection) -> None:
        append(connection, entry(1), clock=time.time)
        has_appended.set()
        assert may_go_on.wait(20)
        connection.execute(select(1))

    stopped_amid = asyncio.create_task(stuck.write(get_stuck))
    await asyncio.to_thread(has_appended.wait, 20)
    await add(store)  # waits for the server to end the other's transaction
    may_go_on.set()
    with pytest.raises(StoreUnavailable, match="idle-in-transaction"):
        await stopped_amid
    assert await count(store) == 1
    await stuck.close()


@ON_POSTGRESQL
async def test_message_about_a_server_that_refuses_us_keeps_the_password(store_url: str) -> None:
    store = Store(store_url.replace("postgres:@", "postgres:s3cret@").replace("/test_", "/no_such_"))
    with pytest.raises(StoreUnavailable, match="does not exist") as unavailable:
        await store.open()
    assert "s3cret" not in str(unavailable.value)
    await store.close()


async def test_host_that_does_not_resolve_is_unavailable() -> None:
    store = Store("postgresql+psycopg://user:s3cret@no-such-host.invalid/db")
    with pytest.raises(StoreUnavailable) as unavailable:
        await store.open()
    assert "s3cret" not in str(unavailable.value)
    await store.close()


async def test_message_about_a_failed_statement_keeps_its_values(store: Store) -> None:
    def write_to_a_table_that_is_gone(connection: Connection) -> None:
        connection.execute(text("DROP TABLE proof_ids"))
        connection.execute(text("INSERT INTO proof_ids (jkt) VALUES (:jkt)"), {"jkt": "s3cret"})

    with pytest.raises(StoreUnavailable, match="proof_ids") as unavailable:
        await store.write(write_to_a_table_that_is_gone)
    assert "s3cret" not in str(unavailable.value)


@ON_SQLITE
async def test_file_locked_by_another_process_is_unavailable_until_it_is_free(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 0.2)
    with connect(store_url) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await add(store)
        assert await count(store) == 0, "reading goes on"
        other.rollback()
    await add(store)


@ON_SQLITE
async def test_waiting_for_the_lock_of_another_process_does_not_stop_the_event_loop(
    store: Store, store_url: str
) -> None:
    with connect(store_url) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(add(store))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        other.rollback()
        await waiting
    assert await count(store) == 1


@ON_SQLITE
async def test_full_disk_is_unavailable_until_there_is_room(store: Store) -> None:
    async def add_body(event_id: str) -> None:
        values = {
            "issuer": "i",
            "source": "r",
            "event_id": event_id,
            "subject": "s",
            "content_digest": "d",
            "event_type": "t",
        }
        values |= {"state": "running", "identity": "{}", "asserted": "{}", "audit_hash": "h", "scope": ""}
        row = {**values, "body": b"x" * 200_000, "received_at": 0, "audit_seq": 1}
        await store.write(lambda connection: connection.execute(insert(receipts), row))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreUnavailable, match="disk"):
            await add_body("too-large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await add_body("fits")
    ids = await store.read(lambda connection: list(connection.scalars(select(receipts.c.event_id))))
    assert ids == ["fits"]


@ON_SQLITE
async def test_file_that_was_deleted_is_not_written_into(store: Store, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "handoff.db", tmp_path / "elsewhere.db"
    file.rename(elsewhere)
    with pytest.raises(StoreUnavailable, match="put it back"):
        await add(store)
    sqlite3.connect(file).close()
    file.touch()
    with pytest.raises(StoreUnavailable, match="put it back"):
        await store.write(lambda connection: connection.execute(select(1)))
    elsewhere.rename(file)
    await add(store)
    assert await count(store) == 1


@ON_SQLITE
async def test_log_that_was_deleted_is_not_written_into(store: Store, store_url: str, tmp_path: Path) -> None:
    log, elsewhere = tmp_path / "handoff.db-wal", tmp_path / "elsewhere"
    await add(store)
    log.rename(elsewhere)
    with pytest.raises(StoreUnavailable, match=r"handoff\.db-wal` is not the file"):
        await add(store)
    log.touch()
    with pytest.raises(StoreUnavailable, match="put it back"):
        await store.purge(0)
    elsewhere.rename(log)
    await add(store)
    log.unlink()
    with pytest.raises(StoreUnavailable, match="put it back"):
        await add(store)
    await store.close()
    await store.open()
    await add(store)
    assert await count(store) == 3, "what was in the log is moved into the file when it is closed"


@ON_SQLITE
async def test_log_that_sqlite_itself_deletes_or_moves_is_no_alarm(store: Store, store_url: str) -> None:
    for _ in range(3):
        await add(store)
        other = Store(store_url)
        await other.open()
        await add(other)
        with connect(store_url) as connection:
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        await add(store)
        await add(other)
        await other.close()
        await add(store)
        with pytest.raises(RuntimeError, match="undone"):
            await store.write(undone)
        await store.close()
        await store.open()
    await add(store)
    assert await count(store) == 16


def undone(_: object) -> None:
    raise RuntimeError("undone")


@ON_SQLITE
async def test_store_behind_a_link_is_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(tmp_path / "handoff.db")
    linked = Store(f"sqlite:///{link}")
    await linked.open()
    await add(linked)
    await linked.close()
    assert await count(store) == 1


@ON_SQLITE
async def test_schema_is_in_the_file_itself_once_the_store_is_open(store: Store, tmp_path: Path) -> None:
    alone = tmp_path / "alone.db"
    alone.write_bytes((tmp_path / "handoff.db").read_bytes())
    with connect(f"sqlite:///{alone}") as connection:
        assert connection.execute("SELECT count(*) FROM audit_records").fetchone() == (0,)


@ON_SQLITE
async def test_file_that_is_no_database_is_named_as_such(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "handoff.db").write_bytes(b"not a database" * 1000)
    store = Store(store_url)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.open()
    await store.close()


async def test_folder_that_does_not_exist_is_unavailable(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'no' / 'handoff.db'}")
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await store.open()
    await store.close()
