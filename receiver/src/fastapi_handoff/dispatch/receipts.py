"""The receipt: the stored answer about an event, and the statements that keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select, update

from fastapi_handoff.audit import AuditHead, receipt_digest, recorded_digest
from fastapi_handoff.audit.rows import stored_bytes
from fastapi_handoff.events import content_digest
from fastapi_handoff.identity import Identity
from fastapi_handoff.request import RequestContext
from fastapi_handoff.request.limits import DETAIL_CHARACTERS
from fastapi_handoff.store import receipts
from fastapi_handoff.store.compiled import change, change_one, fetch
from fastapi_handoff.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from fastapi_handoff.dispatch.registry import Outcome

Key = tuple[str, str, str]
"""Issuer (`iss`), source and event id: what a receipt is found by."""

_IS_KEY = (
    receipts.c.issuer == bindparam("key_issuer"),
    receipts.c.source == bindparam("key_source"),
    receipts.c.event_id == bindparam("key_event"),
)
_IS_OURS = (
    *_IS_KEY,
    receipts.c.state == "running",
    receipts.c.lease_owner == bindparam("key_owner"),
    receipts.c.attempts == bindparam("key_attempts"),
)
_COLUMNS = tuple(receipts.c.keys())
_FIND = select(receipts).where(*_IS_KEY)
_INSERT = insert(receipts)
_RENEW = update(receipts).where(*_IS_OURS).values(lease_until=bindparam("until"))
_LEASE = (
    update(receipts)
    .where(*_IS_KEY)
    .values(lease_owner=bindparam("owner"), lease_until=bindparam("until"), attempts=bindparam("attempts_now"))
)
_END_OURS = (
    update(receipts)
    .where(*_IS_OURS)
    .values(
        state=bindparam("state_now"),
        detail=bindparam("detail_now"),
        result=bindparam("result_now"),
        completed_at=bindparam("completed"),
        audit_seq=bindparam("seq"),
        audit_hash=bindparam("hash"),
        lease_owner=None,
        lease_until=None,
    )
)
_ENDED_LEASES = (
    select(receipts.c.issuer, receipts.c.source, receipts.c.event_id)
    .where(receipts.c.state == "running", receipts.c.lease_until < bindparam("now"))
    .order_by(receipts.c.lease_until)
    .limit(100)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A row of `receipts`. Times are unix microseconds."""

    issuer: str
    source: str
    event_id: str
    subject: str
    content_digest: str
    event_type: str
    scope: str
    """The scopes of the access token that delivered the event."""
    body: bytes = field(repr=False)
    state: str
    detail: str | None = None
    result: str | None = field(default=None, repr=False)
    identity: str
    asserted: str
    trace_id: str
    lease_owner: str | None
    lease_until: int | None
    attempts: int
    received_at: int
    completed_at: int | None = None
    audit_seq: int = 0
    audit_hash: str = ""

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.issuer, self.source, self.event_id

    @property
    def is_final(self) -> bool:
        """Whether its state will not change any more."""
        return self.state != "running"

    def ended(self, outcome: Outcome) -> Receipt:
        """Give the receipt with a final state."""
        detail = None if outcome.detail is None else storable(outcome.detail[:DETAIL_CHARACTERS])
        return replace(self, state=outcome.state, detail=detail, result=outcome.result)

    def anchored(self, head: AuditHead) -> Receipt:
        """Give the receipt that points at its record."""
        return replace(self, audit_seq=head.seq, audit_hash=head.hash)

    def digest(self) -> str:
        """Give what the chain's record says about this receipt."""
        return receipt_digest({name: getattr(self, name) for name in self.__slots__})

    def caller(self) -> Identity:
        """Give the identity that delivered the event."""
        return Identity.from_json(json.loads(self.identity), self.subject, self.scope.split())

    def context(self, resource: str) -> RequestContext:
        """Return the context of what happens to this receipt after its request ended."""
        context = RequestContext("event.outcome", resource, self.trace_id)
        identity = self.caller()
        context.authenticated(identity.actor(), identity.grant, identity.policy)
        context.event_id, context.event_digest = self.event_id, self.content_digest
        context.asserted = json.loads(self.asserted)
        return context

    def answer(self) -> dict[str, Any]:
        """Give the members of the answer."""
        identity = self.caller()
        return {
            "id": self.event_id,
            "state": self.state,
            "detail": self.detail,
            "result": None if self.result is None else json.loads(self.result),
            "identity": {**identity.shown(), "grant": identity.grant, "policy": identity.policy},
            "asserted": json.loads(self.asserted),
            "trace_id": self.trace_id,
            "audit": {"seq": self.audit_seq, "hash": self.audit_hash},
        }


def find(connection: Connection, key: Key) -> Receipt | None:
    """Give the receipt of an event."""
    row = fetch(connection, _FIND, _key(key))
    return None if row is None else Receipt(**dict(zip(_COLUMNS, row, strict=True)))


def altered(connection: Connection, receipt: Receipt) -> str | None:
    """Tell what is no longer as it was when its event was accepted; `None`: nothing.

    Whoever can write to the database could have a handler run with an event, or for an identity, that nobody sent.
    """
    if content_digest(stored_bytes(receipt.body)) != receipt.content_digest:
        return "the stored event is not the one that was received"
    if recorded_digest(connection, AuditHead(receipt.audit_seq, receipt.audit_hash)) != receipt.digest():
        return "the stored receipt is not what was recorded of it"
    return None


def add(connection: Connection, receipt: Receipt) -> None:
    """Store a new receipt."""
    change_one(connection, _INSERT, {name: getattr(receipt, name) for name in receipt.__slots__})


def lease(connection: Connection, receipt: Receipt) -> None:
    """Store a receipt's lease: its owner, its end, its attempts."""
    change_one(
        connection,
        _LEASE,
        {
            **_key(receipt.key),
            "owner": receipt.lease_owner,
            "until": receipt.lease_until,
            "attempts_now": receipt.attempts,
        },
    )


def renew(connection: Connection, receipt: Receipt, until: int) -> bool:
    """Put the end of our own lease off; tell whether it still was ours."""
    return change(connection, _RENEW, {**_ours(receipt), "until": until}) == 1


def end(connection: Connection, receipt: Receipt, completed_at: int) -> bool:
    """Store a final state, if the lease that `receipt` names still stands; tell whether it did."""
    touched = change(
        connection,
        _END_OURS,
        {
            **_ours(receipt),
            "state_now": receipt.state,
            "detail_now": receipt.detail,
            "result_now": receipt.result,
            "completed": completed_at,
            "seq": receipt.audit_seq,
            "hash": receipt.audit_hash,
        },
    )
    return touched == 1


def ended_leases(connection: Connection, now: int) -> Sequence[Key]:
    """Give the receipts that run without anybody's lease at `now`."""
    return [(row.issuer, row.source, row.event_id) for row in connection.execute(_ENDED_LEASES, {"now": now})]


def _key(key: Key) -> dict[str, Any]:
    return {"key_issuer": key[0], "key_source": key[1], "key_event": key[2]}


def _ours(receipt: Receipt) -> dict[str, Any]:
    return {**_key(receipt.key), "key_owner": receipt.lease_owner, "key_attempts": receipt.attempts}
