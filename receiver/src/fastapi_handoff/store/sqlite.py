"""SQLite for an event loop: statements run where they are called, and commits too while the disk is quick.

The usual driver, aiosqlite, sends each step of each statement through a thread: eleven switches for one audit record,
three milliseconds of CPU where SQLite itself needs a tenth of that. But within a transaction nothing waits for
anything: the lock is held and the pages are in memory. What waits is the lock, which is asked for again and again,
blocking two milliseconds at most (`begin`), and the disk, which only a commit and a checkpoint wait for (`Commits`).
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_, in_greenlet

from fastapi_handoff.store.waiting import until_done

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection, ExecutionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
    from sqlalchemy.pool import Pool

DRIVER = "sqlite+fastapi_handoff"
BUSY_TIMEOUT = 0.002
"""Seconds that SQLite itself waits for a lock; the event loop waits with it, so not long."""
MAX_PAUSE = 0.01
"""Seconds, at most, between two attempts to become the writer."""
QUICK_COMMIT = 0.002
"""Seconds that a commit may block the event loop."""
QUICK_IN_A_ROW = 16
"""Commits that were all quick, after which the next one is taken to be."""
ROWS_PER_CHECKPOINT = 256
"""Rows written, after which what was committed is moved to its place: some 1,500 pages, for most rows have indexes."""
PAGES_PER_CHECKPOINT = 4000
"""Pages in the log, whoever wrote them, after which SQLite itself moves them at the end of a commit.

A process that writes less than `ROWS_PER_CHECKPOINT` in its life moves nothing, and another may follow it.
"""


class BufferedCursor(sqlite3.Cursor):
    """A cursor that has read all its rows: one left open would keep an old state of the file alive."""

    _buffered: deque[Any]

    def execute(self, sql: str, parameters: Any = (), /) -> BufferedCursor:
        """Run a statement and read its rows."""
        super().execute(sql, parameters)
        self._buffered = deque(super().fetchall() if self.description else ())
        return self

    def fetchone(self) -> Any:
        """Give the next row, or `None`."""
        return self._buffered.popleft() if self._buffered else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Give the next `size` rows."""
        return [self._buffered.popleft() for _ in range(min(size or self.arraysize, len(self._buffered)))]

    def fetchall(self) -> list[Any]:
        """Give the rows that are left."""
        rows = list(self._buffered)
        self._buffered.clear()
        return rows

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._buffered:
            raise StopIteration
        return self._buffered.popleft()

    async def _async_soft_close(self) -> None:
        """Close nothing: SQLAlchemy's asynchronous connection calls this when it hands out the rows."""


class SQLiteConnection(sqlite3.Connection):
    """A connection whose cursors are buffered, which reads any text, and counts the rows it changes.

    An SQLite column holds whatever was put there. Bytes that are no UTF-8 would be an error of the driver, and whoever
    put them there could keep `audit verify` from naming them; so they become lone surrogates, which equal no real text.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        self.rows_counted = 0
        """Of `total_changes`, by `Commits`."""

    def rows_to_count(self) -> int:
        """Give the rows that were changed since `rows_counted`."""
        return (self.total_changes - self.rows_counted) % 2**32  # `total_changes` is a C `int`, and wraps

    def cursor(self, factory: Any = BufferedCursor) -> Any:
        """Make a cursor."""
        return super().cursor(factory)


class Commits:
    """Commits where that costs least: in this thread while the disk is quick, in another one otherwise.

    To another thread and back takes more CPU time than all the statements of an event. But while a commit in this
    thread waits for its disk, the app stands still: so the first slow one sends the next ones to the other thread,
    until they have been quick for a while. Checkpoints, which write everything once more, are done there, and seldom
    by SQLite itself at the end of some commit.
    """

    def __init__(self) -> None:
        # One thread: a file has one writer.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastapi-handoff-commit")
        self._quick_in_a_row = 0
        self._rows_since_checkpoint = 0

    @property
    def next_is_here(self) -> bool:
        """Whether the next commit is done in this thread."""
        return self._quick_in_a_row >= QUICK_IN_A_ROW and not self._checkpoint_is_due

    @property
    def _checkpoint_is_due(self) -> bool:
        return self._rows_since_checkpoint >= ROWS_PER_CHECKPOINT

    def commit(self, connection: SQLiteConnection) -> None:
        """Commit a transaction of `connection`, from within SQLAlchemy; here if nothing can be waited for."""
        is_large = connection.rows_to_count() >= ROWS_PER_CHECKPOINT  # no purge of a million rows is quick
        if not in_greenlet() or (self.next_is_here and not is_large):
            self._commit(connection)
        else:
            await_(_to_its_end(self._thread, partial(self._commit_there, connection)))

    def _commit(self, connection: SQLiteConnection) -> None:
        started = time.perf_counter()
        try:
            connection.commit()
        except BaseException:
            self._quick_in_a_row = 0  # a disk that fails may take its time over it, each time anew
            raise
        is_quick = time.perf_counter() - started < QUICK_COMMIT
        rows = connection.rows_to_count()
        if not is_quick:
            self._quick_in_a_row = 0
        elif rows:  # a commit of nothing does not ask the disk
            self._quick_in_a_row += 1
        self._rows_since_checkpoint += rows
        connection.rows_counted += rows

    def _commit_there(self, connection: SQLiteConnection) -> None:
        self._commit(connection)
        if self._checkpoint_is_due:
            self._rows_since_checkpoint = 0
            # What was committed is committed, whatever becomes of this; the next one does what it left.
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


class InlineSQLite(SQLiteDialect_pysqlite):
    """The dialect. Everything but `do_commit` is SQLAlchemy's own, made to look asynchronous."""

    driver = "fastapi_handoff"
    is_async = True
    supports_statement_cache = True
    has_terminate = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commits = Commits()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:  # noqa: ARG003
        """Give a pool that waits without blocking."""
        return AsyncAdaptedQueuePool

    def do_execute(
        self,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: ExecutionContext | None = None,  # noqa: ARG002
    ) -> None:
        """Run a statement, in this thread."""
        _pretend_to_wait()
        cursor.execute(statement, parameters)

    def do_executemany(
        self,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: ExecutionContext | None = None,  # noqa: ARG002
    ) -> None:
        """Run a statement for each of several rows, in this thread."""
        _pretend_to_wait()
        cursor.executemany(statement, parameters)

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit, without blocking the event loop for long."""
        if dbapi_connection.in_transaction:
            self.commits.commit(dbapi_connection.dbapi_connection)  # not the pool's proxy: it forgets what is counted

    def do_terminate(self, dbapi_connection: DBAPIConnection) -> None:
        """Close a connection that nobody returned."""
        dbapi_connection.close()


def begin(connection: Connection, kind: str, lock_timeout: float) -> None:
    """Begin a transaction, waiting for the writer before us at most `lock_timeout` seconds."""
    deadline = time.monotonic() + lock_timeout
    dbapi_connection: Any = connection.connection.dbapi_connection
    while True:
        try:
            dbapi_connection.execute(f"BEGIN {kind}")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        else:
            return
        await_(asyncio.sleep(random.uniform(0, MAX_PAUSE)))  # noqa: S311 - so that two waiters do not march in step


def is_busy(error: BaseException | None) -> bool:
    """Tell whether an error means that somebody else holds a lock."""
    # The low byte is the kind of the error, the rest says more about it.
    return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _pretend_to_wait() -> None:
    # SQLAlchemy refuses a statement during which nothing was awaited: it takes that for a driver of the wrong kind.
    if in_greenlet():
        await_(_nothing())


async def _nothing() -> None:
    pass


async def _to_its_end(executor: ThreadPoolExecutor, function: Callable[[], None]) -> None:
    # Whoever is cancelled waits for its commit all the same: the connection is not free before. And what was committed
    # is not said to have failed.
    future = asyncio.get_running_loop().run_in_executor(executor, function)
    await until_done(future)
    future.result()


registry.register("sqlite.fastapi_handoff", __name__, InlineSQLite.__name__)
