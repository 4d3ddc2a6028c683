"""The one writer: what many requests write at once becomes one transaction, and each request's part a savepoint in it.

A commit is what a write costs: the disk, the server, a transaction of SQLAlchemy's. All writers wait for each other
anyway, for the audit chain has one end, so those who wait share the next commit. Nobody is answered before it.
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import OperationalError

from fastapi_handoff.store import engine
from fastapi_handoff.store.errors import StoreUnavailable, translated
from fastapi_handoff.store.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from fastapi_handoff.store.turn import Turn
    from fastapi_handoff.store.workers import Job, Outcome

WRITER_LOCK: Final = 0x68616E646F666603
"""The PostgreSQL advisory lock of the one writer."""
MAX_JOBS: Final = 32
"""In one transaction: the first of them waits for the last."""
MAX_PAUSE: Final = 0.01
"""Seconds, at most, between two attempts to become the writer of an SQLite file."""

# All three hold for this transaction only. Triggers that somebody put off to the commit fire before rows are read back.
# A server, a database or a role may be set to answer a commit before it is on the disk (`off`) or on the standby
# (`local`, `remote_write`); what this package answers must be there.
_BECOME_WRITER = f"""
SET CONSTRAINTS ALL IMMEDIATE;
SELECT pg_advisory_xact_lock({WRITER_LOCK});
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') <> 'remote_apply'
"""


def become_writer(connection: Connection, turn: Turn) -> None:
    """Let no other writer, in no process, go on until this transaction ends: what is read here still holds at its end.

    One lock for everything, so no two writers can take two in different orders.
    """
    if connection.dialect.name == "postgresql":
        # Statements of their own: one that locks and reads would read what was there before the lock was granted.
        connection.exec_driver_sql(_BECOME_WRITER)
    else:
        _begin_immediate(connection, turn)


def do_together(connection: Connection, jobs: Sequence[Job]) -> list[Outcome]:
    """Do each job within the caller's transaction; one that fails undoes what itself wrote, and nothing else.

    Raises `StoreUnavailable` where a row that a job inserted is not there at the end.
    """
    ledger = Ledger.of(connection)
    outcomes = [_attempt(connection, job, ledger) for job in jobs] if len(jobs) > 1 else [_alone(connection, jobs[0])]
    ledger.read_back(connection)
    return outcomes


def _alone(connection: Connection, job: Job) -> Outcome:
    # What it raises undoes the transaction, so it needs no savepoint.
    return job.work(connection), None


def _attempt(connection: Connection, job: Job, ledger: Ledger) -> Outcome:
    # Not `begin_nested()`: SQLAlchemy compiles its statements anew each time, a sixth of all that a job costs.
    connection.exec_driver_sql("SAVEPOINT one_job")
    mark = ledger.mark()
    try:
        value = job.work(connection)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is for the one who asked
        error = translated(failure)
        try:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_job")
            connection.exec_driver_sql("RELEASE SAVEPOINT one_job")
        except Exception:
            # The transaction is lost, and with it all jobs. The reason is what came first, if the database did.
            if isinstance(error, StoreUnavailable):
                raise error from failure
            raise
        ledger.back_to(mark)
        return None, error
    connection.exec_driver_sql("RELEASE SAVEPOINT one_job")
    return value, None


def _begin_immediate(connection: Connection, turn: Turn) -> None:
    # SQLite's own waiting for a lock could not be cut, and lets a process that writes without a pause go before all.
    deadline = time.monotonic() + engine.LOCK_TIMEOUT
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            if not is_busy(error.orig) or turn.is_cut or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(random.uniform(0, MAX_PAUSE))  # noqa: S311 - so that two waiters do not march in step


def is_busy(error: BaseException | None) -> bool:
    """Return whether an error of SQLite's means that somebody else holds a lock."""
    # The low byte is the kind of the error, the rest says more about it.
    return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
