"""Time and memory that `fastapi-handoff audit verify` needs for a chain of a million records and half as many receipts.

The real command runs in a process of its own, on a short chain and on the long one; what memory the second needs more
is what a record costs. Run: `.venv/bin/python bench/audit_verify.py [--records N] [--store URL of an empty database]`
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).parents[1] / "receiver" / "tests"))

from fastapi_handoff.audit import AuditHead, receipt_digest
from fastapi_handoff.audit.record import build, encode, searchable
from fastapi_handoff.store import Store, audit_records, receipts
from helpers.chain import entry, receipt
from helpers.verify_process import verify

MEMORY_BUDGET = 32 * 1024 * 1024
"""Bytes that the long chain may need more than the short one."""
RATE_BUDGET = 50_000
"""Records a second that the long chain must be read with, on two processors."""
BATCH = 5_000


class Chain:
    """A valid chain that is written faster than events come in: many records a statement."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.head: AuditHead | None = None

    async def extend(self, records: int) -> None:
        """Add records: the acceptance of an event, then its outcome, and so on."""
        while records > 0:
            rows, answered = zip(*(self._event() for _ in range(min(BATCH, records) // 2)), strict=True)
            links = [link for pair in rows for link in pair]

            def work(connection: Any, links: Any = links, answered: Any = answered) -> None:
                connection.execute(insert(audit_records), links)
                connection.execute(insert(receipts), list(answered))

            await self.store.write(work)
            records -= len(links)

    def _event(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        number = self.head.seq if self.head else 0
        running = receipt(number, state="running", result=None)
        succeeded = receipt(number)
        links = [
            self._link(number, running, action="event.accept", decision="accepted"),
            self._link(number, succeeded, action="event.outcome", decision="succeeded", outcome={"attempt": 1}),
        ]
        assert self.head is not None
        ended = {"completed_at": number * 1_000_000, "audit_seq": self.head.seq, "audit_hash": self.head.hash}
        return links, {**succeeded, **ended}

    def _link(self, number: int, row: dict[str, Any], **said_of_it: Any) -> dict[str, Any]:
        said = entry(number, event_digest=row["content_digest"], receipt=receipt_digest(row), **said_of_it)
        record = build(said, self.head, number * 1_000_000)
        stored, digest = encode(record)
        self.head = AuditHead(record["seq"], digest)
        link = {"seq": record["seq"], "prev_hash": record["prev_hash"], "hash": digest, "record": stored.decode()}
        return {**link, "time": number * 1_000_000, **searchable(record)}


async def measure(url: str, records: int) -> tuple[int, float]:
    """Print the figures, and return the bytes that the long chain needed more, and its records a second."""
    store = Store(url)
    await store.open()
    chain = Chain(store)
    memory = []
    for length in (min(200_000, records // 2), records):
        await chain.extend(length - (chain.head.seq if chain.head else 0))
        started = time.monotonic()
        cpu, peak = await asyncio.to_thread(verify, url)
        wall = time.monotonic() - started
        memory.append(peak)
        rate = f"{length / wall:,.0f} records a second"
        print(
            f"{length:>10,} records: {wall:7.1f} s, {cpu:7.1f} s of CPU, {peak / 1024 / 1024:6.1f} MiB at most, {rate}"
        )
    await store.close()
    return memory[1] - memory[0], records / wall


def main() -> None:
    """Measure, print, and fail where memory grows with the chain or the command is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--store", help="an empty database (default: an SQLite file that is deleted at the end)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        more, rate = asyncio.run(measure(options.store or f"sqlite:///{folder}/handoff.db", options.records))
    print(f"{more / 1024 / 1024:.1f} MiB more for the long chain, budget {MEMORY_BUDGET / 1024 / 1024:.0f} MiB")
    print(f"{rate:,.0f} records a second, the start of the command included, budget {RATE_BUDGET:,}")
    if more > MEMORY_BUDGET or rate < RATE_BUDGET:
        raise SystemExit("a budget is missed")


if __name__ == "__main__":
    main()
