"""A trigger or a rule that swallows what is written, without an error: nothing is done that would have no record."""

from __future__ import annotations

import pytest

from fastapi_handoff.store import StoreUnavailable
from helpers import chain
from helpers.pipe import event, event_id
from helpers.receiver_app import ORIGIN


@pytest.fixture
def swallow(sql, backend):
    """Let a table take inserts, and keep none."""

    def forget(table: str) -> None:
        sql(
            f"CREATE TRIGGER swallow BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END"
            if backend == "sqlite"
            else f"CREATE RULE swallow AS ON INSERT TO {table} DO INSTEAD NOTHING"
        )

    return forget


@pytest.mark.parametrize("table", ["audit_records", "receipts", "proof_ids"])
async def test_event_whose_row_is_swallowed_is_refused_and_its_handler_not_run(
    receiver, records, swallow, caplog, table: str
) -> None:
    token = await receiver.access_token()
    before = records()
    swallow(table)
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
    assert receiver.calls == []
    assert records() == before
    assert f"writing one row to `{table}` changed 0" in caplog.text


@pytest.mark.parametrize("table", ["audit_records", "proof_ids", "subject_token_bindings", "public_keys"])
async def test_exchange_whose_row_is_swallowed_is_refused(receiver, records, swallow, table: str) -> None:
    swallow(table)
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token())
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
    assert records() == []


@pytest.mark.parametrize("table", ["audit_records", "proof_ids"])
async def test_route_whose_row_is_swallowed_is_refused(receiver, swallow, table: str) -> None:
    token = await receiver.access_token()
    swallow(table)
    proof = receiver.pipe.proof("POST", f"{ORIGIN}/config/sync", token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    response = await receiver.client.post("/config/sync", headers=headers)
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")


async def test_record_that_is_swallowed_leaves_the_chain_whole(store, sql, backend, swallow) -> None:
    await chain.add(store, chain.entry(1))
    swallow("audit_records")
    with pytest.raises(StoreUnavailable, match="writing one row to `audit_records` changed 0: a trigger or a rule"):
        await chain.add(store, chain.entry(2))
    sql(f"DROP {'TRIGGER swallow' if backend == 'sqlite' else 'RULE swallow ON audit_records'}")
    assert [head.seq for head in await chain.add(store, chain.entry(3))] == [2]
