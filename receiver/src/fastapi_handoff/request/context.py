"""What is known so far about one request: it grows as checks pass, and becomes the request's audit records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi_handoff.audit import AuditEntry
from fastapi_handoff.request.checks import Checks

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class RequestContext:
    """One request. `actor`, `grant` and `policy` stay `None` until they are attested."""

    action: str
    """What the audit calls it: `token.exchange`, `event.accept`, …"""
    resource: str
    """Method and path: `POST /handoff/events`."""
    trace_id: str
    """W3C trace id, 32 hex digits."""
    checks: Checks = field(default_factory=Checks)
    actor: Mapping[str, str | None] | None = None
    grant: str | None = None
    policy: str | None = None
    event_id: str | None = None
    event_digest: str | None = None
    asserted: Mapping[str, Any] | None = None

    def authenticated(self, actor: Mapping[str, str | None], grant: str, policy: str) -> None:
        """Note who asks, once token and proof have verified; from now on a refusal shows its checks."""
        self.actor, self.grant, self.policy = actor, grant, policy
        self.checks.disclosed = True

    def entry(
        self,
        decision: str,
        *,
        action: str | None = None,
        code: str | None = None,
        outcome: Mapping[str, Any] | None = None,
        receipt: str | None = None,
    ) -> AuditEntry:
        """Return the audit record of a decision about this request."""
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
