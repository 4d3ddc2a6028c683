"""`audit verify` of a long chain on all processors: parts of it, each in one of several processes.

A part can be checked by itself, for all that its first record is compared with is the record before it.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from itertools import pairwise
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from fastapi_handoff.audit.verify.found import Progress, Verification, ignore
from fastapi_handoff.audit.verify.records import count_records, verify_records
from fastapi_handoff.audit.verify.whole import verify, verify_all_receipts
from fastapi_handoff.store import Store, audit_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from fastapi_handoff.audit.entry import AuditHead

PART: Final = 50_000
"""Records in a part. A chain that is no longer is not worth a second process."""
MOST_PROCESSES: Final = 8


class VerificationUnfinished(Exception):  # noqa: N818 - says nothing about the chain
    """The check ended before its end: a process of it died or could not be started, or there was no memory."""


def verify_store(url: str, *, anchors: Sequence[AuditHead] = (), progress: Progress = ignore) -> Verification:
    """As `verify`, of the store at `url`. Each process reads a snapshot of its own: what is appended meanwhile is new.

    Raises `StoreUnavailable`, `VerificationUnfinished`, and `ValueError` for a URL that is none.
    """
    with Store(url, read_only=True).snapshot() as connection:
        ends = _ends_of_parts(connection)
        if not ends:
            return verify(connection, anchors=anchors, progress=progress)
        return _verify_parts(url, connection, ends, anchors, progress)


def _verify_parts(
    url: str, connection: Connection, ends: list[int], anchors: Sequence[AuditHead], progress: Progress
) -> Verification:
    found = Verification()
    total, done = count_records(connection), 0
    count = min(os.cpu_count() or 1, MOST_PROCESSES)
    others = set(active_children())
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent)
    try:
        receipts = pool.submit(_receipts, url, ends[-1])
        parts = [
            pool.submit(_records, url, after, until, _between(anchors, after, until))
            for after, until in pairwise([None, *ends])
            if until is not None
        ]
        for part in as_completed(parts):
            done += part.result().records
            progress("records", done, total)
        for part in parts:
            found.add(part.result())
        found.add(verify_records(connection, after=ends[-1], anchors=_between(anchors, ends[-1], None)))
        progress("records", found.records, total)
        if total != found.records:
            found.report(ends[-1], f"the table holds {total} records, {found.records} have a number of their own")
        found.add(receipts.result())
        progress("receipts", found.receipts, found.receipts)
    except BaseException as error:
        # Nobody waits for their results any more, least of all who pressed Ctrl-C. They only read, so nothing is lost.
        for child in set(active_children()) - others:
            child.kill()
        if isinstance(error, BrokenExecutor | OSError | MemoryError):
            raise VerificationUnfinished(str(error) or type(error).__name__) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _ends_of_parts(connection: Connection) -> list[int]:
    """Return the number of each `PART`th record."""
    seq = audit_records.c.seq
    query = select(seq).where(seq.is_not(None)).order_by(seq).offset(PART - 1).limit(1)
    ends: list[int] = []
    # A number of another type, as in an SQLite table made anew, has no place: the rest is the last part.
    while type(end := connection.scalar(query.where(seq > ends[-1]) if ends else query)) is int:
        ends.append(end)
    return ends


def _between(anchors: Sequence[AuditHead], after: int | None, until: int | None) -> list[AuditHead]:
    return [
        anchor for anchor in anchors if (after is None or anchor.seq > after) and (until is None or anchor.seq <= until)
    ]


def _records(url: str, after: int | None, until: int, anchors: list[AuditHead]) -> Verification:
    with Store(url, read_only=True).snapshot() as connection:
        return verify_records(connection, after=after, until=until, anchors=anchors)


def _receipts(url: str, last: int) -> Verification:
    with Store(url, read_only=True).snapshot() as connection:
        return verify_all_receipts(connection, last)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
