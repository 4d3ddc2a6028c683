"""Exactly once, or told: one delivery of an event runs its handler, all others get its receipt."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import uuid4

from fastapi_handoff import events
from fastapi_handoff.audit import append
from fastapi_handoff.dispatch import receipts
from fastapi_handoff.dispatch.receipts import Receipt
from fastapi_handoff.dispatch.registry import Outcome
from fastapi_handoff.dispatch.runs import LeaseLost, Runs
from fastapi_handoff.request.refusal import Refusal
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.auth import Caller
    from fastapi_handoff.dispatch.delivery import Delivery
    from fastapi_handoff.dispatch.receipts import Key
    from fastapi_handoff.dispatch.registry import Handler, Handlers
    from fastapi_handoff.events import Event
    from fastapi_handoff.request import RequestContext
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 5
"""Of an idempotent handler: one that kills its process each time must not take every replica down for ever."""
_DIED: Final = "the receiver's process ended while the handler ran; whether it did its work is not known"
_TOO_OFTEN: Final = f"the receiver's process ended while the handler ran, {MAX_ATTEMPTS} times"


Found = TypeVar("Found", bound=Receipt | None)


class Dispatcher:
    """The receipts of a store, as one process of perhaps many sees to them."""

    def __init__(
        self, store: Store, handlers: Handlers, *, resource: str, clock: Clock, inline_timeout: float, lease: float
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._inline_timeout = inline_timeout
        self._lease = lease
        self._owner = uuid4().hex
        self._runs = Runs(store, resource=resource, clock=clock, lease=lease)
        self._starting: dict[Key, object] = {}
        """Whose handler is about to be started here, and by which call of `_settle`."""
        self._doubtful: set[Key] = set()
        self._look_now = asyncio.Event()
        self._steady_since: float | None = None

    async def accept(self, delivery: Delivery, context: RequestContext) -> Receipt:
        """Record the delivery, run the handler if this is the event's first, and wait for its end a while.

        Claiming the proof, the record and the receipt are one transaction. Raises `Refusal` (`proof-replayed`,
        `event-conflict`) and `StoreUnavailable`; then no handler was started.
        """
        key = _key(delivery.caller, delivery.event.id)

        def accept(connection: Connection, call: object) -> tuple[Receipt, bool]:
            delivery.caller.replay.claim(connection)
            receipt = receipts.find(connection, key)
            if receipt is None:
                self._starting[key] = call
                return self._add(connection, delivery, context), True
            if receipt.content_digest != delivery.digest:
                raise Refusal(
                    "event-conflict", "another event was delivered under this id: each event has an id of its own"
                )
            entry = context.entry("accepted", action="event.redeliver", outcome={"state": receipt.state})
            append(connection, entry, clock=self._clock)
            return self._revisit(connection, receipt, call)

        return await self._wait(await self._settle(key, accept, delivery.event))

    def _add(self, connection: Connection, delivery: Delivery, context: RequestContext) -> Receipt:
        receipt = self._new(delivery, context)
        entry = context.entry("accepted", receipt=receipt.digest())
        receipt = receipt.anchored(append(connection, entry, clock=self._clock))
        receipts.add(connection, receipt)
        return receipt

    def _new(self, delivery: Delivery, context: RequestContext) -> Receipt:
        identity = delivery.caller.identity
        return Receipt(
            issuer=identity.issuer_url,
            source=identity.source,
            event_id=delivery.event.id,
            subject=identity.subject,
            content_digest=delivery.digest,
            event_type=delivery.event.type,
            scope=" ".join(sorted(identity.scopes)),
            body=delivery.body,
            state="running",
            identity=json.dumps(identity.to_json()),
            asserted=json.dumps(context.asserted),
            trace_id=context.trace_id,
            lease_owner=self._owner,
            lease_until=self._lease_end(),
            attempts=1,
            received_at=self._now(),
        )

    async def read(self, event_id: str, caller: Caller, context: RequestContext) -> Receipt:
        """Give the receipt of an event of the caller's own step, and record that it was read.

        Raises `Refusal` (`proof-replayed`, `event-not-found`) and `StoreUnavailable`.
        """

        def look(connection: Connection) -> Receipt:
            caller.replay.claim(connection)
            receipt = receipts.find(connection, _key(caller, event_id))
            if receipt is None or receipt.subject != caller.identity.subject:
                # The same answer for both: whether another step has such an event is not this step's to know.
                raise Refusal("event-not-found", "this step has delivered no event of that id")
            context.event_id = event_id
            append(connection, context.entry("accepted"), clock=self._clock)
            return receipt

        receipt = await self._store.write(look)
        if not receipt.is_final and not self._runs.was_started(receipt.key):
            return await self._visit(receipt.key) or receipt
        return receipt

    def retry_after(self, receipt: Receipt) -> int:
        """Give the seconds after which to ask again: a quarter of the time it runs already, 1 to 15."""
        age = self._clock() - receipt.received_at / 1_000_000
        return max(1, min(15, int(age / 4)))

    async def keep(self) -> None:
        """Renew the leases of what runs here, and look after what ran in processes that are no more. For ever."""
        while True:
            try:
                await self._runs.renew(self._lease_end())
                await self._sweep()
                if self._steady_since is None:
                    self._steady_since = time.monotonic()
            except StoreUnavailable:
                self._steady_since = None
            except Exception:
                logger.exception("looking after the leases failed; it is tried again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), self._lease / 3)
            self._look_now.clear()

    async def wait_for_handlers(self, grace: float) -> None:
        """Wait `grace` seconds at most for the handlers that run here."""
        await self._runs.wait(grace)

    async def interrupt(self) -> None:
        """Interrupt the handlers that still run here, and say so in their receipts."""
        await self._runs.interrupt()

    async def _wait(self, receipt: Receipt) -> Receipt:
        """Wait for the end of what runs here or on another replica, `inline_timeout` seconds at most."""
        task = self._runs.task(receipt.key)
        if task is not None:
            await asyncio.wait({task}, timeout=self._inline_timeout)
            # A task that was cancelled, as the process ends, leaves its receipt as it is.
            return receipt if not task.done() or task.cancelled() or task.exception() else task.result()
        until = time.monotonic() + self._inline_timeout
        pause = 0.1
        while not receipt.is_final and time.monotonic() + pause < until:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            try:
                found = await self._store.read(functools.partial(receipts.find, key=receipt.key))
            except StoreUnavailable:
                # It was accepted: that it runs is the last thing known.
                return receipt
            receipt = found or receipt
        return receipt

    async def _sweep(self) -> None:
        now = self._now()
        keys = await self._store.read(lambda connection: receipts.ended_leases(connection, now))
        for key in {*keys, *self._doubtful}:
            self._doubtful.discard(key)  # before: whoever comes to doubt it meanwhile is not forgotten
            try:
                await self._visit(key)
            except StoreUnavailable:
                raise
            except Exception:
                # A receipt that somebody tampered with must not keep the others from being looked after.
                logger.exception("the receipt of event %r cannot be looked after", key[-1])

    async def _visit(self, key: Key) -> Receipt | None:
        """Look at a receipt, and see to it if nobody else does."""

        def visit(connection: Connection, call: object) -> tuple[Receipt | None, bool]:
            receipt = receipts.find(connection, key)
            return (None, False) if receipt is None else self._revisit(connection, receipt, call)

        return await self._settle(key, visit)

    async def _settle(
        self, key: Key, work: Callable[[Connection, object], tuple[Found, bool]], event: Event | None = None
    ) -> Found:
        """Do `work` in a transaction; start the handler of the receipt it gives, once committed, if `work` says so.

        `work` notes its second argument in `_starting` if so: others see what is committed before the handler starts.
        """
        call = object()
        try:
            receipt, is_ours = await self._store.write(lambda connection: work(connection, call))
            handler = self._handler(receipt) if receipt is not None and is_ours else None
            if receipt is not None and handler is not None:
                self._runs.start(receipt, handler, event or events.parse_stored(receipt.event_type, receipt.body))
        except StoreUnavailable:
            # Perhaps it was committed, and only the answer was lost: `keep` looks at it again.
            self._doubtful.add(key)
            raise
        except asyncio.CancelledError:
            # The client went away during the commit, and nobody else will start what was committed.
            self._doubtful.add(key)
            self._look_now.set()
            raise
        finally:
            if self._starting.get(key) is call:
                del self._starting[key]
        return receipt

    def _revisit(self, connection: Connection, receipt: Receipt, call: object) -> tuple[Receipt, bool]:
        """Give a receipt as it stands, and whether its handler is to be started here, once the caller has committed.

        One whose lease has ended is taken over, or becomes `interrupted`, in the caller's transaction.
        """
        if receipt.is_final or receipt.key in self._starting:
            return receipt, False
        handler = self._handler(receipt)
        if receipt.lease_owner == self._owner and handler is not None and not self._runs.was_started(receipt.key):
            if (reason := receipts.altered(connection, receipt)) is not None:
                return self._refuse_to_run(connection, receipt, reason), False
            # Ours, but not started: the commit went well and its answer was lost.
            self._starting[receipt.key] = call
            # The outage may have outlasted the lease: to start under an ended one is to be taken for dead.
            receipt = replace(receipt, lease_until=self._lease_end())
            receipts.lease(connection, receipt)
            return receipt, True
        is_alive = receipt.lease_until is None or receipt.lease_until >= self._now()
        if is_alive or self._runs.task(receipt.key) is not None or not self._is_steady():
            return receipt, False
        if handler is not None and handler.idempotent and receipt.attempts < MAX_ATTEMPTS:
            if (reason := receipts.altered(connection, receipt)) is not None:
                return self._refuse_to_run(connection, receipt, reason), False
            self._starting[receipt.key] = call
            return self._take_over(connection, receipt), True
        detail = _TOO_OFTEN if receipt.attempts >= MAX_ATTEMPTS else _DIED
        return self._interrupt(connection, receipt, detail), False

    def _refuse_to_run(self, connection: Connection, receipt: Receipt, reason: str) -> Receipt:
        logger.error("event %s is not run, run `fastapi-handoff audit verify`: %s", receipt.event_id, reason)
        entry = receipt.context(self._runs.resource).entry("refused", action="event.resume", outcome={"reason": reason})
        append(connection, entry, clock=self._clock)
        return self._interrupt(connection, receipt, f"{reason}, so the handler was not started")

    def _interrupt(self, connection: Connection, receipt: Receipt, detail: str) -> Receipt:
        try:
            return self._runs.end(connection, receipt, Outcome("interrupted", detail))
        except LeaseLost:
            # It was read in this transaction, and no other writer changes it meanwhile: what is written is not kept.
            raise StoreUnavailable(f"the receipt of event {receipt.event_id} cannot be ended") from None

    def _take_over(self, connection: Connection, receipt: Receipt) -> Receipt:
        taken = replace(receipt, lease_owner=self._owner, lease_until=self._lease_end(), attempts=receipt.attempts + 1)
        entry = receipt.context(self._runs.resource).entry(
            "accepted", action="event.resume", outcome={"attempt": taken.attempts}
        )
        append(connection, entry, clock=self._clock)
        receipts.lease(connection, taken)
        return taken

    def _handler(self, receipt: Receipt) -> Handler | None:
        return self._handlers.find(events.name_of(receipt.event_type))

    def _is_steady(self) -> bool:
        """Whether the store answered long enough for every live replica to have renewed its leases.

        After an outage that outlasted them, all leases have ended though the handlers may be well.
        """
        return self._steady_since is not None and time.monotonic() - self._steady_since >= self._lease / 2

    def _lease_end(self) -> int:
        return self._now() + int(self._lease * 1_000_000)

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def _key(caller: Caller, event_id: str) -> Key:
    return caller.identity.issuer_url, caller.identity.source, event_id
