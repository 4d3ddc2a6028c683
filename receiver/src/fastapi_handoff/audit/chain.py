"""The one way a record gets into the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.audit.canonical import SAFE_INTEGER
from fastapi_handoff.audit.entry import AuditEntry, AuditHead
from fastapi_handoff.audit.record import build, encode, searchable
from fastapi_handoff.store.compiled import change, fetch
from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.tables import audit_records

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

Clock = Callable[[], float]
"""Unix seconds with their fraction, as `time.time` gives them."""

CHAIN_LOCK = 0x68616E646F666603
"""The PostgreSQL advisory lock of the chain's end."""

_LOCK = text(f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})")
_HEAD = select(audit_records.c.seq, audit_records.c.hash, audit_records.c.time).where(
    audit_records.c.seq == select(func.max(audit_records.c.seq)).scalar_subquery()
)
_INSERT = insert(audit_records)
_TAMPERED = (
    "the end of the audit chain was tampered with, and nothing can be recorded after it: "
    "run `fastapi-handoff audit verify`"
)
_LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999, after which there is no RFC 3339."""


async def append(connection: AsyncConnection, entry: AuditEntry, *, clock: Clock) -> AuditHead:
    """Append a record inside the caller's `Store.transaction()` and give the chain's new head.

    `append_now` says more.
    """
    return await connection.run_sync(append_now, entry, clock=clock)


def append_now(connection: Connection, entry: AuditEntry, *, clock: Clock) -> AuditHead:
    """Append a record inside the caller's `Store.write()` and give the chain's new head.

    From here to the end of the transaction all other appends wait, so a transaction that also writes a receipt appends
    first and writes the receipt after: two that took the two locks in different orders would block each other.
    """
    if connection.dialect.name == "postgresql":
        # A statement of its own: one that locks and reads would read what was there before the lock was granted.
        fetch(connection, _LOCK, {})
    row = fetch(connection, _HEAD, {})
    # The clock is read under the lock, and a clock set back does not put a record before its predecessor.
    now = int(clock() * 1_000_000)
    previous = None
    if row is not None:
        seq, digest, time = row
        previous = _believable(seq, digest, time)
        now = max(now, time)
    record = build(entry, previous, now)
    stored, digest = encode(record)
    row_values = {
        "seq": record["seq"],
        "prev_hash": record["prev_hash"],
        "hash": digest,
        "record": stored.decode(),
        "time": now,
        **searchable(record),
    }
    try:
        change(connection, _INSERT, row_values)
    except IntegrityError:
        # The lock kept all other appends out, so whoever took this place in the chain did not append.
        raise StoreUnavailable(_TAMPERED) from None
    return AuditHead(record["seq"], digest)


def _believable(seq: Any, digest: Any, time: Any) -> AuditHead:
    # SQLite's columns hold what was put there: a number `3.0` would be taken on, and break the chain.
    numbers = type(seq) is int and type(time) is int
    if numbers and isinstance(digest, str) and time <= _LATEST and 0 < seq < SAFE_INTEGER:
        return AuditHead(seq, digest)
    raise StoreUnavailable(_TAMPERED)
