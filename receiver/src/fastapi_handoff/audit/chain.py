"""The one way a record gets into the chain."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.audit.canonical import SAFE_INTEGER
from fastapi_handoff.audit.entry import AuditEntry, AuditHead
from fastapi_handoff.audit.record import build, encode, searchable
from fastapi_handoff.store import Ledger, StoreUnavailable, audit_records, change_one

if TYPE_CHECKING:
    from sqlalchemy import Connection

logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Unix seconds with their fraction, as `time.time` gives them."""

CLOCK_TOLERANCE: Final = 3600
"""Seconds that the newest record may be ahead of this process's clock. Up to here a record takes the time of the one
before it, so that times do not go back. Beyond, another process's clock was wrong, and its time is not taken on."""
LARGEST_STEP: Final = 400 * 86_400
"""Seconds between two records after which this process's own clock is in doubt."""
SET_BACK: Final = "audit.set_back"
"""The action of a record that says: the chain has lost what this process wrote."""

_HEAD = select(audit_records.c.seq, audit_records.c.hash, audit_records.c.time).where(
    audit_records.c.seq == select(func.max(audit_records.c.seq)).scalar_subquery()
)
_HASH = select(audit_records.c.hash).where(audit_records.c.seq == bindparam("seq"))
_INSERT = insert(audit_records)
_TAMPERED = (
    "the end of the audit chain was tampered with, and nothing can be recorded after it: "
    "run `fastapi-handoff audit verify`"
)
_LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999, after which there is no RFC 3339."""

# What a process notes in its store's ledger:
_WROTE = "audit: the head it wrote last"
_LOST = "audit: a head it wrote that the chain does not have"
_CLOCKS_DIFFER = "audit: seconds by which the newest record was ahead of its clock"


def append(connection: Connection, entry: AuditEntry, *, clock: Clock) -> AuditHead:
    """Append a record inside the caller's `Store.write()`, and nowhere else; return the chain's new head.

    The one writer is what keeps two appends from reading the same end of the chain. Where the chain no longer has what
    this process wrote last (a tail that was cut off, a database set back by a restore or a failover), a record of that
    goes before the caller's.
    """
    ledger = Ledger.of(connection)
    row = connection.execute(_HEAD).first()
    head = None if row is None else _believable(row.seq, row.hash, row.time)
    time = 0 if row is None else row.time
    lost: AuditHead | None = ledger.noted(_WROTE)
    if lost is not None and not _has(connection, head, lost):
        logger.error("the audit chain has lost record %d:%s, which this process wrote", lost.seq, lost.hash)
        ledger.note(_LOST, lost)
        said = AuditEntry(action=SET_BACK, decision="found", outcome={"seq": lost.seq, "hash": lost.hash})
        head, time = _append(connection, said, head, _now(ledger, clock, time))
    head, _ = _append(connection, entry, head, _now(ledger, clock, time))
    ledger.note(_WROTE, head)
    return head


def lost_head(ledger: Ledger) -> AuditHead | None:
    """Return the head of the chain that this process wrote and later missed; `None`: it missed none."""
    lost: AuditHead | None = ledger.noted(_LOST)
    return lost


def clocks_differ(ledger: Ledger) -> float | None:
    """Return by how many seconds the newest record was ahead of this process's clock at its last append.

    `None`: by no more than `CLOCK_TOLERANCE`. Otherwise this clock is wrong, or that of the process that wrote it.
    """
    seconds: float | None = ledger.noted(_CLOCKS_DIFFER)
    return seconds


def _append(
    connection: Connection, entry: AuditEntry, previous: AuditHead | None, microseconds: int
) -> tuple[AuditHead, int]:
    record = build(entry, previous, microseconds)
    stored, digest = encode(record)
    row = {
        "seq": record["seq"],
        "prev_hash": record["prev_hash"],
        "hash": digest,
        "record": stored.decode(),
        "time": microseconds,
        **searchable(record),
    }
    try:
        change_one(connection, _INSERT, row)
    except IntegrityError:
        # The one writer keeps all other appends out, so whoever took this place in the chain did not append.
        raise StoreUnavailable(_TAMPERED) from None
    return AuditHead(record["seq"], digest), microseconds


def _now(ledger: Ledger, clock: Clock, previous: int) -> int:
    """Return the time of the next record, in unix microseconds. The clock is read when it is our turn."""
    seconds = clock()
    if not 0 <= seconds * 1_000_000 <= _LATEST:  # not true of NaN either
        raise StoreUnavailable(f"this process's clock says `{seconds}` unix seconds, which no record can hold: set it")
    now = int(seconds * 1_000_000)
    ahead = (previous - now) / 1_000_000
    differs = ahead if ahead > CLOCK_TOLERANCE else None
    if differs is not None and ledger.noted(_CLOCKS_DIFFER) is None:
        logger.warning("the newest audit record is %.0f s ahead of this clock: one of the two clocks is wrong", ahead)
    if previous and -ahead > LARGEST_STEP:
        logger.warning("this clock is %.0f days ahead of the newest audit record: is it right?", -ahead / 86_400)
    if ledger.noted(_CLOCKS_DIFFER) != differs:
        ledger.note(_CLOCKS_DIFFER, differs)
    return now if differs is not None else max(now, previous)


def _has(connection: Connection, head: AuditHead | None, written: AuditHead) -> bool:
    if head is None or head.seq < written.seq:
        return False
    found = head.hash if head.seq == written.seq else connection.scalar(_HASH, {"seq": written.seq})
    return bool(found == written.hash)


def _believable(seq: Any, digest: Any, time: Any) -> AuditHead:
    # SQLite's columns hold what was put there: a number `3.0` would be taken on, and break the chain. So would a hash
    # that is none: the next record would be rightly linked to nothing.
    numbers = type(seq) is int and type(time) is int
    is_hash = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    if numbers and is_hash and time <= _LATEST and 0 < seq < SAFE_INTEGER:
        return AuditHead(seq, digest)
    raise StoreUnavailable(_TAMPERED)
