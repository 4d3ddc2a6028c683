"""The store: opening, writing, reading, purging."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, select, tuple_

from fastapi_handoff.store import engine, migrate, writer
from fastapi_handoff.store.errors import StoreUnavailable, translated
from fastapi_handoff.store.ledger import OPTION, Ledger
from fastapi_handoff.store.tables import proof_ids, public_keys, subject_token_bindings
from fastapi_handoff.store.workers import CLOSED, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Delete

    from fastapi_handoff.store.turn import Turn
    from fastapi_handoff.store.workers import Job, Outcome

Result = TypeVar("Result")

PURGE_BATCH = 1000
"""Rows that a purge deletes in one job, so that requests do not wait for it."""


class Store:
    """A receiver's database, used from one event loop.

    What it does is done in threads of its own: one that writes, some that read. A job is a function that takes an
    SQLAlchemy `Connection` and returns values, not cursors: the connection is used by others when it has returned.

    Every failure of the database is a `StoreUnavailable`; an `IntegrityError` (a guard: this proof id was used, this
    token is bound) comes out as it is. An open store needs no repair after a failure: the next
    use connects anew.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Take `sqlite:///file` or `postgresql+psycopg://…`; `ValueError` for any other. Connects to nothing yet.

        A `read_only` store is opened as it is: neither created, nor migrated, nor written.
        """
        self._url = engine.parse(url)
        self._read_only = read_only
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.ledger = Ledger()
        """What this process knows about what it wrote."""
        self._write_engine = engine.create(self._url, "write", read_only=read_only).execution_options(
            **{OPTION: self.ledger}
        )
        self._read_engine = engine.create(self._url, "read", read_only=read_only)
        self._writer = Workers("writer", self._write_together, together=writer.MAX_JOBS)
        self._readers = Workers("reader", self._read_one, threads=engine.READERS)
        self._path = engine.sqlite_path(self._url)
        self._files: dict[str, engine.FileIdentity] = {}
        """The files that were opened, by path: the database and its write-ahead log."""
        self._held: Connection | None = None
        self._is_open = False

    async def open(self) -> None:
        """Bring the schema to what this version needs, or say why not. May be called again after a failure."""
        # Only these jobs get past the closed door: a schema of another version must not be used, not even read.
        self._writer.open()
        self._readers.open()
        if not self._read_only:
            if self.is_sqlite:
                await self._readers.do(migrate.write_ahead_log)
            await self._writer.do(migrate.upgrade)
        await self._readers.do(migrate.require_head)
        if self.is_sqlite and not self._read_only:
            await self._readers.do(self._hold_files)
        self._is_open = True

    async def close(self) -> None:
        """End what is under way and close the connections; `read` and `write` refuse until the next `open()`."""
        self._is_open = False
        await self._writer.close()
        await self._readers.close()
        with ThreadPoolExecutor(1) as thread:  # the last connection that is closed writes SQLite's log into the file
            await asyncio.get_running_loop().run_in_executor(thread, self._close_connections)

    async def write(self, job: Callable[[Connection], Result], *, urgent: bool = False) -> Result:
        """Do `job` in a transaction of the one writer, and return what it returns once that is committed.

        Whatever `job` raises undoes what it wrote, and comes out. Several callers' jobs may share a transaction, one
        after the other; from its begin to its end no other process writes by this method either. An `urgent` job goes
        before those that wait. Raises `StoreUnavailable` until `open()` has returned.
        """
        self._require_open()
        return await self._writer.do(job, urgent=urgent)

    async def read(self, job: Callable[[Connection], Result]) -> Result:
        """Return what `job` reads. Each of its statements sees what is committed when it starts.

        Raises `StoreUnavailable` until `open()` has returned.
        """
        self._require_open()
        return await self._readers.do(job)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Read one moment's state through many statements, for as long as it takes, in the caller's own thread.

        For commands: it blocks, needs no `open()`, and has a connection of its own, which it closes.
        """
        with (
            _database_failures(),
            engine.create(self._url, "snapshot", read_only=True).connect() as connection,
            connection.begin(),
        ):
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            migrate.require_head(connection)
            yield connection

    async def purge(self, now: int) -> int:
        """Delete bindings, proof ids and public keys that expired before `now` (unix seconds); return how many."""
        purged = 0
        for column in (subject_token_bindings.c.expires_at, proof_ids.c.expires_at, public_keys.c.not_after):
            key = column.table.primary_key.columns
            expired = select(*key).where(column < now).limit(PURGE_BATCH)
            delete_some = partial(_rows_changed, statement=delete(column.table).where(tuple_(*key).in_(expired)))
            rows = PURGE_BATCH
            while rows == PURGE_BATCH:
                rows = await self.write(delete_some)
                purged += rows
        return purged

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable(CLOSED)

    def _write_together(self, jobs: Sequence[Job], turn: Turn) -> list[Outcome]:
        with _database_failures():
            self._require_same_file()
            with turn.connect(self._write_engine) as connection:
                self.ledger.begin()
                with connection.begin():
                    writer.become_writer(connection, turn)
                    outcomes = writer.do_together(connection, jobs)
                self.ledger.commit()
                return outcomes

    def _read_one(self, jobs: Sequence[Job], turn: Turn) -> list[Outcome]:
        with _database_failures(), turn.connect(self._read_engine) as connection:
            return [(job.work(connection), None) for job in jobs]

    def _hold_files(self, _: Connection) -> None:
        """Note which files are open, and keep a connection idle: the last one that is closed deletes the log."""
        if self._held is None:
            self._held = engine.create(self._url, "snapshot", read_only=False).connect()
        # It opens the log, and moves the schema out of it.
        self._held.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").close()
        self._held.rollback()
        # Behind a link, the log is where the file itself is.
        found = {name: engine.file_identity(name) for name in (str(self._path), f"{self._path.resolve()}-wal")}
        self._files = {name: identity for name, identity in found.items() if identity is not None}

    def _require_same_file(self) -> None:
        # SQLite goes on writing into a file that was deleted or replaced, and nobody will ever read what it wrote.
        for path, identity in self._files.items():
            if engine.file_identity(path) != identity:
                raise StoreUnavailable(f"`{path}` is not the file that was opened: put it back, or restart")

    def _close_connections(self) -> None:
        self._files = {}
        self._read_engine.dispose()
        self._write_engine.dispose()
        if self._held is not None:
            self._held.close()
            self._held = None


def _rows_changed(connection: Connection, statement: Delete) -> int:
    return connection.execute(statement).rowcount


@contextmanager
def _database_failures() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        failure = translated(error)
        if failure is error:
            raise
        raise failure from error
