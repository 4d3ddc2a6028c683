"""Writing one row, and being sure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Insert, Update


def change_one(connection: Connection, statement: Insert | Update, values: Mapping[str, Any]) -> None:
    """Run a statement that changes one row. Raises `StoreUnavailable` where it changed none, or more.

    A trigger or a rule can swallow a write without an error, and what happens next would have no record. A row that is
    inserted in a `Store.write()` is read back before the commit, too.
    """
    changed = connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount
    if changed != 1:
        raise StoreUnavailable(
            f"writing one row to `{statement.table}` changed {changed}: a trigger or a rule on that table, "
            "or a table made anew, keeps this service from writing"
        )
    if statement.is_insert and isinstance(statement.table, Table):
        Ledger.of(connection).inserted(statement.table, values)
