"""Chains for the tests: records and receipts as the receiver writes them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from fastapi_handoff.audit import AuditEntry, AuditHead, Clock, append, receipt_digest
from fastapi_handoff.audit.verify import Progress, Verification, ignore, verify
from fastapi_handoff.audit.verify.receipts import UNFINISHED
from fastapi_handoff.store import Store, receipts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

ISSUER = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"
WORKSPACE = "{0b6b8a4e-3c5b-4c0c-8c53-0a3c1a2b4d5e}"
REPOSITORY = "{8a3f1c9e-52d7-4f0b-9a64-7e1d2c3b4a5f}"
OTHER_REPOSITORY = "{1f2e3d4c-5b6a-4789-8c9d-0e1f2a3b4c5d}"
STEP = "{6c5d4e3f-2a1b-4c0d-9e8f-7a6b5c4d3e2f}"


def actor(repository: str = REPOSITORY, **more: str) -> dict[str, str]:
    """Give attested ids."""
    return {
        "issuer": ISSUER,
        "kind": "bitbucket",
        "source": repository,
        "sub": f"{repository}:{STEP}",
        "workspace_uuid": WORKSPACE,
        "repository_uuid": repository,
        "step_uuid": STEP,
        "branch": "main",
        **more,
    }


def entry(number: int = 0, **changes: Any) -> AuditEntry:
    """Give an entry as an accepted event makes it."""
    values: dict[str, Any] = {
        "action": "event.accept",
        "decision": "accepted",
        "actor": actor(),
        "resource": "POST /handoff/events",
        "grant": "api, production, from main",
        "policy": f"sha-256:{'b' * 64}",
        "event_id": f"evt_{number:032x}",
        "event_digest": content_digest(b"{}"),
        "asserted": {"service": "api", "environment": "production", "commit": "e" * 40},
        "trace_id": f"{number:032x}",
    }
    return AuditEntry(**values | changes)


def content_digest(body: bytes) -> str:
    """Give the value of `Content-Digest`."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def receipt(number: int, **changes: Any) -> dict[str, Any]:
    """Give a row of `receipts`, without its record."""
    body = json.dumps({"id": number}).encode()
    row: dict[str, Any] = {
        "issuer": ISSUER,
        "source": REPOSITORY,
        "event_id": f"evt_{number:032x}",
        "subject": f"{REPOSITORY}:{STEP}",
        "content_digest": content_digest(body),
        "event_type": "dev.cdevents.service.deployed.0.3.0",
        "scope": "deployments:write",
        "body": body,
        "state": "succeeded",
        "detail": None,
        "result": '{"version": 1}',
        "identity": "{}",
        "asserted": "{}",
        "trace_id": f"{number:032x}",
        "received_at": 1_795_489_275_000_000,
        "completed_at": None,
        "attempts": 1,
    }
    return row | changes


def verified(store: Store, *, anchors: Iterable[AuditHead] = (), progress: Progress = ignore) -> Verification:
    """What `audit verify` finds."""
    with store.snapshot() as connection:
        return verify(connection, anchors=anchors, progress=progress)


async def add(store: Store, *entries: AuditEntry, clock: Clock = time.time) -> list[AuditHead]:
    """Append each entry by itself."""
    return [await store.write(lambda connection, one=one: append(connection, one, clock=clock)) for one in entries]


def add_with_receipt(connection: Connection, number: int, *, action: str = "event.accept", **changes: Any) -> AuditHead:
    """Append a record about a receipt, and write the receipt."""
    row = receipt(number, **changes)
    said = entry(
        number,
        action=action,
        actor=actor(row["source"]),
        decision=row["state"],
        event_digest=row["content_digest"],
        outcome={"attempt": row["attempts"]},
        receipt=receipt_digest(row),
    )
    head = append(connection, said, clock=time.time)
    if row["state"] not in UNFINISHED and row["completed_at"] is None:
        row["completed_at"] = int(time.time() * 1_000_000)
    connection.execute(insert(receipts), {**row, "audit_seq": head.seq, "audit_hash": head.hash})
    return head


async def deliver(store: Store, *numbers: int, **changes: Any) -> list[AuditHead]:
    """Record events as handled, each with its receipt."""
    return [
        await store.write(lambda connection, number=number: add_with_receipt(connection, number, **changes))
        for number in numbers
    ]
