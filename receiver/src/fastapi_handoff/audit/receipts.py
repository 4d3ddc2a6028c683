"""What ties a receipt to the chain, so that it cannot be rewritten behind the chain's back."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, Text, bindparam, cast, literal, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from fastapi_handoff.audit.record import decode
from fastapi_handoff.audit.rows import stored_bytes, text
from fastapi_handoff.store import audit_records, receipts, storable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection

    from fastapi_handoff.audit.entry import AuditHead

RECEIPT_COLUMNS = (
    "issuer",
    "source",
    "event_id",
    "subject",
    "content_digest",
    "event_type",
    "scope",
    "state",
    "detail",
    "result",
    "identity",
    "asserted",
    "trace_id",
)
"""The columns that a receipt's answer is made of. Lease, attempts and times change while the state does not."""

PAGE = 50
"""Receipts in memory at once, each with a body of up to 256 KiB."""

_RECORD = select(audit_records.c.record).where(audit_records.c.seq == bindparam("seq"))


def receipt_digest(row: Mapping[str, Any]) -> str:
    """Give `sha-256:<hex>` over the row of `receipts` as it will stand when its transaction commits.

    `row` maps at least `RECEIPT_COLUMNS` to what is written to them: text or `None`.
    """
    # One digest for both: no record is written as a handler is started.
    row = {**row, "state": "running" if row["state"] == "pending" else row["state"]}
    values = [None if (value := row[name]) is None else storable(value) for name in RECEIPT_COLUMNS]
    return "sha-256:" + hashlib.sha256(json.dumps(values).encode()).hexdigest()


def recorded_digest(connection: Connection, head: AuditHead) -> str | None:
    """Give the `receipt_digest` that a record names; `None` where it names none, is gone, or is not what it was."""
    stored = stored_bytes(connection.scalar(_RECORD, {"seq": head.seq}))
    if hashlib.sha256(stored).hexdigest() != head.hash:
        return None
    try:
        digest: str | None = decode(stored)["receipt"]
    except ValueError:
        return None
    return digest


def receipt_problems(connection: Connection) -> Iterator[tuple[int, str | None]]:
    """Give, for each receipt, the number of the record it names and what is wrong between the two, or `None`."""
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
    rows = connection.execute(query).all()
    while rows:
        for row in rows:
            yield row.audit_seq if isinstance(row.audit_seq, int) else 0, next(_problems(row), None)
        if len(rows) < PAGE:
            return
        last = (rows[-1].issuer, rows[-1].source, rows[-1].event_id)
        after = tuple_(*map(_as_sqlite_has_it, last)) if is_sqlite else tuple_(*last)
        rows = connection.execute(query.where(tuple_(*key) > after)).all()


def _as_sqlite_has_it(value: Any) -> ColumnElement[Any]:
    """Hand a value back as it came: a text that is no Unicode would be refused by the driver, its bytes are not."""
    if not isinstance(value, str):
        return literal(value)
    # Joined to nothing, because next to a bare `CAST` SQLite looks only half of the key up, and reads on from there.
    return cast(literal(stored_bytes(value), LargeBinary), Text) + ""


def _problems(row: Any) -> Iterator[str]:
    receipt = {name: text(getattr(row, name)) for name in RECEIPT_COLUMNS}
    name = f"the receipt of event `{receipt['event_id']}` from `{receipt['source']}`"
    for column in (*RECEIPT_COLUMNS, "audit_hash"):
        if not isinstance(getattr(row, column), str | None):
            yield f"{name} has a `{column}` that is no text: it was rewritten"
    if row.hash is None:
        yield f"{name} names record {row.audit_seq!r}, which does not exist"
        return
    if text(row.hash) != text(row.audit_hash):
        yield f"{name} names hash `{text(row.audit_hash)}` for it: the receipt or the record was rewritten"
    body = stored_bytes(row.body)
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    # A body that was emptied to save room is no danger once nothing will run it.
    if receipt["content_digest"] != digest and (body or receipt["state"] in {"pending", "running"}):
        yield f"{name} holds a body with digest `{digest}`, the event was received with `{receipt['content_digest']}`"
    try:
        record = decode(stored_bytes(row.record))
    except ValueError:
        return  # said already, about the record itself
    if record["event_id"] != receipt["event_id"]:
        yield f"{name} names this record, which is about event `{record['event_id']}`"
    if record["receipt"] != receipt_digest(receipt):
        yield f"{name} does not say what it said when this record was made: it was rewritten"
