"""The one writer: what many requests write at once becomes one transaction, and each request's part a savepoint in it.

A commit is what a write costs: the disk, a thread, a transaction of SQLAlchemy's. All writers wait for each other
anyway, for the chain has one end, so those who wait share the next commit. Nobody is answered before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import text

from fastapi_handoff.store import engine
from fastapi_handoff.store.compiled import change, fetch
from fastapi_handoff.store.errors import StoreUnavailable, translated
from fastapi_handoff.store.waiting import until_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection

Result = TypeVar("Result")

WRITER_LOCK: Final = 0x68616E646F666603
"""The PostgreSQL advisory lock of the one writer."""
_MAX_WORKS: Final = 32
"""In one transaction: on SQLite its statements run on the event loop, so together they must stay short."""
_CLOSED: Final = "the store is closed"
_TOO_LATE: Final = "no turn to write came in time"

_LOCK = text(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
_SAVEPOINT = text("SAVEPOINT one_work")
_ROLL_BACK = text("ROLLBACK TO SAVEPOINT one_work")
_RELEASE = text("RELEASE SAVEPOINT one_work")


def one_at_a_time(connection: Connection) -> None:
    """Let no other writer, on no replica, go on until this transaction ends: what is read here still holds at its end.

    One lock for everything, so no two writers can take two in different orders. SQLite begins its write transactions
    like that.
    """
    if connection.dialect.name == "postgresql":
        # A statement of its own: one that locks and reads would read what was there before the lock was granted.
        fetch(connection, _LOCK, {})


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Connection], Any]
    asked_at: float
    """The event loop's time."""
    outcome: asyncio.Future[Any]
    transaction: asyncio.Future[None] | None = None
    """Done when the transaction that the job is in has ended; `None` while it waits for one."""

    def settle(self, value: Any, error: BaseException | None) -> None:
        if self.outcome.done():
            return  # who asked was cancelled
        if error is None:
            self.outcome.set_result(value)
        else:
            # No future takes a `StopIteration`, which an exhausted clock of the user's may raise.
            self.outcome.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)


class Writer:
    """Does the works of one process, on one event loop.

    `transact` does a group of them in a transaction. It raises `StoreUnavailable` for every failure of the database.
    """

    def __init__(self, transact: Callable[[Callable[[Connection], Any]], Awaitable[Any]]) -> None:
        self._transact = transact
        self._waiting: deque[_Job] = deque()
        self._leader: asyncio.Task[None] | None = None
        self._is_closed = False

    async def do(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` and give what it returns once that is committed, or raise what it raised with nothing written.

        One that has waited too long for its turn is not done, and neither is one cancelled before its turn. Cancelled
        later, this returns when the transaction has ended: the caller never tidies up before its own work is through.
        """
        if self._is_closed:
            raise StoreUnavailable(_CLOSED)
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.time(), loop.create_future())
        self._waiting.append(job)
        if self._leader is None:
            # It writes for all, so it is in nobody's context: not in the first one's trace, for one.
            leader = loop.create_task(self._lead(), name="handoff writer", context=Context())
            # An app whose tasks are eager has it done by now, perhaps: nobody would lead the next ones.
            self._leader = None if leader.done() else leader
        try:
            result: Result = await job.outcome
        except asyncio.CancelledError:
            if job.transaction is not None:
                await until_done(job.transaction)
            if job.outcome.done() and not job.outcome.cancelled():
                job.outcome.exception()  # cancelled at the very end: it is read, or asyncio logs that nobody did
            raise
        return result

    def open(self) -> None:
        """Take works again."""
        self._is_closed = False

    async def close(self) -> None:
        """As `stop`, and refuse every work until `open`: none may hold on to what is closed next."""
        self._is_closed = True
        await self.stop()

    async def stop(self) -> None:
        """End what is under way; whoever waits is told so. The next work begins anew."""
        leader = self._leader
        if leader is None:
            return
        leader.cancel()
        await asyncio.wait([leader])
        if self._leader is leader:  # it had not even begun
            self._give_up()

    async def _lead(self) -> None:
        task = asyncio.current_task()
        try:
            # Cancelled during a commit that went well, it comes back here.
            while not (task and task.cancelling()) and (jobs := self._next_jobs()):
                await self._write_together(jobs)
                if self._waiting:
                    await asyncio.sleep(0)  # while the disk is quick nothing else lets the rest of the app go on
        finally:
            self._give_up()

    def _next_jobs(self) -> list[_Job]:
        jobs: list[_Job] = []
        too_old = asyncio.get_running_loop().time() - engine.TRANSACTION_TIMEOUT
        while self._waiting and len(jobs) < _MAX_WORKS:
            job = self._waiting.popleft()
            if job.asked_at <= too_old:
                # Told before it is done, not after: its caller may have gone, and the next ones wait.
                job.settle(None, StoreUnavailable(_TOO_LATE))
            elif not job.outcome.cancelled():
                jobs.append(job)
        return jobs

    def _give_up(self) -> None:
        self._leader = None
        while self._waiting:
            self._waiting.popleft().settle(None, StoreUnavailable(_CLOSED))

    async def _write_together(self, jobs: Sequence[_Job]) -> None:
        ended = asyncio.get_running_loop().create_future()
        for job in jobs:
            job.transaction = ended

        def all_of_them(connection: Connection) -> list[tuple[Any, Exception | None]]:
            one_at_a_time(connection)
            if len(jobs) == 1:
                return [(jobs[0].work(connection), None)]
            return [_attempt(connection, job.work) for job in jobs]

        try:
            results = await self._transact(all_of_them)
        except BaseException as failure:
            # Each gets an error of its own: what several raise at once would gather all their tracebacks.
            for job in jobs:
                job.settle(None, _same(failure))
            if not isinstance(failure, Exception):
                raise
        else:
            for job, (value, error) in zip(jobs, results, strict=True):
                job.settle(value, error)
        finally:
            ended.set_result(None)


def _attempt(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
    """Do one work of several: what it wrote is undone if it fails, and the others' stays."""
    change(connection, _SAVEPOINT, {})
    value: Any = None
    error: Exception | None = None
    try:
        value = work(connection)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is for the one who asked
        error = translated(failure)
        try:
            change(connection, _ROLL_BACK, {})
        except Exception:
            # The transaction is lost, and with it the works of all. The reason is what came first, if the database did.
            if isinstance(error, StoreUnavailable):
                raise error from failure
            raise
    change(connection, _RELEASE, {})
    return value, error


def _same(failure: BaseException) -> BaseException:
    if isinstance(failure, StoreUnavailable):
        same = StoreUnavailable(*failure.args)
        same.__cause__ = failure.__cause__
        return same
    # The work's own, which was alone; or the writer itself is cancelled.
    return failure if isinstance(failure, Exception) else StoreUnavailable(_CLOSED)
