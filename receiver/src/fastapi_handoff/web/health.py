"""Readiness: may this process take requests now?"""

from __future__ import annotations

import asyncio
import json
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn
from uuid import uuid4

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from fastapi_handoff.audit import AuditEntry, append, clocks_differ, lost_head, rfc3339, stored_bytes
from fastapi_handoff.store import (
    Ledger,
    StoreUnavailable,
    audit_records,
    change_one,
    proof_ids,
    receipts,
    subject_token_bindings,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.issuers.jwks import IssuerKeys
    from fastapi_handoff.store import Store

Word = Literal["ok", "warning", "failed"]
"""How a check went. A warning is for the operator; requests are served all the same."""

TRY_AGAIN_SECONDS: Final = 1.0
"""Between two tries to write: health checks, which anybody can send, must not be a lever."""
_NAME: Final = "health"
_PADDING: Final = 32_768
"""Characters that a try leaves in the database."""
_KEPT_SECONDS: Final = 3600
_RECORD: Final = audit_records.c
_NEWEST: Final = (
    select(_RECORD.seq, _RECORD.prev_hash, _RECORD.hash, _RECORD.record, _RECORD.time)
    .order_by(_RECORD.seq.desc())
    .limit(2)
)


class _Undone(Exception):  # noqa: N818 - undoes a transaction
    """Undoes a try that went well, and holds what its append noted, which is undone, too."""

    def __init__(self, *, chain_lost_its_end: bool, clocks_differ: bool) -> None:
        super().__init__()
        self.chain_lost_its_end = chain_lost_its_end
        self.clocks_differ = clocks_differ


class Health:
    """Looks at what the receiver depends on. It tells strangers that something failed, and not why."""

    def __init__(self, store: Store, issuer_keys: Collection[IssuerKeys], clock: Clock) -> None:
        self._store = store
        self._issuer_keys = issuer_keys
        self._clock = clock
        self._try: asyncio.Task[dict[str, Word]] | None = None
        self._tried_at = float("-inf")

    async def check(self) -> dict[str, Word]:
        """Return how each check went, by its name, in a try at most `TRY_AGAIN_SECONDS` old. Who asks meanwhile waits.

        `store` tries what a request needs. `chain` is about the newest record and its link only, and warns where the
        chain lost what this process wrote: `fastapi-handoff audit verify` reads all of it. `clock` warns where the
        newest record is of another time than this process's.
        """
        if self._try is None or (self._try.done() and time.monotonic() - self._tried_at >= TRY_AGAIN_SECONDS):
            self._try = asyncio.create_task(self._attempt(), name="handoff health")
        return dict(await asyncio.shield(self._try))

    async def _attempt(self) -> dict[str, Word]:
        try:
            written = await self._try_to_write()
            is_whole = await self._newest_is_whole()
            ready = [await keys.ready() for keys in self._issuer_keys]
        finally:
            self._tried_at = time.monotonic()
        chain_warns = written is not None and written.chain_lost_its_end
        return {
            "store": "failed" if written is None or is_whole is None else "ok",
            "chain": "failed" if not is_whole else "warning" if chain_warns else "ok",
            "clock": "warning" if written is not None and written.clocks_differ else "ok",
            # Some issuers without keys are their own callers' outage, not everybody's.
            "issuer_keys": "ok" if all(ready) else "warning" if any(ready) else "failed",
        }

    async def _newest_is_whole(self) -> bool | None:
        """Return whether the newest record and its link are whole; `None` where they cannot be read."""
        try:
            newest = await self._store.read(lambda connection: connection.execute(_NEWEST).all())
        except StoreUnavailable:
            return None
        is_whole = all(_is_whole(row) for row in newest)
        if len(newest) == 2:
            is_whole &= (newest[0].prev_hash, newest[0].seq) == (newest[1].hash, newest[1].seq + 1)
        return is_whole

    async def _try_to_write(self) -> _Undone | None:
        """Return what a try to write found; `None` where nothing can be written."""
        try:
            try:
                await self._store.write(self._write_and_undo)
            except _Undone as undone:
                await self._store.write(self._write)
                return undone
        except (StoreUnavailable, SQLAlchemyError):  # a trigger's own error is one of SQLAlchemy's
            pass
        return None

    def _write_and_undo(self, connection: Connection) -> NoReturn:
        """Write what an exchange and an event write: a refused insert, or a chain that takes no more, shows here."""
        ledger = Ledger.of(connection)
        differed = clocks_differ(ledger)  # at the last append that was no try
        append(connection, AuditEntry(action="health", decision="attempted"), clock=self._clock)
        name = f"{_NAME} {uuid4().hex}"
        change_one(connection, insert(proof_ids), {"jkt": name, "jti": name, "expires_at": 0})
        texts = ("issuer", "source", "event_id", "subject", "content_digest", "event_type", "scope", "state")
        more = dict.fromkeys((*texts, "identity", "asserted", "audit_hash"), name)
        numbers = {"attempts": 0, "received_at": 0, "audit_seq": 0}
        change_one(connection, insert(receipts), {**more, **numbers, "body": b""})
        ledger.read_back(connection)
        differs = differed or clocks_differ(ledger)
        raise _Undone(chain_lost_its_end=lost_head(ledger) is not None, clocks_differ=differs is not None)

    def _write(self, connection: Connection) -> None:
        """Write about as much as a request does, in place of what was written the last time.

        A full disk shows at a commit only. A purge deletes it, too, but not one in the same transaction, which would
        look as if a trigger had swallowed the row, and fail every request in it.
        """
        connection.execute(delete(subject_token_bindings).where(subject_token_bindings.c.issuer == _NAME))
        row = {
            "issuer": _NAME,
            "replay_key": uuid4().hex,
            "jkt": "-" * _PADDING,
            "expires_at": int(self._clock()) + _KEPT_SECONDS,
        }
        change_one(connection, insert(subject_token_bindings), row)


def _is_whole(row: Any) -> bool:
    stored = stored_bytes(row.record)
    try:
        said = json.loads(stored)["time"]
        return bool(sha256(stored).hexdigest() == row.hash and said == rfc3339(row.time))
    except (KeyError, OverflowError, TypeError, ValueError):
        return False
