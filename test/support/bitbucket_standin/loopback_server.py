"""An ASGI app under a real uvicorn in a thread, on a port of its own."""

import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp


def listening_sockets(hosts: Sequence[str], port: int = 0) -> list[socket.socket]:
    """A listening socket at each host, all on one port; 0 takes one that is free."""
    sockets = _on_one_port(hosts, port)
    for listening in sockets:
        # Inherited by each connection. `uvicorn --fd` takes the socket for a Unix one and leaves Nagle's algorithm on,
        # and then an answer in two pieces waits 40 ms for the client's acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sockets


def _on_one_port(hosts: Sequence[str], port: int) -> list[socket.socket]:
    # A port that is free at one host may be taken at another: the next one may do.
    for _ in range(19):
        with suppress(OSError):
            return _listen(hosts, port)
    return _listen(hosts, port)


def _listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for host in hosts:
            sockets.append(opened.enter_context(socket.create_server((host, port))))
            port = sockets[0].getsockname()[1]
        opened.pop_all()
        return sockets


class LoopbackServer:
    """Serves from `start()` to `stop()`; as a context manager, for the block.

    The sockets listen from the constructor on, so that no client can come too early and nobody has to wait for the thread.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ("127.0.0.1",), port: int = 0) -> None:
        self._sockets = listening_sockets(hosts, port)
        self.port: int = self._sockets[0].getsockname()[1]
        # h11 hands an absolute URI of the request line on as it came; the proxy needs that.
        config = uvicorn.Config(app, http="h11", log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), daemon=True)

    def start(self) -> Self:
        """Begins to answer."""
        self._thread.start()
        return self

    def begin_stop(self) -> None:
        """Asks the server to end, without waiting for it."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Ends the server and closes its sockets."""
        self.begin_stop()
        self._thread.join()
        for listening in self._sockets:
            listening.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
