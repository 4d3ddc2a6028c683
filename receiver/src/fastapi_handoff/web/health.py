"""Readiness: may this process take requests now?"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from fastapi_handoff.audit.rows import stored_bytes
from fastapi_handoff.store import StoreUnavailable, audit_records

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi_handoff.issuers.jwks import IssuerKeys
    from fastapi_handoff.store import Store

_RECORD = audit_records.c
_NEWEST = select(_RECORD.seq, _RECORD.prev_hash, _RECORD.hash, _RECORD.record).order_by(_RECORD.seq.desc()).limit(2)


@dataclass(frozen=True, slots=True)
class Health:
    """Looks at what the receiver depends on. It tells strangers that something failed, and not why."""

    store: Store
    issuer_keys: Collection[IssuerKeys]

    async def check(self) -> dict[str, bool]:
        """Return the name of each check, and whether it is well.

        `chain` is about the newest record and its link only: `fastapi-handoff audit verify` reads them all.
        """
        try:
            newest = await self.store.read(lambda connection: connection.execute(_NEWEST).all())
        except StoreUnavailable:
            store = chain = False
        else:
            store, chain = True, all(_is_whole(row) for row in newest)
            if len(newest) == 2:
                chain = chain and (newest[0].prev_hash, newest[0].seq) == (newest[1].hash, newest[1].seq + 1)
        ready = [await keys.ready() for keys in self.issuer_keys]
        return {"store": store, "chain": chain, "issuer_keys": all(ready)}


def _is_whole(row: Any) -> bool:
    return bool(sha256(stored_bytes(row.record)).hexdigest() == row.hash)
