"""Stores for the tests: each test that asks for one runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import insert, make_url

from fastapi_handoff.store import Store, proof_ids
from helpers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy import Connection


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The server that the whole run shares; whoever stops it starts it again."""
    # Not in pytest's folder: each run closes that to all users but its own, and the server's user is another.
    with tempfile.TemporaryDirectory(prefix="handoff-postgresql-") as directory:
        server = PostgreSQL(Path(directory) / "data")
        yield server
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database."""
    kind: str = request.param
    return kind


@pytest.fixture
def store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, the test's own."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'handoff.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.create_database()
    yield url
    server.reuse(url)


@pytest_asyncio.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An open store."""
    store = Store(store_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def sql(store_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Run statements as someone with a database client would, past everything this package does."""

    def run(*statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with connect(store_url) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
            connection.commit()
        return rows

    return run


def adding(jti: str) -> Callable[[Connection], str]:
    """A work that writes one row, and gives its name."""

    def add(connection: Connection) -> str:
        connection.execute(insert(proof_ids), {"jkt": "k", "jti": jti, "expires_at": 0})
        return jti

    return add


@contextlib.contextmanager
def connect(url: str) -> Iterator[Any]:
    """A plain connection of the driver's own."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        connection: Any = sqlite3.connect(parsed.database)
    else:
        connection = psycopg.connect(parsed.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        yield connection
    finally:
        connection.close()
