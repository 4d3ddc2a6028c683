"""Checking the receipts against the records they name."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, type_coerce
from sqlalchemy.types import NullType

from fastapi_handoff.audit.chain import CLOCK_TOLERANCE
from fastapi_handoff.audit.receipt_digest import RECEIPT_COLUMNS, digest_of
from fastapi_handoff.audit.record import read
from fastapi_handoff.audit.rows import stored_bytes, stream, text
from fastapi_handoff.store import audit_records, receipts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

PAGE: Final = 50
"""Receipts in memory at once, each with a body of up to 256 KiB."""
UNFINISHED: Final = frozenset({"pending", "running"})
"""The states of a receipt whose handler has not ended."""

_QUERY = (
    select(
        *(receipts.c[name] for name in RECEIPT_COLUMNS),
        *(receipts.c[name] for name in ("attempts", "lease_owner", "lease_until", "completed_at")),
        receipts.c.audit_seq,
        receipts.c.audit_hash,
        type_coerce(receipts.c.body, NullType).label("body"),  # as it is, which in SQLite may be anything
        audit_records.c.hash,
        audit_records.c.record,
    )
    .select_from(receipts.outerjoin(audit_records, audit_records.c.seq == receipts.c.audit_seq))
    .order_by(receipts.c.issuer, receipts.c.source, receipts.c.event_id)
)
_TEXTS = (*(name for name in RECEIPT_COLUMNS if name != "received_at"), "audit_hash")


def count_receipts(connection: Connection) -> int:
    """Return how many receipts there are."""
    return connection.scalar(select(func.count()).select_from(receipts)) or 0


def verify_receipts(connection: Connection) -> Iterator[tuple[int, str | None]]:
    """Return, for each receipt, the number of the record it names and what is wrong between the two, or `None`."""
    before = None
    for row in stream(connection, _QUERY, PAGE):
        wrong = next(_findings(row), None)
        key = row[:3]
        if wrong is None and key == before:
            wrong = f"{_name(row)} is there twice: a row was inserted"
        before = key
        yield row.audit_seq if isinstance(row.audit_seq, int) else 0, wrong


def _findings(row: Any) -> Iterator[str]:
    if (column := _no_text(tuple(map(type, row)))) is not None:
        yield f"{_name(row)} has a `{column}` that is no text: it was rewritten"
    if row.hash is None:
        yield f"{_name(row)} names record {row.audit_seq!r}, which does not exist"
        return
    if row.hash != row.audit_hash:
        yield f"{_name(row)} names hash `{row.audit_hash}` for it: the receipt or the record was rewritten"
    body = stored_bytes(row.body)
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    # A body that was emptied to save room is no danger once nothing will run it.
    if row.content_digest != digest and (body or row.state in UNFINISHED):
        yield f"{_name(row)} holds a body with digest `{digest}`, the event was received with `{row.content_digest}`"
    for problem in _progress(row):
        yield f"{_name(row)} {problem}: it was rewritten"
    try:
        record = read(stored_bytes(row.record))
    except ValueError:
        return  # said already, about the record itself
    if record["event_id"] != row.event_id:
        yield f"{_name(row)} names this record, which is about event `{record['event_id']}`"
    if record["receipt"] != digest_of(row[: len(RECEIPT_COLUMNS)]):
        yield f"{_name(row)} does not say what it said when this record was made: it was rewritten"
    for problem in _end(row, record):
        yield f"{_name(row)} {problem}: it was rewritten"


@lru_cache
def _no_text(types: tuple[type, ...]) -> str | None:
    # Nearly all receipts have columns of the same few types.
    columns = zip(_QUERY.selected_columns.keys(), types, strict=True)
    return next((column for column, kind in columns if column in _TEXTS and kind not in {str, NoneType}), None)


def _name(row: Any) -> str:
    return f"the receipt of event `{text(row.event_id)}` from `{text(row.source)}`"


def _progress(row: Any) -> Iterator[str]:
    """Say what attempts, lease and end cannot be, whatever the record says: they change without a record."""
    if type(row.attempts) is not int or row.attempts < 0:
        yield f"has `{row.attempts!r}` attempts"
    is_over = row.state not in UNFINISHED
    lease = row.lease_owner, row.lease_until
    is_leased = isinstance(row.lease_owner, str) and type(row.lease_until) is int
    # A lease that was given back is nobody's, and ended.
    if lease != (None, None) and (is_over or not (is_leased or lease == (None, 0))):
        yield f"is `{row.state}` and has the lease `{row.lease_owner!r}` until `{row.lease_until!r}`"
    if is_over != (type(row.completed_at) is int) or not (is_over or row.completed_at is None):
        yield f"is `{row.state}` and ended at `{row.completed_at!r}`"


def _end(row: Any, record: dict[str, Any]) -> Iterator[str]:
    """Compare when and at which attempt the handler ended with the record of that."""
    if row.state in UNFINISHED or type(row.completed_at) is not int:
        return
    recorded = datetime.fromisoformat(record["time"]).timestamp()
    if abs(row.completed_at / 1_000_000 - recorded) > CLOCK_TOLERANCE:
        yield f"ended at `{row.completed_at}` (unix microseconds), its outcome was recorded at `{record['time']}`"
    attempt = (record["outcome"] or {}).get("attempt", row.attempts)
    if attempt != row.attempts:
        yield f"has {row.attempts!r} attempts, its outcome was recorded for attempt {attempt!r}"
