"""The audit chain: one append-only sequence of records, each of which names the hash of the one before.

What happened is an `AuditEntry`; `append` makes it a record of the chain, within the transaction of what it records.
`receipt_digest` ties a receipt to its record. What reads the chain is here, too: `rows` page by page,
`verify`, and the formats in `export`. What is worth recording, and when, is said by the rooms above.
"""

from fastapi_handoff.audit.chain import Clock, append, clocks_differ, lost_head
from fastapi_handoff.audit.entry import AuditEntry, AuditHead
from fastapi_handoff.audit.receipt_digest import receipt_digest, recorded_digest
from fastapi_handoff.audit.record import decode, rfc3339
from fastapi_handoff.audit.rows import Filter, matching, newest, stored_bytes

__all__ = [
    "AuditEntry",
    "AuditHead",
    "Clock",
    "Filter",
    "append",
    "clocks_differ",
    "decode",
    "lost_head",
    "matching",
    "newest",
    "receipt_digest",
    "recorded_digest",
    "rfc3339",
    "stored_bytes",
]
