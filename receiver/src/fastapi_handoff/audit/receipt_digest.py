"""What ties a receipt to the chain, so that it cannot be rewritten behind the chain's back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from sqlalchemy import bindparam, select

from fastapi_handoff.audit.record import decode
from fastapi_handoff.audit.rows import stored_bytes
from fastapi_handoff.store import audit_records, storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

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
    "received_at",
)
"""The columns that a receipt's digest is made of. Lease and attempts change while the state does not, and when it ended
is not known when its digest is made: `audit verify` compares those with the record."""
_STATE = RECEIPT_COLUMNS.index("state")

_RECORD = select(audit_records.c.record).where(audit_records.c.seq == bindparam("seq"))


def receipt_digest(row: Mapping[str, Any]) -> str:
    """Return `sha-256:<hex>` over the row of `receipts` as it will stand when its transaction commits.

    `row` maps at least `RECEIPT_COLUMNS` to what is written to them.
    """
    return digest_of([row[name] for name in RECEIPT_COLUMNS])


def digest_of(values: Sequence[Any]) -> str:
    """Return the digest of a receipt, given the values of `RECEIPT_COLUMNS` in their order."""
    stored = [storable(value) if type(value) is str else value for value in values]
    # A record is made when an event is accepted, and none when its handler is started: one digest stands for both.
    if stored[_STATE] == "pending":
        stored[_STATE] = "running"
    return "sha-256:" + hashlib.sha256(to_json(stored)).hexdigest()


def recorded_digest(connection: Connection, head: AuditHead) -> str | None:
    """Return the `receipt_digest` that a record names; `None` where it names none, is gone, or is not what it was."""
    stored = stored_bytes(connection.scalar(_RECORD, {"seq": head.seq}))
    if hashlib.sha256(stored).hexdigest() != head.hash:
        return None
    try:
        digest: str | None = decode(stored)["receipt"]
    except ValueError:
        return None
    return digest
