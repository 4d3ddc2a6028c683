"""The one failure a store has, and which of a driver's failures mean it."""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class StoreUnavailable(Exception):  # noqa: N818 - a state of the world that passes, not a mistake of the caller
    """The database does not answer, cannot be written, or is not one this version can use."""


def is_unavailable(error: BaseException) -> bool:
    """Tell whether `error` means that the database, and not what it was asked, is at fault.

    An `IntegrityError` is a guard that did its work (a replay, a second binding) and a `DataError` a mistake of the
    caller: both are passed on as they are.
    """
    if isinstance(error, DBAPIError):
        return not isinstance(error, IntegrityError | DataError)
    # TimeoutError: a deadline of ours. sqlite3's own: no turn to write came.
    return isinstance(error, PoolTimeout | TimeoutError | sqlite3.OperationalError)


def translated(error: Exception) -> Exception:
    """Give the `StoreUnavailable` that `error` means, or `error` itself."""
    if not is_unavailable(error):
        return error
    # The driver's own words only: SQLAlchemy's add the statement and its parameters, which hold what a log must not.
    said = str(getattr(error, "orig", None) or error).strip()
    unavailable = StoreUnavailable(said or "the database did not answer in time")
    unavailable.__cause__ = error
    return unavailable
