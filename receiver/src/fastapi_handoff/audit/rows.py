"""Reading the chain: records in order, page by page, so that a million of them fit into little memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, select

from fastapi_handoff.store import audit_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

PAGE = 500
"""Records in memory at once."""

COLUMNS = audit_records.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records: those that match all that is given."""

    repository: str | None = None
    """A repository's UUID."""
    actor: str | None = None
    """Any part of the actor's `sub`, in capitals or not: a repository's, environment's or step's UUID."""
    decision: str | None = None
    action: str | None = None
    event: str | None = None
    since: int | None = None
    """Unix microseconds, inclusive."""
    until: int | None = None
    """Unix microseconds, exclusive."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Give the conditions in SQL."""
        exact = {
            COLUMNS.source: self.repository,
            COLUMNS.decision: self.decision,
            COLUMNS.action: self.action,
            COLUMNS.event_id: self.event,
        }
        conditions = [column == value for column, value in exact.items() if value is not None]
        if self.actor is not None:
            conditions.append(COLUMNS.actor.icontains(self.actor, autoescape=True))
        if self.since is not None:
            conditions.append(COLUMNS.time >= self.since)
        if self.until is not None:
            conditions.append(COLUMNS.time < self.until)
        return conditions


def text(stored: Any) -> Any:
    """Give the text of a text column. SQLite's columns hold what was put there: bytes become text, the rest stays."""
    return stored.decode(errors="surrogateescape") if isinstance(stored, bytes) else stored


def pages(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Any]]:
    """Give the rows of a query on the records, in the chain's order.

    By key and not by offset: the last page costs no more than the first. On a `Store.snapshot()`, all pages show the
    same moment.
    """
    # SQLite only, and only in a table made anew: nothing comes behind NULL, so who counts the rows tells of those.
    ordered = query.where(COLUMNS.seq.is_not(None)).order_by(COLUMNS.seq).limit(PAGE)
    rows = connection.execute(ordered).all()
    while rows:
        yield rows
        if len(rows) < PAGE:
            return
        rows = connection.execute(ordered.where(COLUMNS.seq > rows[-1].seq)).all()


def newest(connection: Connection, which: Filter, limit: int) -> list[tuple[int, bytes]]:
    """Give the newest `limit` records that match, as number and stored bytes, the oldest of them first."""
    query = select(COLUMNS.seq, COLUMNS.record).where(*which.conditions()).order_by(COLUMNS.seq.desc()).limit(limit)
    return [(row.seq, stored_bytes(row.record)) for row in reversed(connection.execute(query).all())]


def matching(connection: Connection, which: Filter) -> Iterator[tuple[int, bytes]]:
    """Give every record that matches, as number and stored bytes."""
    query = select(COLUMNS.seq, COLUMNS.record).where(*which.conditions())
    for rows in pages(connection, query):
        for row in rows:
            yield row.seq, stored_bytes(row.record)


def stored_bytes(stored: Any) -> bytes:
    """Give the bytes that were hashed: those of the text, also where they are no text."""
    return (
        stored if isinstance(stored, bytes) else str("" if stored is None else stored).encode(errors="surrogateescape")
    )
