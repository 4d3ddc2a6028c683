"""The audit chain: one append-only sequence of records, each of which names the hash of the one before."""

from fastapi_handoff.audit.chain import Clock, append
from fastapi_handoff.audit.entry import AuditEntry, AuditHead
from fastapi_handoff.audit.receipts import receipt_digest, recorded_digest

__all__ = ["AuditEntry", "AuditHead", "Clock", "append", "receipt_digest", "recorded_digest"]
