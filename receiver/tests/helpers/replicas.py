"""Replicas: uvicorn processes that share a store, and a client for each."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from helpers.kept_port import kept_port
from helpers.provider import IssuerServer
from helpers.receiver_app import URL

TESTS = Path(__file__).parents[1]


class _Directly(httpx.AsyncHTTPTransport):
    """Sends what is meant for the public URL to one replica's port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


class Replica:
    """One process. Its port stays the same over restarts."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._kept = kept_port()
        self._port = self._kept.getsockname()[1]
        self._environment = environment
        self._log = log
        self.client = httpx.AsyncClient(transport=_Directly(self._port), timeout=30)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "helpers.replica_app:app", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=TESTS, env={**os.environ, **self._environment}, stdout=log, stderr=log
            )

    async def ready(self) -> None:
        for _ in range(600):
            try:
                if (await self.client.get(f"{URL}/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def close(self) -> None:
        await self.client.aclose()
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        self._kept.close()

    def log(self) -> str:
        return self._log.read_text()

    async def logs(self, text: str) -> None:
        """Wait until it does."""
        for _ in range(600):
            if text in self.log():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(self.log())


class Replicas:
    """Starts replicas on one store."""

    def __init__(self, folder: Path, policy: Path, store_url: str, issuer: IssuerServer) -> None:
        self._folder = folder
        self.runs_file = folder / "runs"
        self.runs_file.touch()
        self._environment = {
            "POLICY": str(policy),
            "STORE": store_url,
            "URL": URL,
            "ISSUER": issuer.url,
            "RUNS": str(self.runs_file),
        }
        self.all: list[Replica] = []

    async def start(self, count: int, **environment: str) -> list[Replica]:
        """All at once: on an empty database, they meet in the migration."""
        started = [
            Replica({**self._environment, **environment}, self._folder / f"replica-{len(self.all) + n}.log")
            for n in range(count)
        ]
        self.all += started
        await asyncio.gather(*(replica.ready() for replica in started))
        return started

    def runs(self) -> list[str]:
        """The ids of the events whose handlers were started, each as often as that happened."""
        return self.runs_file.read_text().split()

    async def close(self) -> None:
        await asyncio.gather(*(replica.close() for replica in self.all))


async def final(replica: Replica, pipe: Any, token: str, identifier: str) -> dict[str, Any]:
    """Poll as a pipe does, until the receipt is final."""
    for _ in range(300):
        response = await pipe.poll(replica.client, token, identifier)
        if response.status_code == 200:
            receipt: dict[str, Any] = response.json()
            return receipt
        await asyncio.sleep(0.1)
    raise AssertionError(response.text)
