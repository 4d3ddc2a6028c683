"""`audit verify` in several processes finds what it finds in one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fastapi_handoff.audit import AuditHead
from fastapi_handoff.audit.verify import processes, verify_store
from helpers.chain import add, deliver, entry, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi_handoff.store import Store


@pytest.fixture
async def heads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[AuditHead]:
    """A chain of ten in four parts, eight of its records with receipts."""
    monkeypatch.setattr(processes, "PART", 3)
    return [*await add(store, entry(101), entry(102)), *await deliver(store, *range(3, 11))]


TAMPERED = [
    "UPDATE audit_records SET record = replace(record, 'production', 'staging') WHERE seq IN (3, 8)",
    "DELETE FROM audit_records WHERE seq IN (3, 4, 10)",
    "UPDATE audit_records SET prev_hash = 'none' WHERE seq = 4",
    "UPDATE receipts SET detail = 'forged'",
]


@pytest.mark.parametrize("statement", TAMPERED)
async def test_parts_find_what_the_whole_finds(
    store: Store, store_url: str, heads: list[AuditHead], sql: Callable[..., Any], statement: str
) -> None:
    sql(statement)
    anchors = [*heads, AuditHead(2, "f" * 64), AuditHead(99, "f" * 64)]
    whole = verified(store, anchors=anchors)
    seen: list[tuple[str, int, int]] = []
    parts = await asyncio.to_thread(
        verify_store, store_url, anchors=anchors, progress=lambda *shown: seen.append(shown)
    )
    assert not whole.intact
    assert sorted((one.seq, one.text) for one in parts.findings) == sorted(
        (one.seq, one.text) for one in whole.findings
    )
    assert (parts.records, parts.receipts, parts.head) == (whole.records, whole.receipts, whole.head)
    assert parts.finding_count == whole.finding_count
    assert ("records", whole.records) in [shown[:2] for shown in seen]
    assert seen[-1] == ("receipts", whole.receipts, whole.receipts)


async def test_chain_that_nobody_touched_is_intact_in_parts(
    store: Store, store_url: str, heads: list[AuditHead]
) -> None:
    found = await asyncio.to_thread(verify_store, store_url, anchors=heads)
    assert (found.findings, found.records, found.receipts, found.head) == ([], 10, 8, heads[-1])
