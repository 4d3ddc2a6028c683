"""Reading the chain: records in order, as a stream, so that a million of them fit into little memory."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, select

from fastapi_handoff.store import audit_records

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sqlalchemy import Connection, Row

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
        """Return the conditions in SQL."""
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
    """Return the text of a text column. SQLite's columns hold what was put there: bytes become text, the rest stays."""
    return stored.decode(errors="surrogateescape") if isinstance(stored, bytes) else stored


def stream(connection: Connection, query: Select[Any], page: int) -> Iterator[Row[Any]]:
    """Return the rows of a query one by one, with `page` of them in memory at once. On a `Store.snapshot()` only."""
    # Closed, too, where whoever reads them has seen enough: PostgreSQL's cursor is on the server.
    with closing(connection.execute(query, execution_options={"yield_per": page})) as rows:
        yield from rows


def newest(connection: Connection, which: Filter, limit: int) -> list[tuple[int, bytes]]:
    """Return the newest `limit` records that match, as number and stored bytes, the oldest of them first."""
    query = select(COLUMNS.seq, COLUMNS.record).where(*which.conditions()).order_by(COLUMNS.seq.desc()).limit(limit)
    return [(row.seq, stored_bytes(row.record)) for row in reversed(connection.execute(query).all())]


def matching(connection: Connection, which: Filter) -> Generator[tuple[int, bytes], None, None]:
    """Return every record that matches, as number and stored bytes, in the chain's order."""
    query = select(COLUMNS.seq, COLUMNS.record).where(*which.conditions()).order_by(COLUMNS.seq)
    for row in stream(connection, query, PAGE):
        yield row.seq, stored_bytes(row.record)


def stored_bytes(stored: Any) -> bytes:
    """Return the bytes that were hashed: those of the text, also where they are no text."""
    if isinstance(stored, bytes):
        return stored
    return str("" if stored is None else stored).encode(errors="surrogateescape")
