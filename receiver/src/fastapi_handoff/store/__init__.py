"""The one database of a receiver: its tables, its transactions, its upgrades.

Here is how something is stored and read: engines, the one writer, the schema and its migrations. What is stored, and
when, is said by the rooms above. SQLAlchemy Core on synchronous connections; SQLite and PostgreSQL by the same code.
"""

from fastapi_handoff.store.database import Store
from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.ledger import Ledger
from fastapi_handoff.store.rows import change_one
from fastapi_handoff.store.tables import (
    audit_records,
    metadata,
    proof_ids,
    public_keys,
    receipts,
    subject_token_bindings,
)
from fastapi_handoff.store.text import storable

__all__ = [
    "Ledger",
    "Store",
    "StoreUnavailable",
    "audit_records",
    "change_one",
    "metadata",
    "proof_ids",
    "public_keys",
    "receipts",
    "storable",
    "subject_token_bindings",
]
