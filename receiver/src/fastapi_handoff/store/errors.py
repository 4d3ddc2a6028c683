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
