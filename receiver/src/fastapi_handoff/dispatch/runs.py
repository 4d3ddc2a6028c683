"""The handlers that run in this process, their leases, and the outcomes they leave."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fastapi_handoff.audit import append
from fastapi_handoff.dispatch import receipts
from fastapi_handoff.dispatch.registry import NEUTRAL, Outcome
from fastapi_handoff.store import StoreUnavailable
from fastapi_handoff.store.writer import one_at_a_time

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.dispatch.receipts import Key, Receipt
    from fastapi_handoff.dispatch.registry import Handler
    from fastapi_handoff.events import Event
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)

_STOPPED: Final = "the receiver was stopped while the handler ran; whether it did its work is not known"
_GIVE_UP_SECONDS: Final = 5.0
"""For an outcome to be written while the process ends; then its lease tells the other replicas."""


class LeaseLost(Exception):  # noqa: N818 - undoes a transaction
    """Another replica has ended this receipt, or taken it over."""


class Runs:
    """What runs here. One object belongs to one event loop."""

    def __init__(self, store: Store, *, resource: str, clock: Clock, lease: float) -> None:
        self.resource = resource
        self._store = store
        self._clock = clock
        self._lease = lease
        self._tasks: dict[Key, asyncio.Task[Receipt]] = {}
        self._receipts: dict[Key, Receipt] = {}
        self._broken: set[Key] = set()

    def task(self, key: Key) -> asyncio.Task[Receipt] | None:
        """Give the task that runs an event's handler here; its result is the final receipt."""
        return self._tasks.get(key)

    def was_started(self, key: Key) -> bool:
        """Tell whether an event's handler runs here, or ran and could not leave its outcome."""
        return key in self._tasks or key in self._broken

    def start(self, receipt: Receipt, handler: Handler, event: Event) -> None:
        """Run a handler in a task of its own: a client that goes away does not stop it."""
        task = asyncio.create_task(self._run(receipt, handler, event), name=f"handoff {receipt.event_id}")
        self._tasks[receipt.key], self._receipts[receipt.key] = task, receipt
        task.add_done_callback(lambda task: self._forget(receipt.key, task))

    def _forget(self, key: Key, task: asyncio.Task[Receipt]) -> None:
        del self._tasks[key], self._receipts[key]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("the outcome of event %s is lost: its lease will end", key[-1], exc_info=error)
        if task.cancelled() or error is not None:
            # It ran: never again in this process, whatever its receipt says.
            self._broken.add(key)

    async def _run(self, receipt: Receipt, handler: Handler, event: Event) -> Receipt:
        try:
            outcome = await handler.run(event, receipt.caller())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # The handler's own doing: nobody stops this task.
                outcome = Outcome("failed", NEUTRAL)
            elif handler.idempotent:
                return await self._give_back(receipt)
            else:
                outcome = Outcome("interrupted", _STOPPED)
        return await self._write(receipt, outcome)

    async def _write(self, receipt: Receipt, outcome: Outcome) -> Receipt:
        """Store the outcome, for as long as it takes: the handler has run, and is not run again."""
        wait = 0.1
        while True:
            try:
                return await self._store.write(lambda connection: self.end(connection, receipt, outcome))
            except StoreUnavailable:
                logger.warning("the outcome of event %s cannot be recorded yet: trying again", receipt.event_id)
            except LeaseLost:
                with suppress(StoreUnavailable):
                    return await self._record_late(receipt, outcome)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0, self._lease / 6)

    def end(self, connection: Connection, receipt: Receipt, outcome: Outcome) -> Receipt:
        """Record a final state and store it, or raise `LeaseLost`, which undoes the record."""
        ended = receipt.ended(outcome)
        entry = receipt.context(self.resource).entry(
            ended.state, outcome={"attempt": ended.attempts}, receipt=ended.digest()
        )
        ended = ended.anchored(append(connection, entry, clock=self._clock))
        if not receipts.end(connection, ended, int(self._clock() * 1_000_000)):
            raise LeaseLost
        return ended

    async def _record_late(self, receipt: Receipt, outcome: Outcome) -> Receipt:
        """Record an outcome that came after another replica had to say `interrupted`, or ran the handler again."""

        def record(connection: Connection) -> Receipt:
            stored = receipts.find(connection, receipt.key) or receipt
            if stored.digest() == receipt.ended(outcome).digest():
                # It was ours: the commit went well and its answer was lost.
                return stored
            logger.error("event %s ended as %s after its lease had ended", receipt.event_id, outcome.state)
            entry = receipt.context(self.resource).entry(
                outcome.state, action="event.late_outcome", outcome={"attempt": receipt.attempts}
            )
            append(connection, entry, clock=self._clock)
            return stored

        return await self._store.write(record)

    async def _give_back(self, receipt: Receipt) -> Receipt:
        """End a lease at once, so that another replica runs the handler again without waiting for it."""
        with suppress(StoreUnavailable):
            await self._store.write(lambda connection: receipts.renew(connection, receipt, 0))
        return receipt

    async def renew(self, until: int) -> None:
        """Put the end of every lease off to `until` (unix microseconds). Raises `StoreUnavailable`."""
        if not self._receipts:
            return
        held = list(self._receipts.values())

        def renew_all(connection: Connection) -> list[bool]:
            one_at_a_time(connection)
            return [receipts.renew(connection, receipt, until) for receipt in held]

        # Not behind the requests that wait to write: their crowd must not make live handlers look dead.
        async with self._store.transaction() as connection:
            renewed = await connection.run_sync(renew_all)
        for receipt, was_ours in zip(held, renewed, strict=True):
            if not was_ours and receipt.key in self._receipts:
                logger.warning("event %s runs here, but its lease is another replica's", receipt.event_id)

    async def wait(self, grace: float) -> None:
        """Wait `grace` seconds at most for the handlers that run."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace)

    async def interrupt(self) -> None:
        """Interrupt the handlers that run; an outcome that cannot be written soon is left to its lease."""
        left = set(self._tasks.values())
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=_GIVE_UP_SECONDS)
        if left:
            await self._store.stop_writing()
            for task in left:
                task.cancel()
            await asyncio.wait(left)
