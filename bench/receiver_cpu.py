"""CPU time that a verified event costs the receiver, beside a bare FastAPI endpoint that writes one row.

Two uvicorn processes on one SQLite file each, the same client, rounds in turn; what is printed are medians of the
processes' own CPU time (user and system) divided by the requests of a round.
Run: `.venv/bin/python bench/receiver_cpu.py`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

TESTS = Path(__file__).parents[1] / "receiver" / "tests"
sys.path.insert(0, str(TESTS))

from pipe import Pipe, event, event_id  # noqa: E402
from provider import IssuerServer, RsaKey, step_claims  # noqa: E402

from receiver_app import POLICY  # noqa: E402

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BUDGET_MILLISECONDS = 1.0
CONCURRENT = 16
Prepared = tuple[bytes, list[tuple[str, str]]]
VERIFIED = """
import os
from fastapi import FastAPI
from fastapi_handoff import Handoff
handoff = Handoff("handoff.toml", "sqlite:///handoff.db", os.environ["URL"], bitbucket_url=os.environ["ISSUER"],
                  signing_secrets=[os.environ["SECRET"]])
app = FastAPI(lifespan=handoff.lifespan)
app.include_router(handoff.router, prefix="/handoff")
@handoff.on("service.deployed", scope="deployments:write")
async def deployed(event, identity):
    return {"release": 7}
"""
BARE = """
import sqlite3, threading
from fastapi import FastAPI
local = threading.local()
def connection():
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect("bare.db", isolation_level=None)
        local.connection.execute("PRAGMA journal_mode = WAL")
        local.connection.execute("PRAGMA synchronous = FULL")
        local.connection.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, type TEXT, time TEXT)")
    return local.connection
app = FastAPI()
@app.post("/events")
def take(event: dict):
    connection().execute("INSERT INTO rows VALUES (?, ?, ?)", (event["id"], event["type"], event["time"]))
    return {"id": event["id"], "state": "succeeded"}
"""


class Server:
    """One uvicorn process, and its CPU time."""

    def __init__(self, folder: Path, module: str, source: str, variables: dict[str, str]) -> None:
        (folder / f"{module}.py").write_text(source)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        os.set_inheritable(self.socket.fileno(), True)
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            f"{module}:app",
            "--fd",
            str(self.socket.fileno()),
            "--log-level",
            "warning",
        ]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            pass_fds=[self.socket.fileno()],
            env={**os.environ, **variables, "URL": f"{self.origin}/handoff"},
        )
        self.meter = psutil.Process(self.process.pid)

    def cpu_seconds(self) -> float:
        """What the process has used so far, in user and in kernel mode."""
        times = self.meter.cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        """Ends the process and waits for its end."""
        self.process.terminate()
        self.process.wait(30)
        self.socket.close()


async def measure(rounds: int, requests: int) -> dict[str, list[float]]:
    """Milliseconds of CPU a request, a number for each round."""
    key = RsaKey()
    issuer = IssuerServer(key)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "handoff.toml").write_text(POLICY)
        variables = {"ISSUER": issuer.url, "SECRET": SECRET}
        bare = Server(folder, "bare", BARE, variables)
        verified = Server(folder, "verified", VERIFIED, variables)
        found: dict[str, list[float]] = {"bare": [], "verified": []}
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                pipe = Pipe(f"{verified.origin}/handoff", secret=SECRET)
                token = await pipe.access_token(client, key.sign(step_claims(issuer.issuer, [pipe.url])))
                for number in range(rounds + 1):
                    prepared = [_prepared(pipe, token) for _ in range(requests)]
                    for name, server, url in (
                        ("bare", bare, f"{bare.origin}/events"),
                        ("verified", verified, f"{verified.origin}/handoff/events"),
                    ):
                        before = server.cpu_seconds()
                        await _send_all(client, url, prepared)
                        spent = (server.cpu_seconds() - before) * 1000 / requests
                        if number:  # the first round warms up
                            found[name].append(spent)
        finally:
            bare.stop()
            verified.stop()
            issuer.close()
    return found


async def _send_all(client: httpx.AsyncClient, url: str, prepared: list[Prepared]) -> None:
    """Send them as `CONCURRENT` pipes would."""
    waiting = iter(prepared)

    async def send_some() -> None:
        for body, headers in waiting:
            response = await client.post(url, content=body, headers=headers)
            if response.json()["state"] != "succeeded":
                raise SystemExit(response.text)

    await asyncio.gather(*(send_some() for _ in range(CONCURRENT)))


def _prepared(pipe: Pipe, token: str) -> Prepared:
    content = event(event_id())
    body = json.dumps(content).encode()
    return body, pipe.event_headers(token, body, content["id"])


def main() -> None:
    """Measure, print, and fail where the budget does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    started = time.monotonic()
    found = asyncio.run(measure(options.rounds, options.requests))
    for name, values in found.items():
        print(
            f"{name:>9}: {statistics.median(values):.3f} ms CPU a request (median of {len(values)} rounds, "
            f"{min(values):.3f} to {max(values):.3f})"
        )
    added = statistics.median(v - b for b, v in zip(found["bare"], found["verified"], strict=True))
    print(f"    added: {added:.3f} ms, budget {BUDGET_MILLISECONDS:.1f} ms ({time.monotonic() - started:.0f} s)")
    if added > BUDGET_MILLISECONDS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
