"""An ASGI app under a real uvicorn in a thread, on a port of its own."""

import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp


class LoopbackServer:
    """Serves from `start()` to `stop()`; as a context manager, for the block.

    The socket listens from the constructor on, so that no client can come too early and nobody has to wait for the thread.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.create_server((host, port))
        self.port: int = self._socket.getsockname()[1]
        # h11 hands an absolute URI of the request line on as it came; the proxy needs that.
        config = uvicorn.Config(app, http="h11", log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def start(self) -> Self:
        """Begins to answer."""
        self._thread.start()
        return self

    def begin_stop(self) -> None:
        """Asks the server to end, without waiting for it."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Ends the server and closes its socket."""
        self.begin_stop()
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
