"""Checking the records, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select

from fastapi_handoff.audit.entry import AuditHead
from fastapi_handoff.audit.rows import PAGE, stream
from fastapi_handoff.audit.verify import links
from fastapi_handoff.audit.verify.found import Verification
from fastapi_handoff.audit.verify.outcomes import second_outcomes
from fastapi_handoff.store import audit_records, receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

_C = audit_records.c
_QUERY = (
    select(*(_C[name] for name in links.COLUMNS), receipts.c.audit_seq)
    .select_from(
        audit_records.outerjoin(
            receipts,
            and_(_C.issuer == receipts.c.issuer, _C.source == receipts.c.source, _C.event_id == receipts.c.event_id),
        )
    )
    # SQLite only, and only in a table made anew, a number can be NULL; who counts the rows tells of those.
    .where(_C.seq.is_not(None))
    .order_by(_C.seq)
)


def verify_records(
    connection: Connection,
    *,
    after: int | None = None,
    until: int | None = None,
    anchors: Iterable[AuditHead] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Check the records whose numbers are above `after` and not above `until`; without them, from the first to the end.

    The record numbered `after` is read to know what the first one is compared with. All `anchors` are of this part.
    """
    found = Verification()
    anchored: dict[int, list[str]] = {}
    for anchor in anchors:
        anchored.setdefault(anchor.seq, []).append(anchor.hash)
    before = links.START if after is None else _link_of(connection, after)
    query = _QUERY if after is None else _QUERY.where(_C.seq > after)
    for row in stream(connection, query if until is None else query.where(_C.seq <= until), PAGE):
        if type(row[0]) is not int:
            # SQLite only, and only in a table made anew: no place in the chain is its own.
            found.report(before.seq, f"behind it is a row whose number is `{row[0]!r}`: it was inserted")
            continue
        before, wrong, odd = links.check(row, before)
        found.records += 1
        for text in wrong:
            found.report(before.seq, text)
        for text in odd:
            found.note(before.seq, text)
        for expected in anchored.pop(before.seq, ()):
            if expected != before.hashes[0]:
                found.report(
                    before.seq, f"an anchor names hash `{expected}` for it: history was rewritten, here or before"
                )
        if found.records % PAGE == 0:
            progress(found.records)
    if found.records % PAGE:
        progress(found.records)
    if found.records:
        found.head = AuditHead(before.seq, before.hashes[0])
    for seq, text in second_outcomes(connection, after=after, until=until):
        found.report(seq, text)
    for seq in sorted(anchored):
        end = f"ends at record {before.seq}: its tail was cut off" if seq > before.seq else "does not have it"
        found.report(seq, f"an anchor names it, but the chain {end}")
    return found


def count_records(connection: Connection) -> int:
    """Return how many rows the table has, whatever their numbers are."""
    return connection.scalar(select(func.count()).select_from(audit_records)) or 0


def _link_of(connection: Connection, seq: int) -> links.Link:
    row = connection.execute(_QUERY.where(_C.seq == seq)).first()
    return links.START if row is None else links.check(row, links.START)[0]
