"""The one database of a receiver: its tables, its transactions, its upgrades."""

from fastapi_handoff.store.compiled import change_one
from fastapi_handoff.store.database import Store
from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.tables import (
    audit_records,
    metadata,
    proof_ids,
    public_keys,
    receipts,
    subject_token_bindings,
)

__all__ = [
    "Store",
    "StoreUnavailable",
    "audit_records",
    "change_one",
    "metadata",
    "proof_ids",
    "public_keys",
    "receipts",
    "subject_token_bindings",
]
