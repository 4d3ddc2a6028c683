"""The one starter of handlers: one delivery of an event makes its handler run, all others get its receipt."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi_handoff.audit import append
from fastapi_handoff.dispatch.receipt import Receipt, key_of
from fastapi_handoff.dispatch.receipt_table import ReceiptTable
from fastapi_handoff.dispatch.runs import Run, Runs
from fastapi_handoff.dispatch.states import Happening, Lease, step
from fastapi_handoff.dispatch.steadiness import Steadiness
from fastapi_handoff.request import Refusal
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth import Caller
    from fastapi_handoff.dispatch.delivery import Delivery
    from fastapi_handoff.dispatch.receipt import Key, Row
    from fastapi_handoff.dispatch.registry import Handlers
    from fastapi_handoff.dispatch.threads import HandlerThreads
    from fastapi_handoff.request import RequestContext
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)


class Dispatcher:
    """The receipts of a store, as one process of perhaps many sees to them."""

    def __init__(
        self,
        store: Store,
        handlers: Handlers,
        threads: HandlerThreads,
        *,
        resource: str,
        clock: Clock,
        inline_timeout: float,
        lease: float,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._inline_timeout = inline_timeout
        self._lease = lease
        self._table = ReceiptTable(resource=resource, clock=clock, lease=lease)
        self._steadiness = Steadiness(lease)
        self._runs = Runs(store, self._table, threads, is_steady=self._steadiness.is_steady)
        self._look_now = asyncio.Event()

    async def accept(self, delivery: Delivery, context: RequestContext) -> Receipt:
        """Record the delivery, have the handler started if this is the event's first, and wait for its end a while.

        Claiming the proof, the record and the receipt are one transaction. Raises `Refusal` (`proof-replayed`,
        `event-conflict`, `receipt-damaged`) and `StoreUnavailable`; what was committed and only not told is found in
        the table later.
        """
        key = _key(delivery.caller, delivery.event.id)

        def accept(connection: Connection) -> tuple[Receipt, bool]:
            delivery.caller.replay.claim(connection)
            row = self._table.find(connection, key)
            if row is None:
                new = Receipt.of_delivery(delivery, context.trace_id, self._table.now())
                return replace(new, row=self._table.add(connection, new.row, context)), True
            stored = Receipt.of_row(row)
            if row["content_digest"] != delivery.digest:
                code = step(stored.state, Happening.DELIVERED_OTHERWISE).code or ""
                raise Refusal(code, "another event was delivered under this id: each event has an id of its own")
            self._table.apply(connection, row, Happening.DELIVERED, context=context)
            return stored, False

        try:
            receipt, is_new = await self._store.write(accept)
        except asyncio.CancelledError:
            # The client went away during the commit: what was committed is started by whoever looks at the table.
            self._look_now.set()
            raise
        if is_new:
            self._runs.add(Run(key, delivery.handler, receipt, delivery.event))
        else:
            self._see_to(receipt)
        return await self._wait(receipt)

    async def read(self, event_id: str, caller: Caller, context: RequestContext) -> Receipt:
        """Return the receipt of an event of the caller's own step, and record that it was read.

        Raises `Refusal` (`proof-replayed`, `event-not-found`, `receipt-damaged`) and `StoreUnavailable`.
        """

        def look(connection: Connection) -> Receipt:
            caller.replay.claim(connection)
            row = self._table.find(connection, _key(caller, event_id))
            if row is None or row["subject"] != caller.identity.subject:
                # The same answer for both: whether another step has such an event is not this step's to know.
                raise Refusal("event-not-found", "this step has delivered no event of that id")
            receipt = Receipt.of_row(row)
            context.event_id = event_id
            append(connection, context.entry("accepted"), clock=self._clock)
            return receipt

        receipt = await self._store.write(look)
        self._see_to(receipt)
        return receipt

    def retry_after(self, receipt: Receipt) -> int:
        """Return the seconds after which to ask again: a quarter of the time it runs already, 1 to 15."""
        age = self._clock() - receipt.row["received_at"] / 1_000_000
        return max(1, min(15, int(age / 4)))

    async def keep(self) -> None:
        """Renew this process's leases, and see to the receipts that are its own or nobody's. For ever."""
        self._runs.open()
        while True:
            pause = self._lease / 3
            try:
                # Also where there is nothing to renew: whether writes go well says whether others could renew theirs.
                # Not behind the requests that wait to write: their crowd must not make live handlers look dead.
                await self._store.write(self._table.renew, urgent=True)
                self._steadiness.wrote()
                for row in await self._store.read(self._table.unattended):
                    self._see_to_row_safely(row)
            except StoreUnavailable:
                self._steadiness.failed()
                # Soon: a try that failed late has used up most of what the leases had left.
                pause = min(2.0, self._lease / 12)
            except Exception:
                logger.exception("looking after the leases failed; it is tried again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), pause)
            self._look_now.clear()

    async def stop(self, grace: float) -> None:
        """Wait `grace` seconds for the handlers that run here, then cut them off; `keep` must go on until it returns.

        A plain handler cannot be cut off: it is waited for, under its lease.
        """
        await self._runs.stop(grace)

    def _see_to(self, receipt: Receipt) -> None:
        if not receipt.is_final:
            self._see_to_row(receipt.key, receipt.row["event_type"], self._table.lease_of(receipt.row))

    def _see_to_row_safely(self, row: Row) -> None:
        try:
            self._see_to_row(key_of(row), row["event_type"], self._table.lease_of(row))
        except Exception:
            # A row that somebody tampered with must not keep the others from being looked after.
            logger.exception("the receipt of event %r cannot be looked after", row["event_id"])

    def _see_to_row(self, key: Key, event_type: str, lease: Lease) -> None:
        """Have a receipt that is not final looked at, unless it is another process's."""
        if lease is Lease.OURS or (lease is Lease.ENDED and self._steadiness.is_steady()):
            self._runs.add(Run(key, self._handlers.find_stored(event_type)))

    async def _wait(self, receipt: Receipt) -> Receipt:
        """Wait for the end of what runs here or on another replica, `inline_timeout` seconds at most."""
        until = time.monotonic() + self._inline_timeout
        task = self._runs.task(receipt.key)
        if task is not None:
            await asyncio.wait({task}, timeout=self._inline_timeout)
            if not task.done() or task.cancelled() or task.exception() is not None:
                return receipt
            receipt = task.result() or receipt
        pause = 0.1
        while not receipt.is_final and time.monotonic() + pause < until:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            try:
                row = await self._store.read(functools.partial(self._table.find, key=receipt.key))
            except StoreUnavailable:
                # It was accepted: that it runs is the last thing known.
                return receipt
            receipt = receipt if row is None else Receipt.of_row(row)
        return receipt


def _key(caller: Caller, event_id: str) -> Key:
    return caller.identity.issuer_url, caller.identity.source, event_id
