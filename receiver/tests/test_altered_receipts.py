"""A row that was altered between the event's acceptance and its handler's start: nothing is run on its word."""

from __future__ import annotations

import json

import pytest

from fastapi_handoff.store import StoreUnavailable
from fixtures_store import connect
from pipe import content_digest, event, event_id
from provider import REPOSITORY_UUID

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


@pytest.fixture
async def unstarted(receivers, monkeypatch):
    """A receiver that has accepted an event of an idempotent handler, lost the answer, and started nothing."""
    receiver = await starting(receivers)
    store = receiver.handoff.recorder.store
    token, content = await receiver.access_token(), event(event_id(), "upgraded")
    write = store.write

    async def committed_but_not_told(work, **_):
        await write(work)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", committed_but_not_told)
        assert (await receiver.pipe.deliver(receiver.client, token, content)).status_code == 503
    return receiver, content


async def starting(receivers):
    receiver = await receivers()

    @receiver.handoff.on("service.upgraded", scope="deployments:write", idempotent=True)
    async def upgraded(event, identity):
        receiver.calls.append((event, identity))

    return receiver


async def replica_after_its_end(receivers, clock):
    """Another receiver, at a time when the first one's lease has ended."""
    replica = await starting(receivers)
    replica.clock.now = clock.now + 120
    replica.handoff._dispatcher._steady_since = float("-inf")
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
    unstarted, receivers, store_url, records, statement: str, reason: str, by: str
) -> None:
    receiver, content = unstarted
    other = receiver if by == "itself" else await replica_after_its_end(receivers, receiver.clock)
    alter(store_url, content, statement)

    await other.handoff._dispatcher._visit((receiver.issuer.issuer, REPOSITORY_UUID, content["id"]))

    assert receiver.calls == other.calls == []
    refused, ended = records()[-2:]
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
async def test_row_that_nobody_altered_starts_its_handler(unstarted, receivers, by: str) -> None:
    receiver, content = unstarted
    other = receiver if by == "itself" else await replica_after_its_end(receivers, receiver.clock)
    response = await other.pipe.deliver(other.client, await other.access_token(), content)
    assert response.json()["state"] == "succeeded"
    assert [len(one.calls) for one in {receiver, other}].count(1) == 1
