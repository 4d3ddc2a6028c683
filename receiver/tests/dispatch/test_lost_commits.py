"""A database that loses its last commits while the receiver lives on: a failover, a backup put back."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from test_deliveries import gated

from helpers.pipe import event, event_id


@pytest.fixture
async def running(receiver, sql):
    """A receiver whose handler runs, and who has its lease."""
    gate = gated(receiver)
    token, content = await receiver.access_token(), event(event_id())
    request = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    await gate.entered.wait()
    [(owner,)] = sql("SELECT lease_owner FROM receipts")
    return receiver, gate, token, content, request, owner


LOST = {
    "the outcome": [
        "DELETE FROM audit_records WHERE action IN ('event.outcome', 'event.redeliver')",
        """UPDATE receipts SET state = 'running', attempts = 1, lease_owner = '{owner}', lease_until = 9000000000000000,
           result = NULL, completed_at = NULL, audit_seq = a.seq, audit_hash = a.hash
           FROM audit_records AS a WHERE a.action = 'event.accept'""",
    ],
    "the claim, too": [
        "DELETE FROM audit_records WHERE action IN ('event.outcome', 'event.redeliver')",
        """UPDATE receipts SET state = 'pending', attempts = 0, lease_owner = '{owner}', lease_until = 9000000000000000,
           result = NULL, completed_at = NULL, audit_seq = a.seq, audit_hash = a.hash
           FROM audit_records AS a WHERE a.action = 'event.accept'""",
    ],
    "the acceptance, too": ["DELETE FROM audit_records WHERE action LIKE 'event.%'", "DELETE FROM receipts"],
}


@pytest.mark.parametrize("lost", LOST)
async def test_finished_handler_is_not_started_again(running, sql, records, lost: str) -> None:
    receiver, gate, token, content, request, owner = running
    gate.open.set()
    assert (await request).json()["state"] == "succeeded"
    sql(*[statement.format(owner=owner) for statement in LOST[lost]])

    response = await receiver.pipe.deliver(receiver.client, token, content)

    assert response.json()["state"] == "interrupted"
    assert "Look at what it changes" in response.json()["detail"]
    assert len(receiver.calls) == 1
    assert (records()[-1]["action"], records()[-1]["decision"]) == ("event.outcome", "interrupted")
    again = await receiver.pipe.deliver(receiver.client, token, content)
    assert again.json() == response.json()


async def test_finished_handler_is_not_started_again_though_nobody_asks(receivers, sql) -> None:
    receiver = await receivers(lease=0.5)
    gate = gated(receiver)
    gate.open.set()
    await receiver.pipe.deliver(receiver.client, await receiver.access_token(), event(event_id()))
    sql("DELETE FROM audit_records WHERE action = 'event.outcome'")
    sql("UPDATE receipts SET state = 'pending', attempts = 0, lease_owner = NULL, lease_until = 1")
    for _ in range(100):
        if sql("SELECT state FROM receipts") == [("interrupted",)]:
            break
        await asyncio.sleep(0.05)
    assert sql("SELECT state FROM receipts") == [("interrupted",)]
    assert len(receiver.calls) == 1


async def test_handler_that_still_runs_when_its_claim_is_lost_ends_as_it_ended(running, sql, records) -> None:
    receiver, gate, token, content, request, _ = running
    sql("UPDATE receipts SET state = 'pending', attempts = 0")
    other = asyncio.create_task(receiver.pipe.deliver(receiver.client, token, content))
    gate.open.set()

    assert (await request).json()["state"] == (await other).json()["state"] == "succeeded"
    assert len(receiver.calls) == 1
    assert [r["decision"] for r in records() if r["action"] == "event.outcome"] == ["succeeded"]


async def test_handler_that_still_runs_when_its_receipt_is_lost_is_recorded(running, sql, records) -> None:
    receiver, gate, token, content, request, _ = running
    sql("DELETE FROM audit_records WHERE action LIKE 'event.%'", "DELETE FROM receipts")
    gate.open.set()
    await request
    assert (records()[-1]["action"], records()[-1]["decision"]) == ("event.late_outcome", "succeeded")
    again = await receiver.pipe.deliver(receiver.client, token, content)
    assert again.json()["state"] == "interrupted"
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_backup_that_is_put_back_into_the_live_file_starts_nothing_again(running, store_url, tmp_path) -> None:
    receiver, gate, token, content, request, _ = running
    path = store_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as live, sqlite3.connect(tmp_path / "backup.db") as backup:
        live.backup(backup)
        gate.open.set()
        assert (await request).json()["state"] == "succeeded"
        backup.backup(live)
    response = await receiver.pipe.deliver(receiver.client, token, content)
    assert response.json()["state"] == "interrupted"
    assert len(receiver.calls) == 1
