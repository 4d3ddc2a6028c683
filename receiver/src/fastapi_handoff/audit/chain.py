"""The one way a record gets into the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.audit.canonical import SAFE_INTEGER
from fastapi_handoff.audit.entry import AuditEntry, AuditHead
from fastapi_handoff.audit.record import build, encode, searchable
from fastapi_handoff.store import StoreUnavailable, audit_records, change_one

if TYPE_CHECKING:
    from sqlalchemy import Connection

Clock = Callable[[], float]
"""Unix seconds with their fraction, as `time.time` gives them."""

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


def append(connection: Connection, entry: AuditEntry, *, clock: Clock) -> AuditHead:
    """Append a record inside the caller's `Store.write()`, and nowhere else; give the chain's new head.

    The one writer is what keeps two appends from reading the same end of the chain.
    """
    row = connection.execute(_HEAD).first()
    # The clock is read when it is our turn, and a clock set back does not put a record before its predecessor.
    now = int(clock() * 1_000_000)
    previous = None
    if row is not None:
        previous = _believable(row.seq, row.hash, row.time)
        now = max(now, row.time)
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
        change_one(connection, _INSERT, row_values)
    except IntegrityError:
        # The one writer keeps all other appends out, so whoever took this place in the chain did not append.
        raise StoreUnavailable(_TAMPERED) from None
    return AuditHead(record["seq"], digest)


def _believable(seq: Any, digest: Any, time: Any) -> AuditHead:
    # SQLite's columns hold what was put there: a number `3.0` would be taken on, and break the chain.
    numbers = type(seq) is int and type(time) is int
    if numbers and isinstance(digest, str) and time <= _LATEST and 0 < seq < SAFE_INTEGER:
        return AuditHead(seq, digest)
    raise StoreUnavailable(_TAMPERED)
