"""A row that was altered between the event's acceptance and its handler's start: nothing is run on its word."""

from __future__ import annotations

import asyncio
import json

import pytest

from fastapi_handoff.store import StoreUnavailable
from helpers.fixtures_store import connect
from helpers.pipe import content_digest, event, event_id
from helpers.receiver_app import Receiver

FORGED_EVENT = "the stored event is not the one that was received"
FORGED_RECEIPT = "the stored receipt is not what was recorded of it"
ALTERED = [
    ("UPDATE receipts SET body = {forged}", FORGED_EVENT),
    ("UPDATE receipts SET body = {forged}, content_digest = {digest}", FORGED_RECEIPT),
    ("""UPDATE receipts SET identity = replace(identity, '"main"', '"release"')""", FORGED_RECEIPT),
    ("UPDATE receipts SET subject = 'another step'", FORGED_RECEIPT),
    ("UPDATE receipts SET audit_seq = audit_seq - 1", FORGED_RECEIPT),
    ("""UPDATE audit_records SET record = replace(record, '"main"', '"release"')""", FORGED_RECEIPT),
]


def lose_answers(patch, receiver) -> None:
    """Let every write be committed, and nobody be told."""
    write = receiver.handoff.recorder.store.write

    async def committed_but_not_told(work, **_):
        await write(work)
        raise StoreUnavailable

    patch.setattr(receiver.handoff.recorder.store, "write", committed_but_not_told)


@pytest.fixture
async def unstarted(receivers, monkeypatch):
    """A receiver that has accepted an event of an idempotent handler, lost the answer, and started nothing."""
    receiver = await starting(receivers)
    token, content = await receiver.access_token(), event(event_id(), "upgraded")
    with monkeypatch.context() as patch:
        lose_answers(patch, receiver)
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 503
    return receiver, token, content


async def starting(receivers, **options):
    receiver = await receivers(**options)

    @receiver.handoff.on("service.upgraded", scope="deployments:write", idempotent=True)
    async def upgraded(event, identity):
        receiver.calls.append((event, identity))

    return receiver


async def started_by(who: str, receiver, receivers, sql, token: str, content: dict):
    """Have a receiver look at the receipt: the one that accepted it, or a replica that finds its lease ended."""
    if who == "itself":
        await receiver.pipe.deliver(receiver.client, token, content)
        return receiver
    sql("UPDATE receipts SET lease_until = 1")
    replica = await starting(receivers, lease=0.3)
    for _ in range(100):
        if sql("SELECT state FROM receipts") not in ([("pending",)], [("running",)]):
            break
        await asyncio.sleep(0.05)
    return replica


def alter(store_url: str, content: dict, statement: str) -> None:
    content["data"]["customData"]["custom"] = {"forged": True}
    forged = json.dumps(content).encode()
    literal = f"x'{forged.hex()}'" if store_url.startswith("sqlite") else f"'\\x{forged.hex()}'"
    with connect(store_url) as connection:
        connection.execute(statement.format(forged=literal, digest=f"'{content_digest(forged)}'"))
        connection.commit()


@pytest.mark.parametrize("by", ["itself", "another replica"])
@pytest.mark.parametrize(("statement", "reason"), ALTERED)
async def test_altered_row_starts_no_handler_and_says_why(
    unstarted, receivers, store_url, sql, records, statement: str, reason: str, by: str
) -> None:
    receiver, token, content = unstarted
    alter(store_url, json.loads(json.dumps(content)), statement)

    other = await started_by(by, receiver, receivers, sql, token, content)

    if "content_digest" in statement and by == "itself":
        # The event that its sender delivers again is another than the altered row's.
        assert records()[-1]["code"] == "event-conflict"
        return
    assert receiver.calls == other.calls == []
    refused, ended = [r for r in records() if r["action"] in {"event.resume", "event.outcome"}]
    assert (refused["action"], refused["decision"], refused["outcome"]) == (
        "event.resume",
        "refused",
        {"reason": reason},
    )
    assert (ended["action"], ended["decision"]) == ("event.outcome", "interrupted")
    with connect(store_url) as connection:
        row = connection.execute("SELECT state, detail, audit_seq FROM receipts").fetchone()
    assert row == ("interrupted", f"{reason}, so the handler was not started", ended["seq"])


@pytest.mark.parametrize("by", ["itself", "another replica"])
async def test_row_that_nobody_altered_starts_its_handler(unstarted, receivers, sql, by: str) -> None:
    receiver, token, content = unstarted
    other = await started_by(by, receiver, receivers, sql, token, content)
    response = await receiver.pipe.deliver(other.client, token, content)
    assert response.json()["state"] == "succeeded"
    assert [len(one.calls) for one in {receiver, other}].count(1) == 1


AS_ACCEPTED = """UPDATE receipts SET state = '{state}', lease_until = 1, lease_owner = NULL, attempts = {attempts},
    detail = NULL, result = NULL, completed_at = NULL, audit_seq = a.seq, audit_hash = a.hash
    FROM audit_records AS a WHERE a.action = 'event.accept' AND a.event_id = receipts.event_id"""


@pytest.mark.parametrize(("state", "attempts"), [("pending", 0), ("running", 1)])
async def test_finished_event_whose_receipt_is_set_back_is_not_run_again(
    receivers, sql, records, state: str, attempts: int
) -> None:
    """One UPDATE gives the receipt the state, and the record, that it had before its handler ran."""
    receiver = await starting(receivers)
    content = event(event_id(), "upgraded")
    token = await receiver.access_token()
    assert (await receiver.pipe.deliver(receiver.client, token, content)).json()["state"] == "succeeded"
    sql(AS_ACCEPTED.format(state=state, attempts=attempts))

    other = await started_by("another replica", receiver, receivers, sql, token, content)

    assert (len(receiver.calls), len(other.calls)) == (1, 0)
    refused, ended = records()[-2:]
    assert (refused["action"], refused["decision"]) == ("event.resume", "refused")
    assert refused["outcome"] == {"reason": "the audit chain has an outcome of this event already"}
    assert ended["decision"] == "interrupted"


async def test_finished_event_whose_receipt_was_deleted_is_not_run_again(receivers, sql, records) -> None:
    receiver, other = await starting(receivers), await starting(receivers)
    content = event(event_id(), "upgraded")
    token = await receiver.access_token()
    await receiver.pipe.deliver(receiver.client, token, content)
    sql("DELETE FROM receipts")

    response = await receiver.pipe.deliver(other.client, token, content)

    assert response.json()["state"] == "interrupted"
    assert (len(receiver.calls), len(other.calls)) == (1, 0)
    assert records()[-2]["outcome"] == {"reason": "the audit chain has an outcome of this event already"}


DAMAGED = ["identity = '{'", "identity = '[]'", "identity = '{}'", "asserted = '5'", "result = '{'", "result = 'NaN'"]
DAMAGED += ["""result = '"\\ud800"'""", "state = 'done'", "scope = NULL", "result = '" + "[" * 100_000 + "'"]


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage[:20])
async def test_damaged_receipt_is_answered_with_a_code(receiver, sql, records, damage: str) -> None:
    content = event(event_id())
    token = await receiver.access_token()
    assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 200
    sql(f"UPDATE receipts SET {damage}")

    for response in (
        await receiver.pipe.poll(receiver.client, token, content["id"]),
        await receiver.pipe.deliver(receiver.client, token, content),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "receipt-damaged")
        assert "look at what the handler changes" in response.json()["detail"]
        assert records()[-1]["code"] == "receipt-damaged"
    assert len(receiver.calls) == 1


async def test_damaged_receipt_that_nobody_answers_for_is_ended_and_keeps_no_other_waiting(
    receivers, sql, records
) -> None:
    receiver = await starting(receivers)
    token, contents = await receiver.access_token(), [event(event_id(), "upgraded") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        lose_answers(patch, receiver)
        for content in contents:
            await receiver.pipe.deliver(receiver.client, token, content)
    sql(
        f"UPDATE receipts SET identity = '{{' WHERE event_id = '{contents[0]['id']}'",
        "UPDATE receipts SET lease_until = 1",
    )

    replica = await starting(receivers, lease=0.3)
    for _ in range(100):
        if len(replica.calls) == 1 and not sql("SELECT 1 FROM receipts WHERE state IN ('pending', 'running')"):
            break
        await asyncio.sleep(0.05)

    assert dict(sql("SELECT event_id, state FROM receipts")) == {
        contents[0]["id"]: "interrupted",
        contents[1]["id"]: "succeeded",
    }


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_row_that_cannot_be_looked_at_keeps_no_other_waiting(policy_file, store_url, issuer, sql, caplog) -> None:
    """SQLite's columns hold what was put there: the type of an event may be bytes that are no text."""
    first = Receiver(policy_file, store_url, issuer, inline_timeout=0.05)

    @first.handoff.on("service.upgraded", scope="deployments:write", idempotent=True)
    async def never_ends(event, identity) -> None:
        await asyncio.sleep(60)

    async with first.handoff.lifespan(first.app):
        token = await first.access_token()
        for _ in range(2):
            await first.pipe.deliver(first.client, token, event(event_id(), "upgraded"))
        await first.handoff._dispatcher.stop(0.05)
    sql("UPDATE receipts SET event_type = x'00ff', lease_until = -1 WHERE rowid = (SELECT min(rowid) FROM receipts)")
    second = Receiver(policy_file, store_url, issuer, lease=0.6)
    ran = asyncio.Event()

    @second.handoff.on("service.upgraded", scope="deployments:write", idempotent=True)
    async def upgraded(event, identity) -> None:
        ran.set()

    async with second.handoff.lifespan(second.app):
        await asyncio.wait_for(ran.wait(), 5)
    assert "cannot be looked after" in caplog.text
