"""A trigger that deletes or changes what was just written: nothing is done that would have no record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fastapi_handoff.store import Store, StoreUnavailable
from helpers import chain
from helpers.pipe import event, event_id
from helpers.receiver_app import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = {
    "audit_records": ["seq"],
    "proof_ids": ["jkt", "jti"],
    "receipts": ["event_id"],
    "subject_token_bindings": ["replay_key"],
    "public_keys": ["kid"],
}
DELETE = "DELETE FROM {table} WHERE {is_new}"


@pytest.fixture
def after_insert(sql: Callable[..., Any], backend: str) -> Callable[..., None]:
    """Run a statement after each insert into a table: at once, or, on PostgreSQL, not before the commit."""

    def act(table: str, statement: str = DELETE, *, deferred: bool = False) -> None:
        is_new = " AND ".join(f"{column} = NEW.{column}" for column in KEYS[table])
        body = statement.format(table=table, is_new=is_new)
        if backend == "sqlite":
            sql(f"CREATE TRIGGER tamper AFTER INSERT ON {table} BEGIN {body}; END")
            return
        sql(
            f"CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$",
            f"CREATE CONSTRAINT TRIGGER tamper AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION tamper()"
            if deferred
            else f"CREATE TRIGGER tamper AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION tamper()",
        )

    return act


@pytest.mark.parametrize("table", ["audit_records", "receipts", "proof_ids"])
async def test_event_whose_row_is_deleted_is_refused_and_its_handler_not_run(
    receiver, records, after_insert, caplog, table: str
) -> None:
    token = await receiver.access_token()
    before = records()
    after_insert(table)
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
    assert receiver.calls == []
    assert records() == before
    assert f"written to `{table}` are not there as they were written" in caplog.text


@pytest.mark.parametrize("table", ["audit_records", "proof_ids", "subject_token_bindings", "public_keys"])
async def test_exchange_whose_row_is_deleted_is_refused(receiver, records, after_insert, table: str) -> None:
    after_insert(table)
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token())
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
    assert records() == []


async def test_proof_whose_id_is_deleted_is_good_for_no_request(receiver, after_insert) -> None:
    token = await receiver.access_token()
    after_insert("proof_ids")
    proof = receiver.pipe.proof("POST", f"{ORIGIN}/config/sync", token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    for _ in range(2):
        response = await receiver.client.post("/config/sync", headers=headers)
        assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")


CHANGES = [
    ("audit_records", DELETE),
    ("audit_records", "UPDATE {table} SET record = '{{}}' WHERE {is_new}"),
    ("audit_records", "UPDATE {table} SET hash = upper(hash) WHERE {is_new}"),
    ("audit_records", "UPDATE {table} SET decision = 'accepted' WHERE {is_new}"),
    ("audit_records", "UPDATE {table} SET code = 'x' WHERE {is_new}"),
]


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("table", "statement"), CHANGES)
async def test_record_that_is_not_there_as_it_was_written_is_told(
    store: Store, sql, backend: str, after_insert, table: str, statement: str, deferred: bool
) -> None:
    await chain.add(store, chain.entry(1))
    after_insert(table, statement, deferred=deferred)
    with pytest.raises(StoreUnavailable, match="are not there as they were written: a trigger"):
        await chain.add(store, chain.entry(2, decision="refused"))
    sql("DROP TRIGGER tamper" if backend == "sqlite" else "DROP TRIGGER tamper ON audit_records")
    assert [head.seq for head in await chain.add(store, chain.entry(3))] == [2]
    assert chain.verified(store).intact


async def test_record_that_a_later_write_of_the_same_request_deletes_is_missed(receiver, records, after_insert) -> None:
    token = await receiver.access_token()
    before = records()
    after_insert("receipts", "DELETE FROM audit_records WHERE seq = (SELECT max(seq) FROM audit_records)")
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
    assert records() == before
