"""`audit verify`: is the chain what it was, and do the receipts agree with it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select

from fastapi_handoff.audit import links
from fastapi_handoff.audit.entry import AuditHead
from fastapi_handoff.audit.receipts import receipt_problems
from fastapi_handoff.audit.rows import COLUMNS, PAGE, pages
from fastapi_handoff.store import audit_records, receipts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

KEPT_PROBLEMS = 100
"""A record inserted near the start makes every later one wrong: keep the first problems, count the rest."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and the number of the record that shows it."""

    seq: int
    text: str


@dataclass(slots=True)
class Verification:
    """What was found."""

    records: int = 0
    receipts: int = 0
    head: AuditHead | None = None
    problems: list[Problem] = field(default_factory=list)
    """The first `KEPT_PROBLEMS`."""
    problem_count: int = 0

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0

    def report(self, seq: int, text: str) -> None:
        """Note a problem."""
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(Problem(seq, text))


Progress = Callable[[str, int, int], None]
"""Hears what is looked at (`records`, then `receipts`), how many were, and how many there are."""


def ignore(_: str, __: int, ___: int) -> None:
    """Show no progress."""


def verify(connection: Connection, *, anchors: Iterable[AuditHead] = (), progress: Progress = ignore) -> Verification:
    """Check every record, every link, every receipt, and the anchors: heads that receipts outside the database show.

    `connection` is a `Store.snapshot()`, so it may run while the receiver works.
    Without an anchor nothing can tell a chain from one whose newest records were cut off or that was written anew
    from some record on, except receipts that still name what was there.
    """
    found = Verification()
    _records(connection, found, list(anchors), progress)
    _receipts(connection, found, progress)
    return found


def _records(connection: Connection, found: Verification, anchors: list[AuditHead], progress: Progress) -> None:
    total = connection.scalar(select(func.max(COLUMNS.seq))) or 0
    query = select(audit_records, receipts.c.audit_seq.label("receipt_seq")).select_from(
        audit_records.outerjoin(
            receipts,
            and_(
                COLUMNS.issuer == receipts.c.issuer,
                COLUMNS.source == receipts.c.source,
                COLUMNS.event_id == receipts.c.event_id,
            ),
        )
    )
    anchored: dict[int, list[str]] = {}
    for anchor in anchors:
        anchored.setdefault(anchor.seq, []).append(anchor.hash)
    before = links.START
    for rows in pages(connection, query):
        for row in rows:
            if type(row.seq) is not int:
                # SQLite only, and only in a table made anew: no place in the chain is its own.
                found.report(before.seq, f"behind it is a row whose number is `{row.seq!r}`: it was inserted")
                continue
            before, wrong = links.check(row, before)
            found.records += 1
            for text in wrong:
                found.report(row.seq, text)
            for expected in anchored.pop(row.seq, ()):
                if expected != before.hashes[0]:
                    found.report(
                        row.seq, f"an anchor names hash `{expected}` for it: history was rewritten, here or before"
                    )
        progress("records", found.records, total)
    held = connection.scalar(select(func.count()).select_from(audit_records)) or 0
    if held != found.records:
        found.report(before.seq, f"the table holds {held} records, {found.records} have a number of their own")
    if found.records:
        found.head = AuditHead(before.seq, before.hashes[0])
    for seq in sorted(anchored):
        end = f"ends at record {before.seq}: its tail was cut off" if seq > before.seq else "does not have it"
        found.report(seq, f"an anchor names it, but the chain {end}")


def _receipts(connection: Connection, found: Verification, progress: Progress) -> None:
    total = connection.scalar(select(func.count()).select_from(receipts)) or 0
    for seq, text in receipt_problems(connection):
        found.receipts += 1
        if text is not None:
            found.report(seq, text)
        if found.receipts % PAGE == 0 or found.receipts == total:
            progress("receipts", found.receipts, total)
    if total != found.receipts:
        # Rows share a key, as only in a table made anew, or a damaged index hides some.
        last = found.head.seq if found.head else 0
        found.report(last, f"the table of receipts has {total} rows, {found.receipts} were looked at")
