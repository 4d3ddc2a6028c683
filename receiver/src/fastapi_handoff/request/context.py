"""What is known so far about one request: it grows as the checks go well, and becomes the request's audit record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi_handoff.audit import AuditEntry
from fastapi_handoff.request.checks import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.identity import Identity


@dataclass(slots=True)
class Case:
    """One request. `actor`, `grant` and `policy` stay `None` until they are attested."""

    action: str
    resource: str
    """Method and path."""
    trace_id: str
    trace: Trace = field(default_factory=Trace)
    actor: Mapping[str, str | None] | None = None
    grant: str | None = None
    policy: str | None = None
    event_id: str | None = None
    event_digest: str | None = None
    asserted: Mapping[str, Any] | None = None

    def identify(self, identity: Identity) -> None:
        """Note who asks: token and proof have verified."""
        self.actor, self.grant, self.policy = identity.actor(), identity.grant, identity.policy

    def entry(
        self,
        decision: str,
        *,
        action: str | None = None,
        code: str | None = None,
        outcome: Mapping[str, Any] | None = None,
        receipt: str | None = None,
    ) -> AuditEntry:
        """Give the record of what was decided."""
        return AuditEntry(
            action=action or self.action,
            decision=decision,
            code=code,
            actor=self.actor,
            resource=self.resource,
            grant=self.grant,
            policy=self.policy,
            event_id=self.event_id,
            event_digest=self.event_digest,
            asserted=self.asserted,
            trace_id=self.trace_id,
            outcome=outcome,
            receipt=receipt,
        )
