"""Where every request ends that does not go well: its refusal is recorded, then told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi_handoff.audit import append
from fastapi_handoff.request import Refusal
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse

    from fastapi_handoff.audit import AuditEntry, AuditHead, Clock
    from fastapi_handoff.request import RequestContext
    from fastapi_handoff.store import Store
    from fastapi_handoff.web.responses import Render

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records what is decided about requests, and turns refusals into answers."""

    store: Store
    clock: Clock

    async def record(self, entry: AuditEntry) -> AuditHead:
        """Append one record in a transaction of its own. Raises `StoreUnavailable`."""
        return await self.store.write(lambda connection: append(connection, entry, clock=self.clock))

    async def refuse(self, error: Refusal | StoreUnavailable, context: RequestContext, render: Render) -> JSONResponse:
        """Return the answer of a request that came to nothing. A refusal that cannot be recorded becomes a 503."""
        if isinstance(error, Refusal):
            check = None if error.check is None else {"check": error.check.as_json()}
            try:
                head = await self.record(context.entry("refused", code=error.code, outcome=check))
            except StoreUnavailable as unavailable:
                error = unavailable
            else:
                # Who is not authenticated learns the code, and nothing of what was expected.
                disclosed = context.checks.disclosed
                return render(error, context.checks if disclosed else (), context.trace_id, head if disclosed else None)
        # `%r`: a path may hold line ends, and the log must not get lines of a stranger's making.
        logger.error("%r is answered 503, for the store is unavailable: %s", context.resource, error)
        refusal = Refusal(
            "store-unavailable",
            "the receiver cannot record anything now: try again. If what was asked was recorded and only the answer to "
            "that was lost, it is carried out; the same event sent again gets its receipt, and runs nothing twice",
        )
        return render(refusal, (), context.trace_id, None)
