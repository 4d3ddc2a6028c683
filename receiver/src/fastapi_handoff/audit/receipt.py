"""What a record says about a receipt, so that the receipt cannot be rewritten behind the chain's back."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from fastapi_handoff.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Mapping

RECEIPT_COLUMNS = (
    "repository_uuid",
    "event_id",
    "sub",
    "content_digest",
    "event_type",
    "scope",
    "state",
    "detail",
    "result",
    "identity",
    "asserted",
    "trace_id",
)
"""The columns that a receipt's answer is made of. Lease, attempts and times change while the state does not."""


def receipt_digest(row: Mapping[str, Any]) -> str:
    """Give `sha-256:<hex>` over the row of `receipts` as it will stand when its transaction commits.

    `row` maps at least `RECEIPT_COLUMNS` to what is written to them: text or `None`.
    """
    values = [None if (value := row[name]) is None else storable(value) for name in RECEIPT_COLUMNS]
    return "sha-256:" + hashlib.sha256(json.dumps(values).encode()).hexdigest()
