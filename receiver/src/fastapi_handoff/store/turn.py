"""One turn of a thread at the database, which another thread can end."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from fastapi_handoff.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

IN_TIME = "the database did not answer in time"


class Turn:
    """The use of one connection by one thread, from connecting to the end of the transaction.

    A server that stands still leaves its client waiting in a system call, where no exception reaches it. What ends the
    wait is that the socket is shut: the thread comes back with the driver's error, and the connection is replaced.
    """

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.is_cut = False
        self._cut: Callable[[], None] | None = None
        self._lock = Lock()

    def cut(self) -> bool:
        """End what the thread waits for; return whether it had a connection. If not, it will not use one any more."""
        with self._lock:
            self.is_cut = True
            if self._cut is None:
                return False
            self._cut()
            return True

    @contextmanager
    def connect(self, engine: Engine) -> Iterator[Connection]:
        """Return a connection of `engine` that `cut` reaches for as long as it is in use."""
        with engine.connect() as connection:
            cut, release = _ways_to_cut(connection.connection.driver_connection)
            try:
                with self._lock:
                    if self.is_cut:
                        connection.invalidate()
                        raise StoreUnavailable(IN_TIME)
                    self._cut = cut
                yield connection
            finally:
                with self._lock:
                    self._cut = None
                    release()


def _ways_to_cut(driver_connection: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    if isinstance(driver_connection, sqlite3.Connection):
        return driver_connection.interrupt, lambda: None
    # A descriptor of our own: the driver may close its own at any time, and another file may get that number.
    line = socket.socket(fileno=os.dup(driver_connection.fileno()))

    def shut() -> None:
        with suppress(OSError):  # it is closed on the other side already
            line.shutdown(socket.SHUT_RDWR)

    return shut, line.close
