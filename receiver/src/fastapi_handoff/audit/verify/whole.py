"""Checking a whole chain and all receipts, on one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi_handoff.audit.rows import PAGE
from fastapi_handoff.audit.verify.found import Progress, Verification, ignore
from fastapi_handoff.audit.verify.receipts import count_receipts, verify_receipts
from fastapi_handoff.audit.verify.records import count_records, verify_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from fastapi_handoff.audit.entry import AuditHead


def verify(connection: Connection, *, anchors: Iterable[AuditHead] = (), progress: Progress = ignore) -> Verification:
    """Check every record, every link, every receipt, and the anchors: heads that receipts outside the database show.

    `connection` is a `Store.snapshot()`, so it may run while the receiver works.
    Without an anchor nothing can tell a chain from one whose newest records were cut off or that was written anew
    from some record on, except receipts that still name what was there.
    """
    total = count_records(connection)
    found = verify_records(connection, anchors=anchors, progress=lambda done: progress("records", done, total))
    last = found.head.seq if found.head else 0
    if total != found.records:
        found.report(last, f"the table holds {total} records, {found.records} have a number of their own")
    found.add(verify_all_receipts(connection, last, progress))
    return found


def verify_all_receipts(connection: Connection, last: int, progress: Progress = ignore) -> Verification:
    """Check every receipt; what is wrong with none of them by itself is reported for the record numbered `last`."""
    found = Verification()
    total = count_receipts(connection)
    for seq, text in verify_receipts(connection):
        found.receipts += 1
        if text is not None:
            found.report(seq, text)
        if found.receipts % PAGE == 0 or found.receipts == total:
            progress("receipts", found.receipts, total)
    if total != found.receipts:
        # A damaged index hides some.
        found.report(last, f"the table of receipts has {total} rows, {found.receipts} were looked at")
    return found
