"""Where SQLite's commits are done: on the event loop while the disk is quick, in a thread otherwise."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, make_url
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util.concurrency import await_

from fastapi_handoff.store import Store, StoreUnavailable, proof_ids
from fastapi_handoff.store import sqlite as sqlite_store
from fixtures_store import adding, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

HERE, THERE = "here", "there"
SLOW = 0.2
"""Seconds of a slow commit."""


@pytest.fixture
def backend() -> str:
    """PostgreSQL commits by itself."""
    return "sqlite"


class Disk:
    """How long each commit takes, and where each was done."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: sqlite3.Error | None = None
        self.places: list[str] = []
        self.statements: list[str] = []


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of a store that is opened after this."""
    disk = Disk()

    class Watched(sqlite_store.SQLiteConnection):
        def commit(self) -> None:
            disk.places.append(HERE if threading.current_thread() is threading.main_thread() else THERE)
            time.sleep(disk.seconds)
            if disk.error is not None:
                raise disk.error
            super().commit()

        def execute(self, sql: str, *rest: Any) -> Any:
            if "checkpoint" in sql:
                disk.statements.append(sql)
                if disk.error is not None:
                    raise disk.error
            return super().execute(sql, *rest)

    monkeypatch.setattr(sqlite_store, "SQLiteConnection", Watched)
    # Far apart from what a busy machine makes of a quick commit.
    monkeypatch.setattr(sqlite_store, "QUICK_COMMIT", SLOW / 2)
    monkeypatch.setattr(sqlite_store, "QUICK_IN_A_ROW", 4)
    return disk


@pytest.fixture
def wal(store_url: str) -> Path:
    """The write-ahead log."""
    return Path(f"{make_url(store_url).database}-wal")


async def write(store: Store, disk: Disk, count: int) -> list[str]:
    """Write one after the other; tell where they were committed."""
    before = len(disk.places)
    for number in range(count):
        await store.write(adding(f"{before}-{number}"))
    return disk.places[before:]


def size_of(path: Path) -> int:
    return path.stat().st_size


def held_open(start: str) -> list[str]:
    """The files that this process holds open, of those whose path begins so."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
    return [target for link in links if (target := str(link.readlink())).startswith(start)]


async def until_here(store: Store, disk: Disk) -> None:
    await write(store, disk, 2 * sqlite_store.QUICK_IN_A_ROW)
    assert (await write(store, disk, 1)) == [HERE]


async def test_commits_move_to_the_event_loop_once_they_have_been_quick_for_a_while(disk: Disk, store: Store) -> None:
    disk.places.clear()
    disk.seconds = SLOW
    assert await write(store, disk, sqlite_store.QUICK_IN_A_ROW + 4) == [THERE] * (sqlite_store.QUICK_IN_A_ROW + 4)
    disk.seconds = 0.0
    assert await write(store, disk, sqlite_store.QUICK_IN_A_ROW) == [THERE] * sqlite_store.QUICK_IN_A_ROW
    assert await write(store, disk, 4) == [HERE] * 4


async def test_slow_commit_holds_the_event_loop_up_once_and_the_next_do_not(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    disk.seconds = SLOW
    assert await write(store, disk, 1) == [HERE]
    longest = 0.0

    async def feel() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    feeling = asyncio.create_task(feel())
    assert await write(store, disk, 3) == [THERE] * 3
    feeling.cancel()
    assert 0 < longest < SLOW / 2
    disk.seconds = 0.0
    assert await write(store, disk, 2) == [THERE] * 2


async def test_others_have_their_turn_between_groups_while_commits_are_done_here(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    writes = [asyncio.create_task(store.write(adding(f"many-{number}"))) for number in range(200)]
    turns_while_some_wait = 0
    while not all(task.done() for task in writes):
        await asyncio.sleep(0)
        turns_while_some_wait += 0 < sum(task.done() for task in writes) < len(writes)
    assert turns_while_some_wait >= 3
    assert [await task for task in writes] == [f"many-{number}" for number in range(200)]


async def test_turn_to_write_is_waited_for_where_commits_are_done_here(
    disk: Disk, store: Store, store_url: str
) -> None:
    await until_here(store, disk)
    done: list[str] = []

    def work(connection: Connection) -> None:
        done.append(adding("waited")(connection))

    with connect(store_url) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.write(work))
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        assert done == []
        other.rollback()
        await waiting
    assert done == ["waited"]


async def test_commit_that_fails_here_is_told_and_leaves_the_store_working(
    disk: Disk, store: Store, sql: Callable[..., list[tuple[Any]]]
) -> None:
    await until_here(store, disk)
    disk.error = sqlite3.OperationalError("disk I/O error")
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        await store.write(adding("lost"))
    disk.error = None
    await store.write(adding("kept"))
    assert sql("SELECT jti FROM proof_ids WHERE jti IN ('lost', 'kept')") == [("kept",)]


async def test_commits_after_one_that_failed_are_done_in_the_thread(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    disk.places.clear()
    disk.seconds, disk.error = SLOW, sqlite3.OperationalError("disk I/O error")
    for number in range(3):
        with pytest.raises(StoreUnavailable):
            await store.write(adding(f"lost-{number}"))
    assert disk.places == [HERE, THERE, THERE]
    disk.seconds, disk.error = 0.0, None
    await until_here(store, disk)


async def test_write_ahead_log_stays_small(disk: Disk, store: Store, wal: Path) -> None:
    await write(store, disk, 10 * sqlite_store.ROWS_PER_CHECKPOINT)
    assert len(disk.statements) >= 9
    # A log that nobody checkpoints would have some pages for each of them.
    assert size_of(wal) < 3 * sqlite_store.ROWS_PER_CHECKPOINT * 3 * 4096


async def test_log_stays_small_though_no_process_lives_long_enough_to_move_it(
    store: Store, store_url: str, wal: Path
) -> None:
    await store.write(adding("this one is idle and holds the file open"))
    for life in range(20):
        short_lived = Store(store_url)
        await short_lived.open()
        for number in range(100):
            await short_lived.write(adding(f"{life}-{number}"))
        await short_lived.close()
    assert size_of(wal) < 1.5 * sqlite_store.PAGES_PER_CHECKPOINT * 4096


async def test_rows_are_counted_once_however_often_the_connection_is_returned(disk: Disk, store: Store) -> None:
    def refused(_: Connection) -> None:
        raise RuntimeError("refused")

    await write(store, disk, 2 * sqlite_store.ROWS_PER_CHECKPOINT)
    checkpoints = len(disk.statements)
    for number in range(50):
        with pytest.raises(RuntimeError, match="refused"):
            await store.write(refused)
        await store.write(adding(f"after {number} refusals"))
    assert len(disk.statements) <= checkpoints + 1


def test_rows_are_counted_across_the_end_of_the_drivers_number(tmp_path: Path) -> None:
    class Old(sqlite_store.SQLiteConnection):
        total_changes = -(2**31) + 1  # type: ignore[assignment]  # one more than 2**31, as the driver tells it

    connection = Old(tmp_path / "some.db")
    connection.rows_counted = 2**31 - 1
    assert connection.rows_to_count() == 2
    connection.close()


async def test_large_transaction_is_committed_in_the_thread(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    async with store.transaction() as connection:
        rows = [{"jkt": "old", "jti": str(number), "expires_at": 1} for number in range(1000)]
        await connection.execute(insert(proof_ids), rows)
    await until_here(store, disk)
    disk.places.clear()
    assert await store.purge(2) >= 1000
    assert disk.places == [THERE]


async def test_commits_of_nothing_do_not_make_a_disk_quick(disk: Disk, store: Store) -> None:
    disk.seconds = SLOW
    await write(store, disk, 1)
    disk.seconds = 0.0
    for _ in range(2 * sqlite_store.QUICK_IN_A_ROW):
        async with store.transaction():
            pass
    assert await write(store, disk, 1) == [THERE]


async def test_work_that_waits_where_nothing_can_be_waited_for_is_done_once_and_told(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    runs: list[None] = []

    def waiting(_: Connection) -> None:
        runs.append(None)
        await_(asyncio.sleep(0))

    with pytest.raises(MissingGreenlet):
        await store.write(waiting)
    assert len(runs) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks can be eager since Python 3.12")
async def test_writes_are_answered_in_an_app_whose_tasks_are_eager(disk: Disk, store: Store) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    async with asyncio.timeout(20):
        await until_here(store, disk)


async def test_store_opened_again_does_not_write_into_the_file_it_had(store: Store, store_url: str) -> None:
    commits: Any = store._engine.dialect.commits  # type: ignore[attr-defined]

    async def write_again_once_told() -> None:
        with suppress(StoreUnavailable):
            await store.write(adding("refused"))
        await store.write(adding("late"))

    for _ in range(2):  # the commit under way, and the late one
        commits._thread.submit(time.sleep, SLOW)
    under_way = asyncio.create_task(store.write(adding("first")))
    await asyncio.sleep(0.02)
    late = asyncio.create_task(write_again_once_told())
    await asyncio.sleep(0.02)
    await store.close()
    await asyncio.gather(under_way, late, return_exceptions=True)
    database = Path(str(make_url(store_url).database))
    for path in database.parent.glob(f"{database.name}*"):
        path.rename(f"{path}.old")
    await store.open()
    await store.write(adding("new"))
    with connect(store_url) as other:
        assert other.execute("SELECT jti FROM proof_ids").fetchall() == [("new",)]


async def test_checkpoints_are_done_in_the_thread(disk: Disk, store: Store) -> None:
    await until_here(store, disk)
    places = await write(store, disk, sqlite_store.ROWS_PER_CHECKPOINT)
    assert len(disk.statements) == places.count(THERE) == 1


async def test_checkpoint_that_fails_takes_nothing_back(
    disk: Disk, store: Store, monkeypatch: pytest.MonkeyPatch, sql: Callable[..., list[tuple[Any]]]
) -> None:
    monkeypatch.setattr(sqlite_store, "ROWS_PER_CHECKPOINT", 1)
    commit = sqlite_store.Commits._commit

    def commit_and_break(self: sqlite_store.Commits, connection: sqlite_store.SQLiteConnection) -> None:
        commit(self, connection)
        disk.error = sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store.Commits, "_commit", commit_and_break)
        await store.write(adding("kept"))
    assert disk.statements
    disk.error = None
    assert sql("SELECT jti FROM proof_ids") == [("kept",)]


async def test_closed_store_holds_no_file_open(disk: Disk, store: Store, store_url: str) -> None:
    await until_here(store, disk)
    database = make_url(store_url).database
    assert database is not None
    assert held_open(database)
    await store.close()
    assert held_open(database) == []
