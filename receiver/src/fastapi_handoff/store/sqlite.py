"""SQLite for an event loop: statements run where they are called, only a commit runs in a thread.

The usual driver, aiosqlite, sends each step of each statement through a thread: eleven switches for one audit record,
three milliseconds of CPU where SQLite itself needs a tenth of that. But within a transaction nothing waits for
anything: the lock is held and the pages are in memory. What waits is the lock, which is asked for again and again,
blocking two milliseconds at most (`begin`), and the disk, which only a commit waits for.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_

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
    """A connection whose cursors are buffered, and which reads any text.

    An SQLite column holds whatever was put there. Bytes that are no UTF-8 would be an error of the driver, and whoever
    put them there could keep `audit verify` from naming them; so they become lone surrogates, which equal no real text.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")

    def cursor(self, factory: Any = BufferedCursor) -> Any:
        """Make a cursor."""
        return super().cursor(factory)


class InlineSQLite(SQLiteDialect_pysqlite):
    """The dialect. Everything but `do_commit` is SQLAlchemy's own, made to look asynchronous."""

    driver = "fastapi_handoff"
    is_async = True
    supports_statement_cache = True
    has_terminate = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # One thread: a file has one writer.
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="fastapi-handoff-commit")

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
        """Commit, in the other thread."""
        if dbapi_connection.in_transaction:
            await_(_to_its_end(self._commits, dbapi_connection.commit))

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
