"""What this process does about single receipts: claim one, run its handler, store the outcome. Each in a task."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi_handoff import events
from fastapi_handoff.dispatch.receipt import Receipt
from fastapi_handoff.dispatch.receipt_table import LeaseLost
from fastapi_handoff.dispatch.registry import FAILED, Outcome
from fastapi_handoff.dispatch.states import RELEASE_SECONDS, Happening, Lease, Sight, State, judge, step
from fastapi_handoff.events import EventMalformed
from fastapi_handoff.request import Refusal
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from fastapi_handoff.dispatch.receipt import Key, Row
    from fastapi_handoff.dispatch.receipt_table import ReceiptTable
    from fastapi_handoff.dispatch.registry import Handler
    from fastapi_handoff.dispatch.threads import HandlerThreads
    from fastapi_handoff.events import Event
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

REMEMBERED: Final = 100_000
"""Events whose handlers this process remembers to have started: more than any database loses of its last commits."""
_GIVE_UP_SECONDS: Final = 5.0
"""For an outcome to be written while the app shuts down; then the lease tells the other replicas."""
_LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries to write what must be written."""


class Phase(Enum):
    """How far a run is."""

    WAITING = auto()
    """For a thread. Nothing is claimed."""
    CLAIMING = auto()
    HANDLING = auto()
    ENDING = auto()


@dataclass(slots=True, eq=False)
class Run:
    """One receipt that this process sees to."""

    key: Key
    handler: Handler | None
    receipt: Receipt | None = None
    """As this process has just stored it; `None` where it is to be read."""
    event: Event | None = None
    phase: Phase = Phase.WAITING


class Runs:
    """The runs of this process, one for a receipt. One object belongs to one event loop."""

    def __init__(
        self, store: Store, table: ReceiptTable, threads: HandlerThreads, *, is_steady: Callable[[], bool]
    ) -> None:
        self._store = store
        self._table = table
        self._threads = threads
        self._is_steady = is_steady
        self._tasks: dict[Key, tuple[Run, asyncio.Task[Receipt | None]]] = {}
        self._started: dict[Key, None] = {}
        """Whose handlers were started here. Only added to when the claim is committed, and never by what is stored."""
        self._is_stopping = False
        self._cut_off_at = float("inf")

    def open(self) -> None:
        """Take receipts again after `stop`."""
        self._is_stopping, self._cut_off_at = False, float("inf")

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._tasks)

    def task(self, key: Key) -> asyncio.Task[Receipt | None] | None:
        """Return the task of an event's run; its result is the receipt as it stands then, if that can be read."""
        return self._tasks[key][1] if key in self._tasks else None

    def add(self, run: Run) -> None:
        """See to a receipt in a task of its own: a client that goes away does not stop it."""
        if run.key in self._tasks or self._is_stopping:
            return  # a receipt left pending is the next process's
        task = asyncio.create_task(self._see_to(run), name=f"handoff {run.key[-1]}")
        self._tasks[run.key] = run, task
        task.add_done_callback(lambda task: self._forget(run, task))

    def _forget(self, run: Run, task: asyncio.Task[Receipt | None]) -> None:
        del self._tasks[run.key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("event %r is left to its lease: %s", run.key[-1], error, exc_info=error)

    async def _see_to(self, run: Run) -> Receipt | None:
        try:
            async with self._free_thread(run.handler):
                run.phase = Phase.CLAIMING
                receipt, event = await self._persist(lambda connection: self._claim(connection, run))
                if receipt is None or event is None or run.handler is None or self._cut_off_at < float("inf"):
                    return receipt
                run.phase = Phase.HANDLING
                outcome = await self._handle(run.handler, event, receipt)
        except asyncio.CancelledError:
            if run.phase is Phase.WAITING:
                await self._give_back(run.key)
            raise
        run.phase = Phase.ENDING
        if outcome.happening is Happening.GIVEN_BACK:
            await self._give_back(run.key)
            return receipt
        try:
            return await self._persist(lambda connection: self._end(connection, receipt, outcome))
        except LeaseLost:
            return await self._persist(lambda connection: self._end_late(connection, receipt, outcome))

    def _free_thread(self, handler: Handler | None) -> AbstractAsyncContextManager[Any]:
        return self._threads.free if handler is not None and handler.is_plain else nullcontext()

    async def _persist(self, job: Callable[[Connection], Result]) -> Result:
        """Do a job of the store for as long as it takes; a job may find that it was done before, and not told."""
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return await self._store.write(job)
            except StoreUnavailable as error:
                if time.monotonic() > max(began, self._cut_off_at) + _GIVE_UP_SECONDS:
                    raise
                logger.warning("what became of an event cannot be recorded yet, it is tried again: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _claim(self, connection: Connection, run: Run) -> tuple[Receipt | None, Event | None]:
        """Claim a receipt, or do what else is due; return it, and the event where the handler is to be started."""
        is_known = run.key in self._started
        if run.receipt is not None and not is_known:
            claimed = self._table.claim_new(connection, run.receipt.row)
            if claimed is not None:
                return replace(run.receipt, row=claimed), run.event
        row = self._table.find(connection, run.key)
        if row is None or State(row["state"]).is_final:
            return _readable(row), None
        handler, lease = run.handler, self._table.lease_of(row)
        sight = Sight(
            state=State(row["state"]),
            lease=lease,
            attempts=row["attempts"],
            # Asked here, and not only before: the claim may have waited for the end of an outage.
            is_steady=self._is_steady(),
            was_started_here=is_known,
            is_handled=handler is not None,
            is_idempotent=handler is not None and handler.idempotent,
            is_new=self._table.age_of(row) < RELEASE_SECONDS,
        )
        happening = judge(sight)
        if happening is None:
            return _readable(row), None
        reason, event = None, None
        if happening in {Happening.CLAIMED, Happening.RESUMED}:
            reason = self._table.distrust(connection, row)
            if reason is None:
                try:
                    event = events.parse_stored(row["event_type"], row["body"])
                except EventMalformed as error:
                    reason = f"the stored event cannot be read by this version of the receiver: {error}"
            if reason is not None:
                logger.error("event %r is not run, run `fastapi-handoff audit verify`: %s", run.key[-1], reason)
                happening = Happening.ALTERED
        return _readable(self._change(connection, row, happening, reason)), event

    def _change(self, connection: Connection, row: Row, happening: Happening, reason: str | None) -> Row:
        try:
            return self._table.apply(connection, row, happening, reason=reason)
        except LeaseLost:
            # It was read in this transaction, and no other writer changes it meanwhile: what is written is not kept.
            raise StoreUnavailable(f"the receipt of event {row['event_id']!r} cannot be changed") from None

    async def _handle(self, handler: Handler, event: Event, receipt: Receipt) -> Outcome:
        while len(self._started) >= REMEMBERED:
            del self._started[next(iter(self._started))]
        self._started[receipt.key] = None
        try:
            return await handler.run(event, receipt.identity, self._threads)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                return FAILED  # the handler's own doing: nobody stops this task
            return Outcome(Happening.GIVEN_BACK if handler.idempotent else Happening.STOPPED)

    def _end(self, connection: Connection, receipt: Receipt, outcome: Outcome) -> Receipt:
        """Record and store the outcome, or raise `LeaseLost`, which undoes the record."""
        context = receipt.context(self._table.resource)
        row = self._table.apply(connection, receipt.row, outcome.happening, outcome, context=context)
        return replace(receipt, row=row, result=outcome.result)

    def _end_late(self, connection: Connection, receipt: Receipt, outcome: Outcome) -> Receipt:
        """Record an outcome where the stored receipt is not the one that this process claimed any more."""
        row = self._table.find(connection, receipt.key)
        wanted = self._table.after(receipt.row, step(State.RUNNING, outcome.happening), outcome)
        if row is not None and self._table.is_same(row, wanted):
            # It was ours: the commit went well, and its answer was lost.
            return replace(receipt, row=row, result=outcome.result)
        if row is not None and self._is_still_ours(row, receipt):
            # The database has lost the commit of the claim.
            return replace(receipt, row=self._change_to(connection, row, outcome), result=outcome.result)
        logger.error("event %r ended as %s after its lease had ended", receipt.key[-1], outcome.state)
        self._table.apply(connection, receipt.row, Happening.ENDED_LATE, outcome)
        return _readable(row) or receipt

    def _is_still_ours(self, row: Row, receipt: Receipt) -> bool:
        is_open = row["state"] in {State.PENDING, State.RUNNING} and self._table.lease_of(row) is Lease.OURS
        return is_open and row["attempts"] <= receipt.row["attempts"] and self._table.is_same(row, receipt.row)

    def _change_to(self, connection: Connection, row: Row, outcome: Outcome) -> Row:
        try:
            return self._table.apply(connection, row, outcome.happening, outcome)
        except LeaseLost:
            raise StoreUnavailable(f"the receipt of event {row['event_id']!r} cannot be ended") from None

    async def _give_back(self, key: Key) -> None:
        """Let the next process see to a receipt without waiting for the end of its lease."""

        def give_back(connection: Connection) -> None:
            row = self._table.find(connection, key)
            if row is not None and not State(row["state"]).is_final and self._table.lease_of(row) is Lease.OURS:
                self._change(connection, row, Happening.GIVEN_BACK, None)

        with suppress(StoreUnavailable):
            await self._store.write(give_back)

    async def stop(self, grace: float) -> None:
        """Wait for what runs, then cut off what can be; return when nothing runs any more."""
        self._is_stopping = True
        for run, task in list(self._tasks.values()):
            if run.phase is Phase.WAITING:
                task.cancel()
        try:
            await self._ended(grace)
        finally:
            # Also where the server cuts the shutdown short: the store is closed next, and nobody may try for ever.
            self._cut_off_at = time.monotonic()
        for run, task in list(self._tasks.values()):
            if run.phase is Phase.HANDLING:
                task.cancel()
        if not await self._ended(_GIVE_UP_SECONDS):
            logger.warning("the app ends when its plain handlers have ended: a thread cannot be stopped")
            await self._ended(None)
        self._threads.close()

    async def _ended(self, seconds: float | None) -> bool:
        tasks = [task for _, task in self._tasks.values()]
        return not tasks or not (await asyncio.wait(tasks, timeout=seconds))[1]


def _readable(row: Row | None) -> Receipt | None:
    try:
        return None if row is None else Receipt.of_row(row)
    except Refusal:
        return None
