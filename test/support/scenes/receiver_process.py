"""A FastAPI app under uvicorn in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from support.bitbucket_standin import listening_sockets


class ReceiverProcess:
    """Serves `app` (`module:attribute`, found in `import_from`) at `host`, working in `folder`; `url` is its router's.

    The socket listens before the process starts, so that the app can be told its own URL and no client comes too early.
    """

    def __init__(
        self, app: str, folder: Path, *, import_from: Path, host: str = "127.0.0.1", public_host: str | None = None
    ) -> None:
        (self._socket,) = listening_sockets([host])
        port = self._socket.getsockname()[1]
        self.origin = f"http://{host}:{port}"
        self.url = f"http://{public_host or host}:{port}/handoff"
        self._app = app
        self._folder = folder
        self._import_from = import_from
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, variables: Mapping[str, str], log: Path) -> Self:
        """Starts uvicorn with these variables added to the environment, its output going to `log`, until it answers."""
        os.set_inheritable(self._socket.fileno(), True)
        command = [sys.executable, "-m", "uvicorn", self._app, "--app-dir", str(self._import_from)]
        command += ["--fd", str(self._socket.fileno())]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **variables},
                pass_fds=[self._socket.fileno()],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            httpx.get(f"{self.origin}/handoff/health", timeout=60)
        except httpx.TransportError as error:
            self.stop()
            raise RuntimeError(f"the app did not start:\n{log.read_text()}") from error
        return self

    def stop(self) -> None:
        """Ends uvicorn the way an operator does, and waits for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
