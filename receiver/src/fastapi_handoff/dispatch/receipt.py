"""The receipt: the row that is stored about an event, and the answer that is made of it."""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fastapi_handoff.dispatch.states import State
from fastapi_handoff.identity import Identity
from fastapi_handoff.request import Refusal, RequestContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.dispatch.delivery import Delivery

Key = tuple[str, str, str]
"""Issuer (`iss`), source and event id: what a receipt is found by."""
Row = dict[str, Any]
"""The columns of `receipts`, as they are stored. Times are unix microseconds."""

_TEXTS: Final = ("issuer", "source", "event_id", "event_type", "content_digest", "subject", "scope", "audit_hash")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A row, and the objects that stand in it as JSON."""

    row: Row = field(repr=False)
    identity: Identity
    """Who delivered the event."""
    asserted: Mapping[str, Any]
    result: Any = field(default=None, repr=False)
    """What the handler returned."""

    @classmethod
    def of_delivery(cls, delivery: Delivery, trace_id: str, received_at: int) -> Receipt:
        """Return the receipt of an event that is accepted now. It has no record yet."""
        identity, asserted = delivery.caller.identity, delivery.event.asserted()
        row: Row = {
            "issuer": identity.issuer_url,
            "source": identity.source,
            "event_id": delivery.event.id,
            "subject": identity.subject,
            "content_digest": delivery.digest,
            "event_type": delivery.event.type,
            "scope": " ".join(sorted(identity.scopes)),
            "body": delivery.body,
            "state": State.PENDING.value,
            "detail": None,
            "result": None,
            "identity": json.dumps(identity.to_json()),
            "asserted": json.dumps(asserted),
            "trace_id": trace_id,
            "attempts": 0,
            "received_at": received_at,
            "completed_at": None,
        }
        return cls(row, identity, asserted)

    @classmethod
    def of_row(cls, row: Row) -> Receipt:
        """Return what a stored row says. Raises `Refusal`: `receipt-damaged`, for one that this package never wrote."""
        try:
            State(row["state"])
            # SQLite's columns hold what was put there: a time that is text, a text that is no Unicode.
            operator.index(row["audit_seq"]), operator.index(row["received_at"])
            for text in (*(row[name] for name in _TEXTS), row["detail"] or "", row["trace_id"] or ""):
                text.encode()
            identity = Identity.from_json(_parsed(row["identity"]), row["subject"], row["scope"].split())
            "".join([identity.grant, identity.policy, identity.source, *identity.claims.values()])
            identity.shown()
            asserted = _parsed(row["asserted"])
            asserted.keys()
            return cls(row, identity, asserted, None if row["result"] is None else _parsed(row["result"]))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise Refusal(
                "receipt-damaged",
                "the event was accepted, and its receipt was changed in the database since, so that it cannot be read: "
                "have the receiver's operator run `fastapi-handoff audit verify`, and look at what the handler "
                "changes before you run anything again",
            ) from None

    @property
    def key(self) -> Key:
        """What it is found by."""
        return key_of(self.row)

    @property
    def state(self) -> State:
        """Where it stands."""
        return State(self.row["state"])

    @property
    def event_id(self) -> str:
        """The id that the event's sender gave it."""
        return str(self.row["event_id"])

    @property
    def is_final(self) -> bool:
        """Whether its state will not change any more."""
        return self.state.is_final

    def context(self, resource: str) -> RequestContext:
        """Return the context of what happens to this receipt after its request ended."""
        context = RequestContext("event.outcome", resource, self.row["trace_id"])
        context.authenticated(self.identity.actor(), self.identity.grant, self.identity.policy)
        context.event_id, context.event_digest = self.row["event_id"], self.row["content_digest"]
        context.asserted = self.asserted
        return context

    def answer(self) -> dict[str, Any]:
        """Return the members of the answer."""
        return {
            "id": self.row["event_id"],
            "state": self.state.told,
            "detail": self.row["detail"],
            "result": self.result,
            "identity": {**self.identity.shown(), "grant": self.identity.grant, "policy": self.identity.policy},
            "asserted": self.asserted,
            "trace_id": self.row["trace_id"],
            "audit": {"seq": self.row["audit_seq"], "hash": self.row["audit_hash"]},
        }


def key_of(row: Mapping[str, Any]) -> Key:
    """Return what a row is found by."""
    return row["issuer"], row["source"], row["event_id"]


def context_of(row: Row, resource: str) -> RequestContext:
    """Return the context of what happens to a stored row, also of one that is damaged: that one names no actor."""
    try:
        return Receipt.of_row(row).context(resource)
    except Refusal:
        context = RequestContext("event.outcome", resource, str(row["trace_id"]))
        context.event_id, context.event_digest = str(row["event_id"]), str(row["content_digest"])
        return context


def _parsed(text: str) -> Any:
    value = json.loads(text, parse_constant=_no_number)
    # What is parsed may still be nothing that can be sent: JSON can spell half a character.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)
