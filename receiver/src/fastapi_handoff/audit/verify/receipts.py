"""Checking the receipts against the records they name."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import LargeBinary, Text, cast, func, literal, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from fastapi_handoff.audit.chain import CLOCK_TOLERANCE
from fastapi_handoff.audit.receipt_digest import RECEIPT_COLUMNS, receipt_digest
from fastapi_handoff.audit.record import read
from fastapi_handoff.audit.rows import stored_bytes, text
from fastapi_handoff.store import audit_records, receipts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

PAGE: Final = 50
"""Receipts in memory at once, each with a body of up to 256 KiB."""
UNFINISHED: Final = frozenset({"pending", "running"})
"""The states of a receipt whose handler has not ended."""

_TEXTS = (*(name for name in RECEIPT_COLUMNS if name != "received_at"), "audit_hash")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def count_receipts(connection: Connection) -> int:
    """Return how many receipts there are."""
    return connection.scalar(select(func.count()).select_from(receipts)) or 0


def verify_receipts(connection: Connection) -> Iterator[tuple[int, str | None]]:
    """Return, for each receipt, the number of the record it names and what is wrong between the two, or `None`."""
    # Not SQLite's own row number: a column that somebody adds under its name takes its place, and hides rows.
    key = (receipts.c.issuer, receipts.c.source, receipts.c.event_id)
    query = (
        select(
            *(column for column in receipts.c if column.name != "body"),
            type_coerce(receipts.c.body, NullType).label("body"),  # as it is, which in SQLite may be anything
            audit_records.c.hash,
            audit_records.c.record,
        )
        .select_from(receipts.outerjoin(audit_records, audit_records.c.seq == receipts.c.audit_seq))
        .order_by(*key)
        .limit(PAGE)
    )
    is_sqlite = connection.dialect.name == "sqlite"
    rows = connection.execute(query).mappings().all()
    while rows:
        for row in rows:
            seq = row["audit_seq"]
            yield seq if isinstance(seq, int) else 0, next(_findings(row), None)
        if len(rows) < PAGE:
            return
        last = (rows[-1]["issuer"], rows[-1]["source"], rows[-1]["event_id"])
        after = tuple_(*map(_as_sqlite_has_it, last)) if is_sqlite else tuple_(*last)
        rows = connection.execute(query.where(tuple_(*key) > after)).mappings().all()


def _as_sqlite_has_it(value: Any) -> ColumnElement[Any]:
    """Hand a value back as it came: a text that is no Unicode would be refused by the driver, its bytes are not."""
    if not isinstance(value, str):
        return literal(value)
    # Joined to nothing, because next to a bare `CAST` SQLite looks only half of the key up, and reads on from there.
    return cast(literal(stored_bytes(value), LargeBinary), Text) + ""


def _findings(row: Any) -> Iterator[str]:
    receipt = {name: text(row[name]) for name in RECEIPT_COLUMNS}
    name = f"the receipt of event `{receipt['event_id']}` from `{receipt['source']}`"
    for column in _TEXTS:
        if not isinstance(row[column], str | None):
            yield f"{name} has a `{column}` that is no text: it was rewritten"
    if row["hash"] is None:
        yield f"{name} names record {row['audit_seq']!r}, which does not exist"
        return
    if text(row["hash"]) != text(row["audit_hash"]):
        yield f"{name} names hash `{text(row['audit_hash'])}` for it: the receipt or the record was rewritten"
    body = stored_bytes(row["body"])
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    # A body that was emptied to save room is no danger once nothing will run it.
    if receipt["content_digest"] != digest and (body or receipt["state"] in UNFINISHED):
        yield f"{name} holds a body with digest `{digest}`, the event was received with `{receipt['content_digest']}`"
    for problem in _progress(row):
        yield f"{name} {problem}: it was rewritten"
    try:
        record = read(stored_bytes(row["record"]))
    except ValueError:
        return  # said already, about the record itself
    if record["event_id"] != receipt["event_id"]:
        yield f"{name} names this record, which is about event `{record['event_id']}`"
    if record["receipt"] != receipt_digest(receipt):
        yield f"{name} does not say what it said when this record was made: it was rewritten"
    for problem in _end(row, record):
        yield f"{name} {problem}: it was rewritten"


def _progress(row: Any) -> Iterator[str]:
    """Say what cannot be of attempts, lease and end, whatever the record says: no record is made for each change."""
    if type(row["attempts"]) is not int or row["attempts"] < 0:
        yield f"has `{row['attempts']!r}` attempts"
    lease = row["lease_owner"], row["lease_until"]
    is_over = row["state"] not in UNFINISHED
    if lease != (None, None) and (is_over or not (isinstance(lease[0], str) and type(lease[1]) is int)):
        yield f"is `{row['state']}` and has the lease `{lease[0]!r}` until `{lease[1]!r}`"
    if (type(row["completed_at"]) is int) != is_over or (row["completed_at"] is not None and not is_over):
        yield f"is `{row['state']}` and ended at `{row['completed_at']!r}`"


def _end(row: Any, record: dict[str, Any]) -> Iterator[str]:
    """Compare when and at which attempt the handler ended with the record of that."""
    if row["state"] in UNFINISHED or type(row["completed_at"]) is not int:
        return
    recorded = (datetime.fromisoformat(record["time"]) - _EPOCH) // timedelta(microseconds=1)
    if abs(row["completed_at"] - recorded) > CLOCK_TOLERANCE * 1_000_000:
        yield f"ended at `{row['completed_at']}`, its outcome was recorded at `{recorded}` (unix microseconds)"
    attempt = (record["outcome"] or {}).get("attempt", row["attempts"])
    if attempt != row["attempts"]:
        yield f"has {row['attempts']!r} attempts, its outcome was recorded for attempt {attempt!r}"
