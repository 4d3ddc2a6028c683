"""The statements that keep receipts, and the one way in which a receipt changes: by a step of the table of states."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from sqlalchemy import and_, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.audit import AuditHead, append, receipt_digest, recorded_digest
from fastapi_handoff.dispatch.database_time import database_time
from fastapi_handoff.dispatch.receipt import context_of, key_of
from fastapi_handoff.dispatch.states import Happening, Hold, Lease, State, Step, step
from fastapi_handoff.events import content_digest
from fastapi_handoff.request import DETAIL_CHARACTERS
from fastapi_handoff.store import StoreUnavailable, audit_records, change_one, receipts, storable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.dispatch.receipt import Key, Row
    from fastapi_handoff.dispatch.registry import Outcome
    from fastapi_handoff.request import RequestContext

_C: Final = receipts.c
_MAX_UNATTENDED: Final = 1000
_NOBODY: Final = ""
"""The owner of a lease that was given back."""
_COPY_CHARACTERS: Final = 256
"""What is copied from a record for its filters is cut to this."""
_IS_KEY: Final = (
    _C.issuer == bindparam("key_issuer"),
    _C.source == bindparam("key_source"),
    _C.event_id == bindparam("key_event"),
)
_LEASE_FROM_NOW: Final = database_time() + bindparam("lease")
_HAS_ENDED: Final = func.coalesce(_C.lease_until, 0) < database_time()
_HAS_OUTCOME: Final = exists().where(
    audit_records.c.event_id == _C.event_id,
    audit_records.c.action == "event.outcome",
    audit_records.c.issuer == func.substr(_C.issuer, 1, _COPY_CHARACTERS),
    audit_records.c.source == func.substr(_C.source, 1, _COPY_CHARACTERS),
)
_FIND: Final = select(receipts, _HAS_ENDED.label("lease_has_ended")).where(*_IS_KEY)
_FIND_OUTCOME: Final = select(_C.event_id).where(*_IS_KEY, _HAS_OUTCOME)
_WRITTEN: Final = [column.name for column in _C if column.name != "lease_until"]
_INSERT: Final = insert(receipts).values(lease_until=_LEASE_FROM_NOW)
_CLAIM_NEW: Final = (
    update(receipts)
    .where(
        *_IS_KEY, _C.state == State.PENDING.value, _C.lease_owner == bindparam("owner"), _C.attempts == 0, ~_HAS_OUTCOME
    )
    .values(state=State.RUNNING.value, attempts=1, lease_until=_LEASE_FROM_NOW)
)
_CHANGED: Final = (
    "state", "detail", "result", "completed_at", "audit_seq", "audit_hash", "lease_owner", "attempts",
)  # fmt: skip
_CHANGE: Final = (
    update(receipts)
    .where(
        *_IS_KEY,
        _C.state == bindparam("was_state"),
        _C.lease_owner.is_not_distinct_from(bindparam("was_owner")),
        _C.attempts == bindparam("was_attempts"),
    )
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
_UNTIL: Final = {
    Hold.TAKEN: _CHANGE.values(lease_until=_LEASE_FROM_NOW),
    Hold.ENDED: _CHANGE.values(lease_until=0),
    Hold.NONE: _CHANGE.values(lease_until=None),
}
_IS_OPEN: Final = _C.state.in_([State.PENDING.value, State.RUNNING.value])
_RENEW: Final = (
    update(receipts)
    # The index is over the rows that have a lease.
    .where(_C.lease_until.is_not(None), _C.lease_owner == bindparam("owner"), _IS_OPEN)
    .values(lease_until=_LEASE_FROM_NOW)
)
_UNATTENDED: Final = (
    select(_C.issuer, _C.source, _C.event_id, _C.event_type, _C.lease_owner, _HAS_ENDED.label("lease_has_ended"))
    .where(
        and_(_C.lease_until.is_not(None), _IS_OPEN),
        or_(_C.lease_until < database_time(), _C.lease_owner == bindparam("owner")),
    )
    .order_by(_C.lease_until)
    .limit(_MAX_UNATTENDED)
)


class LeaseLost(Exception):  # noqa: N818 - undoes a transaction
    """The stored receipt is not the one that was to be changed: another process has taken or ended it."""


class ReceiptTable:
    """The receipts, as one process changes them. Every method works inside a job of the store."""

    def __init__(self, *, resource: str, clock: Clock, lease: float) -> None:
        self.resource = resource
        """What records say was asked: the method and path of the events' endpoint."""
        self._owners: dict[int, str] = {}
        self._clock = clock
        self._lease = int(lease * 1_000_000)

    @property
    def _owner(self) -> str:
        """The name under which this process has leases.

        Each process has one of its own: a server that loads the app before it forks would otherwise give all its
        workers the same, and each would take the others' leases for its own.
        """
        return self._owners.setdefault(os.getpid(), uuid4().hex)

    def now(self) -> int:
        """Return the time that receipts and records show: this process's, unix microseconds."""
        return int(self._clock() * 1_000_000)

    def find(self, connection: Connection, key: Key) -> Row | None:
        """Return the row of an event."""
        found = connection.execute(_FIND, _key(key)).mappings().first()
        return None if found is None else dict(found)

    def unattended(self, connection: Connection) -> list[Row]:
        """Return the receipts that are not final and are this process's, or nobody's: their keys, types and leases."""
        return [dict(row) for row in connection.execute(_UNATTENDED, {"owner": self._owner}).mappings()]

    def age_of(self, row: Row) -> float:
        """Return for how many seconds a receipt has been there."""
        return self._clock() - float(row["received_at"]) / 1_000_000

    def lease_of(self, row: Row) -> Lease:
        """Return who answers for a receipt that was read just now."""
        if row["lease_owner"] == self._owner:
            return Lease.OURS
        return Lease.ENDED if row["lease_has_ended"] else Lease.ANOTHERS

    def add(self, connection: Connection, row: Row, context: RequestContext) -> Row:
        """Record and store a new receipt, and return it as it is stored."""
        head = append(connection, context.entry("accepted", receipt=receipt_digest(row)), clock=self._clock)
        row = {**row, "lease_owner": self._owner, "audit_seq": head.seq, "audit_hash": head.hash}
        try:
            change_one(connection, _INSERT, {name: row[name] for name in _WRITTEN} | {"lease": self._lease})
        except IntegrityError:
            # It was looked for in this transaction, and no other writer adds one meanwhile: a trigger refuses it.
            raise StoreUnavailable("a trigger or a rule refuses new receipts") from None
        return {**row, "lease_has_ended": False}

    def claim_new(self, connection: Connection, row: Row) -> Row | None:
        """Claim a receipt that this process stored just now; `None` where it is not what it was then.

        The handler is started with what was received, not with what is stored, so nothing is compared but the state.
        """
        changed = connection.execute(
            _CLAIM_NEW, {**_key(key_of(row)), "owner": self._owner, "lease": self._lease}
        ).rowcount
        return {**row, "state": State.RUNNING.value, "attempts": 1} if changed == 1 else None

    def renew(self, connection: Connection) -> None:
        """Put the end of every lease of this process off."""
        connection.execute(_RENEW, {"owner": self._owner, "lease": self._lease})

    def distrust(self, connection: Connection, row: Row) -> str | None:
        """Return what is no longer as it was when the event was accepted; `None`: nothing.

        Whoever can write to the database could have a handler run with an event, or for an identity, that nobody sent,
        or have it run again.
        """
        body = row["body"]
        if not isinstance(body, bytes) or content_digest(body) != row["content_digest"]:
            return "the stored event is not the one that was received"
        if recorded_digest(connection, AuditHead(row["audit_seq"], row["audit_hash"])) != _digest(row):
            return "the stored receipt is not what was recorded of it"
        if connection.execute(_FIND_OUTCOME, _key(key_of(row))).first() is not None:
            return "the audit chain has an outcome of this event already"
        return None

    def apply(
        self,
        connection: Connection,
        row: Row,
        happening: Happening,
        outcome: Outcome | None = None,
        *,
        reason: str | None = None,
        context: RequestContext | None = None,
    ) -> Row:
        """Record what has happened to a receipt and store what that makes of it; return the new row.

        `reason` says why a handler is not started. `context` is of whoever caused it, if not the event's own request.
        Raises `LeaseLost` where the stored row is not `row` any more; what was recorded is undone with the job.
        """
        taken = step(State(row["state"]), happening)
        new = self.after(row, taken, outcome, reason)
        context = context or context_of(row, self.resource)
        for action, decision in taken.records:
            said: dict[str, Any] = {"attempt": new["attempts"]}
            if decision == "refused":
                said = {"reason": reason}
            elif happening is Happening.DELIVERED:
                said = {"state": taken.to.told}
            ends = action == "event.outcome"
            entry = context.entry(
                decision or (outcome.state.value if outcome else ""),
                action=action,
                outcome=said,
                receipt=_digest(new) if ends else None,
            )
            head = append(connection, entry, clock=self._clock)
            if ends:
                new = {**new, "audit_seq": head.seq, "audit_hash": head.hash}
        if taken.hold is not Hold.KEPT:
            values = {f"new_{name}": new[name] for name in _CHANGED}
            was = {"was_state": row["state"], "was_owner": row["lease_owner"], "was_attempts": row["attempts"]}
            lease = {"lease": self._lease} if taken.hold is Hold.TAKEN else {}
            if connection.execute(_UNTIL[taken.hold], {**_key(key_of(row)), **was, **values, **lease}).rowcount != 1:
                raise LeaseLost
        return new

    def after(self, row: Row, taken: Step, outcome: Outcome | None, reason: str | None = None) -> Row:
        """Return what a step makes of a row, its record excepted."""
        new = {**row, "state": taken.to.value, "attempts": row["attempts"] + taken.attempts}
        if taken.hold is not Hold.KEPT:
            new["lease_owner"] = {Hold.TAKEN: self._owner, Hold.ENDED: _NOBODY, Hold.NONE: None}[taken.hold]
        if taken.hold is Hold.NONE:
            detail = f"{reason}, so the handler was not started" if reason else taken.detail
            if outcome is not None and outcome.detail is not None:
                detail = outcome.detail
            new["detail"] = None if detail is None else storable(detail[:DETAIL_CHARACTERS])
            new["result"] = None if outcome is None else outcome.result_text
            new["completed_at"] = self.now()
        return new

    def is_same(self, row: Row, other: Row) -> bool:
        """Return whether two rows tell the same."""
        return _digest(row) == _digest(other)


def _digest(row: Row) -> str:
    # A column of SQLite's holds what was put there: what is no text is no text that was recorded.
    return receipt_digest(
        {name: value if isinstance(value, str | int | None) else repr(value) for name, value in row.items()}
    )


def _key(key: Key) -> dict[str, Any]:
    return {"key_issuer": key[0], "key_source": key[1], "key_event": key[2]}
