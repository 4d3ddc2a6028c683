"""Two outcomes of one event, without a resume between them: its handler ran again, and nothing says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select

from fastapi_handoff.store import audit_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

OUTCOME = "event.outcome"
RESUME = "event.resume"

_later, _earlier = audit_records.alias("later"), audit_records.alias("earlier")
_same_event = and_(*(_later.c[name] == _earlier.c[name] for name in ("issuer", "source", "event_id")))
_PAIRS = (
    select(_later.c.seq, func.max(_earlier.c.seq))
    .select_from(_later.join(_earlier, and_(_same_event, _earlier.c.seq < _later.c.seq)))
    .where(_later.c.action == OUTCOME, _earlier.c.action == OUTCOME)
    .group_by(_later.c.seq)
    .order_by(_later.c.seq)
)
_RESUMES = (
    select(func.count())
    .select_from(_later.join(_earlier, and_(_same_event, _earlier.c.seq < _later.c.seq)))
    .where(_earlier.c.action == RESUME, _earlier.c.decision == "accepted")
)


def second_outcomes(connection: Connection, *, after: int | None, until: int | None) -> Iterator[tuple[int, str]]:
    """Return the number of each second outcome and what is wrong with it, for the records of a part of the chain.

    Whoever sets a receipt back by hand lets its handler run again. When it has ended, the receipt agrees with the chain
    once more, and only the two outcomes tell.
    """
    query = _PAIRS if after is None else _PAIRS.where(_later.c.seq > after)
    for seq, earlier in connection.execute(query if until is None else query.where(_later.c.seq <= until)).all():
        if not connection.scalar(_RESUMES.where(_later.c.seq == seq, _earlier.c.seq > earlier)):
            yield (
                seq,
                f"it is a second outcome of its event, whose first is record {earlier}, and no resume is between "
                "them: the receipt was set back, and the handler ran again, unless a refused resume says that it "
                "did not",
            )
