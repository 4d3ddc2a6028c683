"""CPU time that a verified event costs the receiver, beside a bare FastAPI endpoint that writes one row.

Two uvicorn processes on one SQLite file each, the same client, rounds in turn; what is printed are medians of the
processes' own CPU time (user and system) divided by the requests of a round. The client does next to nothing itself, so
that the server is as busy as the number of pipes makes it. Many pipes at a time share their commits, one at a time shares
them with nobody: a budget for each.
Run: `make bench`, or alone with `PYTHONPATH=test:receiver/tests`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from helpers.pipe import Pipe, event, event_id
from helpers.provider import IssuerServer, RsaKey, step_claims
from helpers.receiver_app import POLICY

from load import HANDOFF, UvicornServer, encoded, send_all

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BUDGETS_MILLISECONDS = {16: 1.2, 1: 2.5}
"""What may be added to a request, by the number of pipes at a time."""
BARE = """
import sqlite3, threading
from fastapi import FastAPI
local = threading.local()
def connection():
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect("bare.db", isolation_level=None, timeout=60)
        local.connection.execute("PRAGMA synchronous = FULL")
    return local.connection
# Once, before the first request: of two threads that change the journal's mode at once, one fails.
connection().execute("PRAGMA journal_mode = WAL")
connection().execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, type TEXT, time TEXT)")
app = FastAPI()
@app.post("/events")
def take(event: dict):
    connection().execute("INSERT INTO rows VALUES (?, ?, ?)", (event["id"], event["type"], event["time"]))
    return {"id": event["id"], "state": "succeeded"}
"""


async def measure(rounds: int, requests: int, pipes: int) -> dict[str, list[float]]:
    """Milliseconds of CPU a request, a number for each round."""
    key = RsaKey()
    issuer = IssuerServer(key)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "handoff.toml").write_text(POLICY)
        variables = {"ISSUER": issuer.url, "SECRET": SECRET}
        bare = UvicornServer(folder, "bare", BARE, variables)
        verified = UvicornServer(folder, "verified", HANDOFF, variables)
        found: dict[str, list[float]] = {"bare": [], "verified": []}
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                pipe = Pipe(f"{verified.origin}/handoff", secret=SECRET)
                token = await pipe.access_token(client, key.sign(step_claims(issuer.issuer, [pipe.url])))
            for number in range(rounds + 1):
                prepared = [_prepared(pipe, token) for _ in range(requests)]
                for name, server, path in (("bare", bare, "/events"), ("verified", verified, "/handoff/events")):
                    sent = [encoded(f"{server.origin}{path}", headers, body) for headers, body in prepared]
                    before = server.cpu_seconds()
                    await send_all(server.address, sent, pipes, b'"state":"succeeded"')
                    spent = (server.cpu_seconds() - before) * 1000 / requests
                    if number:  # the first round warms up
                        found[name].append(spent)
        finally:
            bare.stop()
            verified.stop()
            issuer.close()
    return found


def _prepared(pipe: Pipe, token: str) -> tuple[list[tuple[str, object]], bytes]:
    """Return the headers and the body of an event."""
    content = event(event_id())
    body = json.dumps(content).encode()
    return list(pipe.event_headers(token, body, content["id"])), body


def main() -> None:
    """Measure, print, and fail where the budget does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    kept = [_report(options.rounds, options.requests, *budget) for budget in BUDGETS_MILLISECONDS.items()]
    if not all(kept):
        raise SystemExit("a budget is missed")


def _report(rounds: int, requests: int, pipes: int, budget: float) -> bool:
    started = time.monotonic()
    found = asyncio.run(measure(rounds, requests, pipes))
    print(f"pipes at a time: {pipes}, CPU a request ({rounds} rounds of {requests}):")
    for name, values in found.items():
        print(f"{name:>9}: {statistics.median(values):.3f} ms (median; {min(values):.3f} to {max(values):.3f})")
    added = statistics.median(v - b for b, v in zip(found["bare"], found["verified"], strict=True))
    print(f"    added: {added:.3f} ms, budget {budget:.1f} ms ({time.monotonic() - started:.0f} s)")
    return added <= budget


if __name__ == "__main__":
    main()
