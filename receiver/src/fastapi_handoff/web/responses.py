"""Where every request ends that does not go well: its refusal is recorded, then told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi_handoff.audit import append
from fastapi_handoff.request.refusal import Refusal
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse

    from fastapi_handoff.audit import AuditEntry, AuditHead, Clock
    from fastapi_handoff.request.context import Case
    from fastapi_handoff.request.refusal import Render
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Records, and turns refusals into answers."""

    store: Store
    clock: Clock

    async def record(self, entry: AuditEntry) -> AuditHead:
        """Append one record in a transaction of its own. Raises `StoreUnavailable`."""
        return await self.store.write(lambda connection: append(connection, entry, clock=self.clock))

    async def refuse(self, error: Refusal | StoreUnavailable, case: Case, render: Render) -> JSONResponse:
        """Give the answer of a request that came to nothing. A refusal that cannot be recorded is a 503."""
        if isinstance(error, Refusal):
            check = None if error.check is None else {"check": error.check.as_json()}
            try:
                head = await self.record(case.entry("refused", code=error.code, outcome=check))
            except StoreUnavailable as away:
                error = away
            else:
                # Who is not authenticated learns the code, and nothing of what was expected.
                shown = case.trace if case.trace.disclosed else ()
                return render(error, shown, case.trace_id, head if case.trace.disclosed else None)
        # `%r`: a path may hold line ends, and the log must not get lines of a stranger's making.
        logger.error("%r is refused, for nothing can be recorded: %s", case.resource, error)
        refusal = Refusal("store-unavailable", "the receiver cannot record anything now, so it does nothing: try again")
        return render(refusal, (), case.trace_id, None)
