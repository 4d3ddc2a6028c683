"""Threads that do what callers on an event loop ask for, while the loop goes on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from fastapi_handoff.store import engine
from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.turn import IN_TIME, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

Result = TypeVar("Result")
Outcome = tuple[Any, BaseException | None]
"""What a job returned, or what it raised."""

CLOSED: Final = "the store is closed"
TOO_LATE: Final = "no turn came in time"
CLOSING_PATIENCE: Final = 1.0
"""Seconds that what is under way may still take when the store is closed, before its connection is cut."""


class Job:
    """What one caller asked for, and what came of it."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.asked_at = time.monotonic()
        self.turn: Turn | None = None
        """The turn in which it is done; `None` while it waits for one."""
        self.outcome: Outcome | None = None
        self._settled = asyncio.Event()

    def settle(self, outcome: Outcome) -> None:
        """Let the caller go on. Only on its event loop. The first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._settled.set()

    async def wait(self) -> None:
        """Wait until the job is settled."""
        await self._settled.wait()

    async def wait_whoever_cancels(self) -> None:
        """Wait until the job is settled; a cancellation does not end that."""
        while not self._settled.is_set():
            with suppress(asyncio.CancelledError):
                await self._settled.wait()


class Workers:
    """Some threads, and the jobs that wait for one of them.

    `do` does a group of jobs, `together` at most, in one turn and returns the outcome of each; what it raises is the
    outcome of all. A caller waits `TRANSACTION_TIMEOUT` seconds at most for a turn, and a turn that takes longer than
    that is cut. One object belongs to one event loop.
    """

    def __init__(
        self, name: str, do: Callable[[Sequence[Job], Turn], list[Outcome]], *, threads: int = 1, together: int = 1
    ) -> None:
        self._name = name
        self._do = do
        self._threads = threads
        self._together = together
        self._executor: ThreadPoolExecutor | None = None
        self._is_closed = False
        self._lock = Lock()
        # What the threads and the event loop share, under the lock:
        self._waiting: deque[Job] = deque()
        self._urgent: deque[Job] = deque()
        self._under_way: list[Sequence[Job]] = []
        self._running = 0

    async def do(self, work: Callable[[Connection], Result], *, urgent: bool = False) -> Result:
        """Have `work` done in a thread, and return what it returns or raise what it raises.

        Cancelled before its turn, it is not done. Cancelled later, this returns when the turn has ended: a caller that
        tidies up must not do so while its own work still runs.
        """
        if self._is_closed:
            raise StoreUnavailable(CLOSED)
        job = Job(work)
        timer = job.loop.call_later(engine.TRANSACTION_TIMEOUT, self._end, job)
        self._enter(job, urgent=urgent)
        try:
            await job.wait()
        except asyncio.CancelledError:
            if not self._withdraw(job):
                await job.wait_whoever_cancels()
            raise
        finally:
            timer.cancel()
        value, error = cast("Outcome", job.outcome)
        if error is not None:
            raise error
        return cast("Result", value)

    def open(self) -> None:
        """Take jobs again."""
        self._is_closed = False

    async def close(self) -> None:
        """Refuse every job until `open`, and end what is under way: none may hold on to what is closed next."""
        self._is_closed = True
        await self._stop()
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def _stop(self) -> None:
        """Refuse the jobs that wait, and end those under way: by themselves if that is soon, else by a cut."""
        with self._lock:
            refused = [*self._urgent, *self._waiting]
            self._urgent.clear()
            self._waiting.clear()
            under_way = [job for jobs in self._under_way for job in jobs]
        for job in refused:
            job.settle((None, StoreUnavailable(CLOSED)))
        if under_way:
            ends = [asyncio.ensure_future(job.wait_whoever_cancels()) for job in under_way]
            await asyncio.wait(ends, timeout=CLOSING_PATIENCE)
            for job in under_way:
                self._cut(job)
            await asyncio.wait(ends)

    def _enter(self, job: Job, *, urgent: bool) -> None:
        with self._lock:
            (self._urgent if urgent else self._waiting).append(job)
            if self._running == self._threads:
                return  # one of them takes it when it is done
            self._running += 1
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix=f"fastapi-handoff-{self._name}")
        self._executor.submit(self._work)

    def _withdraw(self, job: Job) -> bool:
        """Take back a job that still waits for its turn; return whether it did."""
        with self._lock:
            for jobs in (self._urgent, self._waiting):
                if job in jobs:
                    jobs.remove(job)
                    return True
        return False

    def _end(self, job: Job) -> None:
        """Refuse a job whose turn did not come in time, and cut a turn that takes too long."""
        if self._withdraw(job):
            job.settle((None, StoreUnavailable(TOO_LATE)))
        elif job.turn is not None and job.outcome is None:
            left = job.turn.began_at + engine.TRANSACTION_TIMEOUT - time.monotonic()
            if left > 0:
                job.loop.call_later(left, self._end, job)
            else:
                self._cut(job)

    def _cut(self, job: Job) -> None:
        # One whose thread has no connection yet is not done at all, however long the thread still looks for a server.
        if job.turn is not None and job.outcome is None and not job.turn.cut():
            job.settle((None, StoreUnavailable(IN_TIME)))

    def _work(self) -> None:
        """Do what waits, until nothing does. In a thread."""
        while jobs := self._next_jobs():
            try:
                outcomes = self._do(jobs, jobs[0].turn or Turn())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for those who asked
                # Each gets an error of its own: what several raise at once would gather all their tracebacks.
                outcomes = [(None, _same(error)) for _ in jobs]
            with self._lock:
                self._under_way.remove(jobs)
            _tell(jobs, outcomes)

    def _next_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        late: list[Job] = []
        turn = Turn()
        with self._lock:
            while len(jobs) < self._together and (queue := self._urgent or self._waiting):
                job = queue.popleft()
                # Told before it is done, not after: its caller may have gone, and the next ones wait.
                if job.asked_at <= turn.began_at - engine.TRANSACTION_TIMEOUT:
                    late.append(job)
                else:
                    job.turn = turn
                    jobs.append(job)
            if jobs:
                self._under_way.append(jobs)
            else:
                self._running -= 1
        if late:
            _tell(late, [(None, StoreUnavailable(TOO_LATE)) for _ in late])
        return jobs


def _tell(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    def settle() -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.settle(outcome)

    with suppress(RuntimeError):  # the event loop is closed, and nobody waits any more
        jobs[0].loop.call_soon_threadsafe(settle)


def _same(failure: BaseException) -> BaseException:
    if not isinstance(failure, StoreUnavailable):
        return failure
    same = StoreUnavailable(*failure.args)
    same.__cause__ = failure.__cause__
    return same
