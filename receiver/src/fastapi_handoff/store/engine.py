"""From a store's URL to an engine whose connections never hang and never lose a commit."""

from __future__ import annotations

import importlib.util
import os
import select
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fastapi_handoff.store import sqlite

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

LOCK_TIMEOUT = 5
"""Seconds to wait for a lock that another writer holds."""
CONNECT_TIMEOUT = 3
"""Seconds to wait for a connection, from the pool or from the server."""
STATEMENT_TIMEOUT = 10
"""Seconds one statement may take."""
TRANSACTION_TIMEOUT = 15
"""Seconds a transaction may take as a whole, and seconds a writer may wait for one to begin.

The server's own timeouts do not help when the server itself stands still, so this one is kept by the client.
"""

BEGIN = "handoff_begin"
"""The execution option that says how SQLite begins: `IMMEDIATE` for a writer, `DEFERRED` for a snapshot."""


def parse(url: str) -> URL:
    """Parse a store's URL; `ValueError` says what is wrong with it and what is expected."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The URL itself stays out of the message: it may hold a password.
        raise ValueError(f"the store's URL cannot be read: expected {EXPECTED}") from None
    if parsed.drivername == "sqlite":
        if parsed.database in {None, "", ":memory:"} or parsed.query:
            raise ValueError(f"the store must be a file that outlives the process: expected {EXPECTED}")
        return parsed
    if parsed.drivername == "postgresql+psycopg":
        if importlib.util.find_spec("psycopg") is None:
            raise ValueError("the store needs a driver: run `pip install 'fastapi-handoff[postgresql]'`")
        return parsed
    raise ValueError(f"the store cannot be `{parsed.drivername}`: expected {EXPECTED}")


FileIdentity = tuple[int, int]
"""Device and inode."""

EXPECTED = "`sqlite:///handoff.db` or `postgresql+psycopg://user:password@host/database`"


def create(url: URL, *, read_only: bool) -> AsyncEngine:
    """Make the engine of a parsed URL. It connects to nothing yet."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, read_only=read_only)
    return _postgresql(url, read_only=read_only)


def sqlite_path(url: URL) -> Path:
    """The file of an SQLite URL, absolute: a process that changes its directory keeps its store."""
    return Path(url.database or "").absolute()


def file_identity(path: str) -> FileIdentity | None:
    """Tell which file is at a path now; `None` for none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - twice for each write, so without a `Path`
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sqlite(url: URL, *, read_only: bool) -> AsyncEngine:
    # `rw` does not create: `audit verify` on a mistyped path must fail, not report an empty chain as intact.
    mode = "rw" if read_only else "rwc"
    target = URL.create(
        sqlite.DRIVER,
        database=f"file:{quote(str(sqlite_path(url)))}",
        query={"mode": mode, "uri": "true"},
    )
    # isolation_level None: Python's own idea of when to begin would begin as a reader and fail to become a writer.
    engine = create_async_engine(
        target,
        connect_args={
            "factory": sqlite.SQLiteConnection,
            "timeout": sqlite.BUSY_TIMEOUT,
            "isolation_level": None,
            "check_same_thread": False,  # a commit may run in a thread of its own, while this one awaits it
        },
        pool_size=5,
        max_overflow=5,
        pool_timeout=CONNECT_TIMEOUT + LOCK_TIMEOUT,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        # FULL: a commit that was answered survives a power cut. NORMAL, the usual companion of WAL, may lose it.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {sqlite.PAGES_PER_CHECKPOINT}")
        cursor.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        kind = connection.get_execution_options().get(BEGIN)
        if kind is not None:
            sqlite.begin(connection, kind, LOCK_TIMEOUT)

    return engine


def _postgresql(url: URL, *, read_only: bool) -> AsyncEngine:
    options = {
        "statement_timeout": STATEMENT_TIMEOUT * 1000,
        "lock_timeout": LOCK_TIMEOUT * 1000,
        # A replica that stops in the middle of a transaction must not hold the audit lock for ever.
        "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT * 1000,
        "default_transaction_read_only": "on" if read_only else "off",
    }
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": "fastapi-handoff",
        # A host that vanished without a word is noticed by the kernel, not after two hours.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_TIMEOUT * 1000,
    }
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    # Behind what the user's own URL says, so that the user has the last word.
    own = url.query.get("options", "")
    arguments["options"] = " ".join(
        [*(f"-c {name}={value}" for name, value in options.items()), own if isinstance(own, str) else " ".join(own)]
    ).strip()
    engine = create_async_engine(
        url.difference_update_query(["options"]),
        connect_args=arguments,
        # The head of the chain is read after the lock was taken: a snapshot from before the lock would fork the chain.
        isolation_level="READ COMMITTED",
        pool_size=10,
        max_overflow=10,
        pool_timeout=CONNECT_TIMEOUT + LOCK_TIMEOUT,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def notice_closed(_: DBAPIConnection, __: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        """Replace a connection that the server closed while it lay in the pool, without a round trip to find out."""
        connection: Any = proxy.driver_connection
        if connection.closed:
            raise DisconnectionError
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        # Nothing was asked, so whatever can be read is the end of the connection, or its announcement.
        if poll.poll(0):
            raise DisconnectionError

    return engine
