"""What the writer's transaction wrote, and what this process knows to be committed.

Whoever can write to the database can make a trigger that deletes or changes a row as soon as it is written. The
statement then tells of one row, the commit goes well, and nothing is there. So the rows of `change_one` are read back
before the commit; and what the rooms above note about their writes is kept once it is committed, so that the next write
can be compared with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select

from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.tables import receipts
from fastapi_handoff.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Select, Table

OPTION: Final = "handoff_ledger"
"""The execution option of the writer's connections that holds their `Ledger`."""


class Ledger:
    """The new rows and the notes of the transaction under way, and the notes of those that were committed.

    One object belongs to one writer, which does one transaction at a time.
    """

    def __init__(self) -> None:
        self._committed: dict[str, Any] = {}
        self._notes: list[tuple[str, Any]] = []
        self._rows: list[tuple[Table, Mapping[str, Any]]] = []

    @classmethod
    def of(cls, connection: Connection) -> Ledger:
        """Return the ledger of a writer's connection; on any other connection, one that nobody reads."""
        found: Ledger | None = connection.get_execution_options().get(OPTION)
        return found or cls()

    def begin(self) -> None:
        """Forget what a transaction left that was not committed."""
        self._notes, self._rows = [], []

    def commit(self) -> None:
        """Keep the notes of the transaction: it was committed."""
        self._committed.update(self._notes)
        self.begin()

    def mark(self) -> tuple[int, int]:
        """Return where the transaction is, for `back_to`."""
        return len(self._notes), len(self._rows)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Forget what was written and noted since then: it was rolled back."""
        notes, rows = mark
        del self._notes[notes:], self._rows[rows:]

    def inserted(self, table: Table, values: Mapping[str, Any]) -> None:
        """Have a new row read back before the commit."""
        self._rows.append((table, values))

    def note(self, name: str, value: Any) -> None:
        """Note a value under a name, for as long as this process lives, if the transaction is committed."""
        self._notes.append((name, value))

    def noted(self, name: str) -> Any:
        """Return what was noted last, in the transaction under way or in those that were committed; else `None`."""
        return next((value for noted, value in reversed(self._notes) if noted == name), self._committed.get(name))

    def committed(self, name: str) -> Any:
        """Return what was noted last in a transaction that was committed; else `None`."""
        return self._committed.get(name)

    def read_back(self, connection: Connection) -> None:
        """Raise `StoreUnavailable` where a new row is not there as it was written."""
        expected: dict[Table, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
        for table, values in self._rows:
            stored = {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}
            expected.setdefault(table, {})[tuple(stored[column.name] for column in table.primary_key)] = stored
        for table, rows in expected.items():
            keys = dict(zip(table.primary_key.columns.keys(), map(list, zip(*rows, strict=True)), strict=True))
            found = connection.execute(_find(table), keys).mappings().all()
            there = 0
            for row in found:
                written = rows.get(tuple(row[column.name] for column in table.primary_key))
                there += written is not None and all(written.get(name) == value for name, value in row.items())
            if there != len(rows):
                raise StoreUnavailable(
                    f"{len(rows) - there} of the rows that were written to `{table}` are not there as they were "
                    "written: a trigger deletes or changes what this service writes"
                )


@lru_cache
def _find(table: Table) -> Select[Any]:
    key = tuple(table.primary_key)
    # What is in a receipt may be changed within the same transaction; whatever else is written never changes.
    columns = key if table is receipts else tuple(table.c)
    # Column by column, which may find more than what was written: SQLite reads the whole table to find whole keys.
    return select(*columns).where(*(column.in_(bindparam(column.name, expanding=True)) for column in key))
