"""What happened, as the code that decided it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing to record. Nothing in it can make the append fail: what JSON or a database cannot hold becomes text."""

    action: str
    """What was asked: `token.exchange`, `event.accept`, `event.outcome`, …"""
    decision: str
    """`accepted`, `refused`, `succeeded`, `failed`, `interrupted`, …"""
    code: str | None = None
    """The code of a refusal."""
    actor: Mapping[str, str | None] | None = None
    """Who asked: `issuer` (`iss`), `kind`, `source`, `sub` and attested claims; `None` where nobody proved who it is.
    `issuer`, `source` and `sub` can be searched for."""
    resource: str | None = None
    """Method and path: `POST /handoff/events`."""
    grant: str | None = None
    policy: str | None = None
    """The policy's digest, `sha-256:<hex>`."""
    event_id: str | None = None
    event_digest: str | None = None
    """The event's `Content-Digest`."""
    asserted: Mapping[str, Any] | None = None
    """What the pipe says and nobody signed. Mind that it can never be erased."""
    trace_id: str | None = None
    outcome: Mapping[str, Any] | None = None
    receipt: str | None = None
    """`receipt_digest` of the receipt that this record is about: with it, `audit verify` finds a receipt that was
    rewritten, deleted or set back. Give it on each record that a receipt's `audit_seq` is made to point at."""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest record of the chain: what a receipt shows, and what anchors the chain outside the database."""

    seq: int
    hash: str
    """SHA-256 of the record's stored bytes, 64 hex digits."""
