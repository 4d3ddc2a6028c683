"""The database's clock, by which leases are judged: the clocks of two replicas may differ, the database has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler


class database_time(FunctionElement[int]):  # noqa: N801 - used as a function of SQL's
    """Unix microseconds in SQL, on SQLite in steps of a millisecond. On SQLite it is the clock of the machine."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_time, "postgresql")
def _postgresql(_: database_time, __: SQLCompiler, **___: Any) -> str:
    # Not `now()`, which is when the transaction began: a crowd of jobs may share one.
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@compiles(database_time, "sqlite")
def _sqlite(_: database_time, __: SQLCompiler, **___: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"
