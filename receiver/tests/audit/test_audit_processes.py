"""`audit verify` in several processes finds what it finds in one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from fastapi_handoff.audit import AuditHead
from fastapi_handoff.audit.verify import processes, verify_store
from helpers.chain import add, deliver, entry, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


HELD_CHILD = """
import os, signal, sys, threading, time
from multiprocessing import active_children
from fastapi_handoff.audit.verify import processes
from fastapi_handoff.cli import main

def disturb():
    while not active_children():
        time.sleep(0.01)
    time.sleep(0.2)  # all are started, none has read its part
    if sys.argv[2] == "kill a child":
        active_children()[0].kill()
    else:
        for child in active_children():
            os.kill(child.pid, signal.SIGSTOP)  # stands for a part that takes long
        os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    processes.PART = 3
    threading.Thread(target=disturb, daemon=True).start()
    sys.exit(main(["audit", "verify", "--store", sys.argv[1]]))
"""


@pytest.mark.parametrize(("disturbance", "code"), [("kill a child", 3), ("interrupt", 130)])
async def test_check_that_is_not_finished_says_nothing_about_the_chain(
    store_url: str, heads: list[AuditHead], tmp_path: Path, disturbance: str, code: int
) -> None:
    script = tmp_path / "held.py"
    script.write_text(HELD_CHILD)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), store_url, disturbance, stdout=-1, stderr=-1, start_new_session=True
    )
    try:
        async with asyncio.timeout(15):
            out, err = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out) == (code, b"")
    assert (b"could not be finished" in err) == (code == 3)
    assert b"Traceback" not in err
