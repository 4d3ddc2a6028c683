"""Readiness: may this process take requests now?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from fastapi_handoff.audit import links
from fastapi_handoff.audit.rows import COLUMNS
from fastapi_handoff.store import StoreUnavailable, audit_records

if TYPE_CHECKING:
    from fastapi_handoff.issuer import Issuer
    from fastapi_handoff.store import Store

_NEWEST = select(*COLUMNS).order_by(audit_records.c.seq.desc()).limit(2)


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
            store, chain = True, True
            if len(newest) == 2:
                before = links.Link(newest[1].seq, newest[1].time, (newest[1].hash,))
                _, wrong = links.check(newest[0], before)
                chain = not wrong
        return {"store": store, "chain": chain, "issuer_keys": await self.issuer.ready()}
