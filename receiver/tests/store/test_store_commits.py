"""SQLite's commits: told truly, and what they leave in the write-ahead log is moved to its place."""

from __future__ import annotations

import asyncio
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, make_url

from fastapi_handoff.store import Store, StoreUnavailable
from helpers.fixtures_store import adding, connect

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW = 0.2
"""Seconds of a slow commit."""
CHECKPOINT = 1000 * 4096
"""Bytes in the log after which SQLite moves them at the end of a commit."""


@pytest.fixture
def backend() -> str:
    """PostgreSQL commits by itself."""
    return "sqlite"


@pytest.fixture
def wal(store_url: str) -> Path:
    """The write-ahead log."""
    return Path(f"{make_url(store_url).database}-wal")


async def write(store: Store, names: str, count: int) -> None:
    """Write one after the other."""
    for number in range(count):
        await store.write(adding(f"{names}-{number}"))


def size_of(path: Path) -> int:
    return path.stat().st_size


def held_open(start: str) -> list[str]:
    """The files that this process holds open, of those whose path begins so."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
    return [target for link in links if (target := str(link.readlink())).startswith(start)]


async def test_slow_commit_does_not_hold_the_event_loop_up(store: Store) -> None:
    may_commit = threading.Event()
    event.listen(store._write_engine, "commit", lambda _: may_commit.wait(10))
    writing = asyncio.create_task(store.write(adding("1")))
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert not writing.done()
    may_commit.set()
    assert await writing == "1"


async def test_commit_that_fails_is_told_and_leaves_the_store_working(
    store: Store, sql: Callable[..., list[tuple[Any]]]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What a transaction wrote is in memory until its commit writes it to the log.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        outcomes = await asyncio.gather(*(store.write(adding(f"lost-{n}")) for n in range(9)), return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert "disk" in str(outcomes[0])
    await store.write(adding("kept"))
    assert sql("SELECT jti FROM proof_ids") == [("kept",)]


async def test_write_ahead_log_stays_small(store: Store, wal: Path) -> None:
    await write(store, "many", 3000)  # some pages each
    assert size_of(wal) < 2 * CHECKPOINT


async def test_log_stays_small_while_many_read(store: Store, wal: Path) -> None:
    """A reader holds a checkpoint up for as long as it reads; no two of them may do so in turn for ever."""
    reading = True

    async def read() -> None:
        while reading:
            await store.read(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM proof_ids").scalar())

    readers = [asyncio.create_task(read()) for _ in range(4)]
    await write(store, "many", 2000)
    reading = False
    await asyncio.gather(*readers)
    assert size_of(wal) < 3 * CHECKPOINT


async def test_log_stays_small_though_no_process_lives_long(store: Store, store_url: str, wal: Path) -> None:
    await store.write(adding("this one is idle and holds the file open"))
    for life in range(20):
        short_lived = Store(store_url)
        await short_lived.open()
        await write(short_lived, str(life), 100)
        await short_lived.close()
    assert size_of(wal) < 2 * CHECKPOINT


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks can be eager since Python 3.12")
async def test_writes_are_answered_in_an_app_whose_tasks_are_eager(store: Store) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    async with asyncio.timeout(20):
        await asyncio.gather(*(write(store, str(task), 5) for task in range(5)))


async def test_store_opened_again_does_not_write_into_the_file_it_had(store: Store, store_url: str) -> None:
    has_begun = threading.Event()
    may_commit = threading.Event()

    def wait(_: object) -> None:
        has_begun.set()
        may_commit.wait(SLOW)

    async def write_again_once_told() -> None:
        with suppress(StoreUnavailable):
            await store.write(adding("refused"))
        await store.write(adding("late"))

    event.listen(store._write_engine, "commit", wait)
    under_way = asyncio.create_task(store.write(adding("first")))
    await asyncio.to_thread(has_begun.wait, 10)
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


async def test_closed_store_holds_no_file_open(store: Store, store_url: str) -> None:
    await write(store, "some", 5)
    await asyncio.gather(*(store.read(lambda connection: connection.exec_driver_sql("SELECT 1")) for _ in range(9)))
    database = make_url(store_url).database
    assert database is not None
    assert held_open(database)
    await store.close()
    assert held_open(database) == []
