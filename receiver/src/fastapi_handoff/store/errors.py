"""The one failure a store has, and which of SQLAlchemy's failures mean it."""

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class StoreUnavailable(Exception):  # noqa: N818 - a state of the world that passes, not a mistake of the caller
    """The database does not answer, cannot be written, or is not one this version can use.

    Where a write raises it, nothing is known about that write: the answer to a commit may be what was lost.
    """


def is_unavailable(error: BaseException) -> bool:
    """Return whether `error` means that the database, and not what it was asked, is at fault.

    An `IntegrityError` is a guard that did its work (a replay, a second binding) and a `DataError` a mistake of the
    caller: both are passed on as they are.
    """
    if isinstance(error, DBAPIError):
        return not isinstance(error, IntegrityError | DataError)
    # PendingRollbackError: a statement after the one that lost the connection.
    return isinstance(error, PoolTimeout | PendingRollbackError)


def translated(error: Exception) -> Exception:
    """Return the `StoreUnavailable` that `error` means, or `error` itself."""
    if not is_unavailable(error):
        return error
    # The driver's own words only: SQLAlchemy's add the statement and its parameters, which hold what a log must not.
    said = str(getattr(error, "orig", None) or error).strip()
    unavailable = StoreUnavailable(said or "the database did not answer in time")
    unavailable.__cause__ = error
    return unavailable
