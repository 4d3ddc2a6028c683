"""The statements of every request, compiled once and handed to the driver as they are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from fastapi_handoff.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Executable, Insert, Update

Row = tuple[Any, ...]


def fetch(connection: Connection, statement: Executable, values: dict[str, Any]) -> Row | None:
    """Give the first row of a query that is a constant of its module."""
    return _execute(connection, statement, values)[0]


def change(connection: Connection, statement: Executable, values: dict[str, Any]) -> int:
    """Run a statement that is a constant of its module, and give the number of rows it touched.

    The driver gets the values as they are, so every text among them must be storable.
    """
    return _execute(connection, statement, values)[1]


def change_one(connection: Connection, statement: Insert | Update, values: dict[str, Any]) -> None:
    """As `change`, of a statement that touches one row. Raises `StoreUnavailable` where it touched none, or more.

    A trigger or a rule can swallow a write without an error, and what happens next would have no record.
    """
    touched = change(connection, statement, values)
    if touched != 1:
        raise StoreUnavailable(
            f"writing one row to `{statement.table}` changed {touched}: a trigger or a rule on that table, "
            "or a table made anew, keeps this service from writing"
        )


def _execute(connection: Connection, statement: Executable, values: dict[str, Any]) -> tuple[Row | None, int]:
    # A tenth of what SQLAlchemy's own way to the driver costs. What the driver raises is still told as SQLAlchemy does.
    sql, names, constants = _compiled(statement, connection.dialect)
    named = {**constants, **values}
    parameters: Any = named if names is None else tuple([named[name] for name in names])
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        return (cursor.fetchone() if cursor.description else None), cursor.rowcount
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            sql, None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()


@lru_cache(maxsize=64)
def _compiled(statement: Any, dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.positiontup, compiled.params
