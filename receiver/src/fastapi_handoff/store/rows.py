"""Writing one row, and being sure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi_handoff.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Insert, Update


def change_one(connection: Connection, statement: Insert | Update, values: Mapping[str, Any]) -> None:
    """Run a statement that changes one row. Raises `StoreUnavailable` where it changed none, or more.

    A trigger or a rule can swallow a write without an error, and what happens next would have no record.
    """
    changed = connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount
    if changed != 1:
        raise StoreUnavailable(
            f"writing one row to `{statement.table}` changed {changed}: a trigger or a rule on that table, "
            "or a table made anew, keeps this service from writing"
        )
