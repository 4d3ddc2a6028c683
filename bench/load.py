"""Load for servers on this machine: one uvicorn process with its CPU time, and a client that does next to nothing itself."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from support.bitbucket_standin import listening_sockets

HANDOFF = """
import os
from fastapi import FastAPI
from fastapi_handoff import Handoff
handoff = Handoff("handoff.toml", "sqlite:///handoff.db", os.environ["URL"], bitbucket_url=os.environ["ISSUER"],
                  signing_secrets=os.environ.get("SECRET", "").split())
app = FastAPI(lifespan=handoff.lifespan)
app.include_router(handoff.router, prefix="/handoff")
@handoff.on("service.deployed", scope="deployments:write")
async def deployed(event, identity):
    return {"release": 7}
"""
"""An app with the handoff and one handler, as a user writes it; `handoff.toml` lies beside it."""


class UvicornServer:
    """One uvicorn process that serves `app` of the module `source`, and its CPU time."""

    def __init__(self, folder: Path, module: str, source: str, variables: dict[str, str]) -> None:
        (folder / f"{module}.py").write_text(source)
        (self._socket,) = listening_sockets(["127.0.0.1"])
        self.address: tuple[str, int] = self._socket.getsockname()
        self.origin = f"http://127.0.0.1:{self.address[1]}"
        os.set_inheritable(self._socket.fileno(), True)
        command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--fd", str(self._socket.fileno())]
        self._process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=folder,
            pass_fds=[self._socket.fileno()],
            env={**os.environ, **variables, "URL": f"{self.origin}/handoff"},
        )
        self._meter = psutil.Process(self._process.pid)

    def cpu_seconds(self) -> float:
        """Return what the process has used so far, in user and in kernel mode."""
        times = self._meter.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End the process and wait for its end."""
        self._process.terminate()
        self._process.wait(30)
        self._socket.close()


def encoded(url: str, headers: list[tuple[str, object]], body: bytes) -> bytes:
    """Return a POST request as it goes over a connection."""
    target = urlsplit(url)
    lines = [f"POST {target.path} HTTP/1.1", f"host: {target.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def send_all(address: tuple[str, int], requests: list[bytes], connections: int, expected: bytes) -> float:
    """Send them over as many connections at a time, and return the seconds that it took.

    Ends the benchmark with what was answered where an answer does not hold the `expected` bytes.
    """
    waiting = iter(requests)

    async def send_some() -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            answer = await reader.readexactly(int(length[1]) if length else 0)
            if expected not in answer:
                raise SystemExit((head + answer).decode())
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(send_some() for _ in range(connections)))
    return time.perf_counter() - started
