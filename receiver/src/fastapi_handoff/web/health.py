"""Readiness: may this process take requests now?"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from fastapi_handoff.audit.rows import stored_bytes
from fastapi_handoff.store import StoreUnavailable, audit_records

if TYPE_CHECKING:
    from fastapi_handoff.issuers.jwks import Issuer
    from fastapi_handoff.store import Store

_RECORD = audit_records.c
_NEWEST = select(_RECORD.seq, _RECORD.prev_hash, _RECORD.hash, _RECORD.record).order_by(_RECORD.seq.desc()).limit(2)


@dataclass(frozen=True, slots=True)
class Health:
    """Looks at what the receiver hangs on. It tells strangers that something failed, and not what."""

    store: Store
    issuer: Issuer

    async def check(self) -> dict[str, bool]:
        """Give the name of each check, and whether it is well.

        `chain` is about the newest record and its link only: `fastapi-handoff audit verify` reads them all.
        """
        try:
            async with self.store.reading() as connection:
                newest = (await connection.execute(_NEWEST)).all()
        except StoreUnavailable:
            store = chain = False
        else:
            store, chain = True, all(_is_whole(row) for row in newest)
            if len(newest) == 2:
                chain = chain and (newest[0].prev_hash, newest[0].seq) == (newest[1].hash, newest[1].seq + 1)
        return {"store": store, "chain": chain, "issuer_keys": await self.issuer.ready()}


def _is_whole(row: Any) -> bool:
    return bool(sha256(stored_bytes(row.record)).hexdigest() == row.hash)
