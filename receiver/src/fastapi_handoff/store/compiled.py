"""The old names, for callers that have not moved yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi_handoff.store.rows import change_one

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable, Row

__all__ = ["change", "change_one", "fetch"]


def fetch(connection: Connection, statement: Executable, values: dict[str, Any]) -> Row[Any] | None:
    """Return the first row."""
    return connection.execute(statement, values).first()


def change(connection: Connection, statement: Executable, values: dict[str, Any]) -> int:
    """Return the number of rows that the statement changed."""
    count: int = connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount
    return count
