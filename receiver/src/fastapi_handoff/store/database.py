"""The store: opening, transactions, purging."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, text
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util.concurrency import greenlet_spawn

from fastapi_handoff.store import engine, migrate, sqlite
from fastapi_handoff.store.errors import StoreUnavailable, translated
from fastapi_handoff.store.tables import proof_ids, public_keys, subject_token_bindings
from fastapi_handoff.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

Result = TypeVar("Result")

PURGE_LOCK = 0x68616E646F666601
"""The PostgreSQL advisory lock of a purge: two at once would delete the same rows in two orders, and deadlock."""


class Store:
    """A receiver's database, on one event loop.

    Every failure of the database, in any of the methods and inside their contexts, is a `StoreUnavailable`. A store
    needs no repair after one: the next use connects anew.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Take `sqlite:///file` or `postgresql+psycopg://…`; `ValueError` for any other. Connects to nothing yet.

        A `read_only` store is opened as it is: neither created, nor migrated, nor written.
        """
        self._url = engine.parse(url)
        self._read_only = read_only
        self._engine = engine.create(self._url, read_only=read_only)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writing = self._engine.execution_options(**{engine.BEGIN: "IMMEDIATE"})
            self._snapshots = self._engine.execution_options(**{engine.BEGIN: "DEFERRED"})
            self._single_reads = self._engine
        else:
            self._writing = self._engine
            self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ")
            self._single_reads = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._path = engine.sqlite_path(self._url)
        self._files: dict[str, engine.FileIdentity] = {}
        """The files that were opened, by path: the database and its write-ahead log."""
        self._held: AsyncConnection | None = None
        self._turn = self._new_turn()
        self._writer = Writer(self._transact)
        self._kept: Connection | None = None

    async def open(self) -> None:
        """Bring the schema to what this version needs, or say why not. May be called again after a failure."""
        self._writer.open()
        if not self._read_only:
            if self.is_sqlite:
                with _database_failures():
                    await migrate.write_ahead_log(self._engine)
            async with self.transaction() as connection:
                await migrate.upgrade(connection)
        async with self.reading() as connection:
            await migrate.require_head(connection)
        if self.is_sqlite and not self._read_only:
            with _database_failures():
                await self._hold_files()

    async def stop_writing(self) -> None:
        """End the transaction of `write()` that is under way, and refuse what waits for the next."""
        await self._writer.stop()

    async def close(self) -> None:
        """Close the connections; `write()` refuses until the next `open()`."""
        await self._writer.close()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await greenlet_spawn(kept.close)
        if self._held is not None:
            held, self._held = self._held, None
            await held.close()
        self._files = {}
        self._turn = self._new_turn()  # the next event loop needs a lock of its own
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Write all of what happens inside, or nothing of it.

        An `IntegrityError` (a guard: this proof id was used, this token is bound) comes out as it is.
        """
        with _database_failures():
            self._require_same_file()
            async with _in_time(), self._turn, self._writing.begin() as connection:
                yield connection

    async def read(self, job: Callable[[Connection], Result]) -> Result:
        """Do `job` on a connection that only reads, and return what it returns."""
        async with self.reading() as connection:
            return await connection.run_sync(job)

    async def write(self, work: Callable[[Connection], Result], *, urgent: bool = False) -> Result:  # noqa: ARG002
        """Do `work` in a transaction of the one writer, and give what it returns once it is committed.

        Whatever `work` raises undoes what it wrote, and comes out. Several callers' works may share a transaction, one
        after the other; from its begin to its end no other process writes by this method either.
        """
        return await self._writer.do(work)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read. Each statement sees what is committed when it starts."""
        with _database_failures():
            async with _in_time(), self._single_reads.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Read one moment's state through many statements, for as long as it takes."""
        with _database_failures():
            async with self._snapshots.begin() as connection:
                if not self.is_sqlite:  # who pipes an export into a pager may pause
                    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                yield connection

    async def purge(self, now: int) -> int:
        """Delete bindings, proof ids and public keys that expired before `now` (unix seconds); count them."""
        async with self.transaction() as connection:
            if not self.is_sqlite:
                taken = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PURGE_LOCK})
                if not taken:
                    return 0
            rows = 0
            for column in (subject_token_bindings.c.expires_at, proof_ids.c.expires_at, public_keys.c.not_after):
                rows += (await connection.execute(delete(column.table).where(column < now))).rowcount
            return rows

    async def _transact(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction.

        One switch into SQLAlchemy's synchronous world instead of three for each statement.
        """

        has_begun = False

        def begin_and_work() -> Result:
            nonlocal has_begun
            with self._writing_connection() as connection, connection.begin():
                has_begun = True
                return work(connection)

        with _database_failures():
            self._require_same_file()
            # Not `_in_time()`: a writer that is stopped during a commit that goes well answers first, and stops then.
            async with asyncio.timeout(engine.TRANSACTION_TIMEOUT), self._turn:
                if self._needs_no_wait():
                    try:
                        return begin_and_work()
                    except MissingGreenlet:
                        if has_begun:
                            raise
                        # The turn to write is another's, and is to be waited for after all.
                return await greenlet_spawn(begin_and_work)

    def _needs_no_wait(self) -> bool:
        dialect = self._engine.dialect
        return self._kept is not None and isinstance(dialect, sqlite.InlineSQLite) and dialect.commits.next_is_here

    @contextmanager
    def _writing_connection(self) -> Iterator[Connection]:
        """Give the writer's connection.

        SQLite's is kept for the next time, which saves the way from the pool and back. A server's is not: it may be
        closed meanwhile, which is noticed when it is taken.
        """
        connection = self._kept or self._writing.sync_engine.connect()
        self._kept = None
        try:
            yield connection
            if self.is_sqlite:
                self._kept = connection
        finally:
            if self._kept is None:
                connection.close()

    def _new_turn(self) -> AbstractAsyncContextManager[None]:
        # SQLite has one writer at a time and its waiters sleep and try again: within a process, queue instead.
        return asyncio.Lock() if self.is_sqlite else nullcontext()

    async def _hold_files(self) -> None:
        """Note which files are open, and keep a connection idle: the last one that is closed deletes the log."""
        if self._held is None:
            self._held = await self._engine.connect()
        # It opens the log, and moves the schema out of it.
        await self._held.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
        await self._held.rollback()
        # Behind a link, the log is where the file itself is.
        found = {name: engine.file_identity(name) for name in (str(self._path), f"{self._path.resolve()}-wal")}
        self._files = {name: identity for name, identity in found.items() if identity is not None}

    def _require_same_file(self) -> None:
        # SQLite goes on writing into a file that was deleted or replaced, and nobody will ever read what it wrote.
        for path, identity in self._files.items():
            if engine.file_identity(path) != identity:
                raise StoreUnavailable(f"`{path}` is not the file that was opened: put it back, or restart")


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Cancel what takes longer than a transaction may."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    async with asyncio.timeout(engine.TRANSACTION_TIMEOUT):
        yield
    # SQLite's commit goes to its end whoever cancels it. If that was the timeout, all is well; if not, it is due now.
    if task is not None and task.cancelling() > cancelled_before:
        raise asyncio.CancelledError


@contextmanager
def _database_failures() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        failure = translated(error)
        if failure is error:
            raise
        raise failure from error
