"""From a store's URL to engines whose connections never hang and never lose a commit."""

from __future__ import annotations

import importlib.util
import os
import select
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

LOCK_TIMEOUT = 5
"""Seconds to wait for a lock that another writer holds."""
CONNECT_TIMEOUT = 3
"""Seconds to wait for a connection to a server."""
STATEMENT_TIMEOUT = 10
"""Seconds one statement may take on a server."""
TRANSACTION_TIMEOUT = 15
"""Seconds a job may wait for its turn, and seconds the transaction may take in which it is done.

The server's own timeouts do not help when the server itself stands still, so this one is kept by the client.
"""
READERS = 5
"""Threads that read, each with a connection of its own."""

EXPECTED = "`sqlite:///handoff.db` or `postgresql+psycopg://user:password@host/database`"

Use = Literal["write", "read", "snapshot"]
"""What an engine's connections are for: the one writer, single statements, or one moment's state in many statements."""

_ISOLATION: dict[Use, Any] = {
    # The head of the chain is read after the lock was taken: a snapshot from before the lock would fork the chain.
    "write": "READ COMMITTED",
    "read": "AUTOCOMMIT",
    "snapshot": "REPEATABLE READ",
}
_POOL: dict[Use, dict[str, Any]] = {
    "write": {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT},
    "read": {"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT},
    "snapshot": {"poolclass": NullPool},
}


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


def create(url: URL, use: Use, *, read_only: bool) -> Engine:
    """Return an engine for a parsed URL. It connects to nothing yet."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, use, read_only=read_only)
    return _postgresql(url, use, read_only=read_only)


def sqlite_path(url: URL) -> Path:
    """Return the file of an SQLite URL, absolute: a process that changes its directory keeps its store."""
    return Path(url.database or "").absolute()


FileIdentity = tuple[int, int]
"""Device and inode."""


def file_identity(path: str) -> FileIdentity | None:
    """Return which file is at a path now; `None` for none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - twice for each write, so without a `Path`
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sqlite(url: URL, use: Use, *, read_only: bool) -> Engine:
    # `rw` does not create: `audit verify` on a mistyped path must fail, not report an empty chain as intact.
    mode = "rw" if read_only else "rwc"
    target = URL.create(
        "sqlite+pysqlite", database=f"file:{quote(str(sqlite_path(url)))}", query={"mode": mode, "uri": "true"}
    )
    engine = create_engine(
        target,
        connect_args={
            # None: transactions begin where this package says so. Python's own idea of when to begin one would begin
            # as a reader and fail to become a writer.
            "isolation_level": None,
            # The writer waits in a way of its own (`writer.become_writer`).
            "timeout": 0 if use == "write" else LOCK_TIMEOUT,
            "check_same_thread": False,  # a pool hands a connection to one thread after the other
        },
        **_POOL[use],
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: ConnectionPoolEntry) -> None:
        # A column of SQLite holds whatever was put there. Bytes that are no UTF-8 would be an error of the driver, and
        # whoever put them there could keep `audit verify` from naming them; so they become lone surrogates, which
        # equal no text that this package stores.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        # FULL: a commit that was answered survives a power cut. NORMAL, the usual companion of WAL, may lose it.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")

    return engine


def _postgresql(url: URL, use: Use, *, read_only: bool) -> Engine:
    options = {
        "statement_timeout": STATEMENT_TIMEOUT * 1000,
        "lock_timeout": LOCK_TIMEOUT * 1000,
        # A replica that stops in the middle of a transaction must not hold the writer's lock for ever.
        "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT * 1000,
        "default_transaction_read_only": "on" if read_only else "off",
    }
    if use == "snapshot":
        options["idle_in_transaction_session_timeout"] = 0  # who pipes an export into a pager may pause
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
    engine = create_engine(
        url.difference_update_query(["options"]),
        connect_args=arguments,
        isolation_level=_ISOLATION[use],
        **_POOL[use],
    )

    @event.listens_for(engine, "checkout")
    def notice_closed(_: DBAPIConnection, __: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        """Replace a connection that the server closed while it lay in the pool, without a round trip to find out.

        A round trip (`pool_pre_ping`) would also wait for a server that stands still, and nothing could interrupt it.
        """
        connection: Any = proxy.driver_connection
        if connection.closed:
            raise DisconnectionError
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        # Nothing was asked, so whatever can be read is the end of the connection, or its announcement.
        if poll.poll(0):
            raise DisconnectionError

    return engine
