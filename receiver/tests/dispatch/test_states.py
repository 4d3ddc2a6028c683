"""The table of states: every cell of it, and every sight from which a happening is judged."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from sqlalchemy import insert

from fastapi_handoff.audit import append, receipt_digest
from fastapi_handoff.dispatch.receipt_table import LeaseLost, ReceiptTable
from fastapi_handoff.dispatch.registry import Outcome
from fastapi_handoff.dispatch.states import MAX_ATTEMPTS, TABLE, Happening, Lease, Sight, State, judge, step
from fastapi_handoff.store import receipts
from helpers import chain

OURS = "this process"
SAME = "as it was"
OPEN = ("pending", "running")
FINAL = ("succeeded", "failed", "interrupted")


AGAIN = ("event.redeliver", "accepted")
EXPECTED: dict[str, dict[str, tuple[Any, ...]]] = {
    # happening: state before: state after, records, lease's owner after, attempts added, what the caller is told
    "DELIVERED": {state: (state, [AGAIN], SAME, 0, None) for state in OPEN + FINAL},
    "DELIVERED_OTHERWISE": {
        state: (state, [("event.accept", "refused")], SAME, 0, "event-conflict") for state in OPEN + FINAL
    },
    "CLAIMED": {"pending": ("running", [], OURS, 1, None), "running": ("running", [], OURS, 0, None)},
    "RESUMED": {"running": ("running", [("event.resume", "accepted")], OURS, 1, None)},
    "SUCCEEDED": {state: ("succeeded", [("event.outcome", "succeeded")], None, 0, None) for state in OPEN},
    "FAILED": {state: ("failed", [("event.outcome", "failed")], None, 0, None) for state in OPEN},
    "STOPPED": {state: ("interrupted", [("event.outcome", "interrupted")], None, 0, None) for state in OPEN},
    "ENDED_LATE": {state: (state, [("event.late_outcome", "succeeded")], SAME, 0, None) for state in OPEN + FINAL},
    "GIVEN_BACK": {state: (state, [], "", 0, None) for state in OPEN},
    "DIED": {"running": ("interrupted", [("event.outcome", "interrupted")], None, 0, None)},
    "DIED_TOO_OFTEN": {"running": ("interrupted", [("event.outcome", "interrupted")], None, 0, None)},
    "CAME_BACK": {state: ("interrupted", [("event.outcome", "interrupted")], None, 0, None) for state in OPEN},
    "ALTERED": {
        state: ("interrupted", [("event.resume", "refused"), ("event.outcome", "interrupted")], None, 0, None)
        for state in OPEN
    },
    "NOT_HANDLED": {"pending": ("failed", [("event.outcome", "failed")], None, 0, None)},
}
CELLS = [(happening, state) for happening in Happening for state in State]


def test_table_has_each_happening_and_no_other() -> None:
    assert {happening.name for happening in TABLE} == EXPECTED.keys() == {happening.name for happening in Happening}


def test_final_state_never_changes_and_nothing_becomes_pending() -> None:
    for happening, state in CELLS:
        if state in TABLE[happening]:
            to = step(state, happening).to
            assert to is state if state.is_final else True
            assert to is not State.PENDING or state is State.PENDING


@pytest.mark.parametrize("state", State)
def test_state_is_told_by_the_protocols_names(state: State) -> None:
    assert state.told == ("running" if state in OPEN else state.value)
    assert state.is_final == (state in FINAL)


@pytest.mark.parametrize(("happening", "state"), CELLS, ids=lambda value: value.name)
async def test_cell(store, sql, happening: Happening, state: State) -> None:
    """In the database: the next state, the lease, the attempts, the records, and that they agree with each other."""
    expected = EXPECTED[happening.name].get(state.value)
    if expected is None:
        with pytest.raises(KeyError):
            step(state, happening)
        return
    to, records, owner, attempts, told = expected
    table = ReceiptTable(resource="POST /handoff/events", clock=lambda: 1_800_000_000.0, lease=60)
    before = "another" if state.value in OPEN else None
    values = chain.receipt(1, state=state.value, result=None, attempts=1, lease_owner=before)

    def put(connection) -> Any:
        head = append(connection, chain.entry(1, receipt=receipt_digest(values)), clock=lambda: 1.0)
        connection.execute(
            insert(receipts),
            {**values, "lease_until": before and 1, "audit_seq": head.seq, "audit_hash": head.hash},
        )
        return table.find(connection, (values["issuer"], values["source"], values["event_id"]))

    row = await store.write(put)
    ends = {Happening.SUCCEEDED, Happening.FAILED, Happening.STOPPED}
    outcome = Outcome(happening if happening in ends else Happening.SUCCEEDED, result=8, result_text="8")
    given = outcome if happening in ends | {Happening.ENDED_LATE} else None
    after = await store.write(lambda connection: table.apply(connection, row, happening, given, reason="why"))

    [stored] = sql("SELECT state, lease_owner, attempts, audit_seq, audit_hash, completed_at, result FROM receipts")
    owner = before if owner is SAME else owner
    if owner == OURS:
        owner = after["lease_owner"]
        assert table.lease_of(after) is Lease.OURS
    assert stored[:3] == (to, owner, 1 + attempts) == (after["state"], after["lease_owner"], after["attempts"])
    written = [json.loads(text) for (text,) in sql("SELECT record FROM audit_records ORDER BY seq")]
    assert [(record["action"], record["decision"]) for record in written[1:]] == records
    assert step(state, happening).code == told
    named = written[stored[3] - 1]
    # What the receipt names is the record of its state: of the acceptance until it ends, of its end from then on.
    assert named["action"] == ("event.outcome" if (to in FINAL and state.value in OPEN) else "event.accept")
    assert named["receipt"] == receipt_digest(after)
    assert (stored[5] is not None) == (named["action"] == "event.outcome")
    assert stored[6] == ("8" if happening in ends else None)
    if expected[2] == OURS:
        [(until,)] = sql("SELECT lease_until FROM receipts")
        assert until > 1_000_000
    # Nothing is done, and nothing recorded, for a row that is not that one any more.
    if step(state, happening).hold.name != "KEPT":
        with pytest.raises(LeaseLost):
            await store.write(lambda connection: table.apply(connection, {**row, "attempts": 7}, happening, given))
        assert len(sql("SELECT seq FROM audit_records")) == len(written)


@pytest.mark.parametrize("happening", [h for h in Happening if "INTERRUPTED" in {s.to.name for s in TABLE[h].values()}])
def test_text_of_an_interrupted_receipt_says_to_look_first_and_never_to_run_again(happening: Happening) -> None:
    for taken in TABLE[happening].values():
        if taken.to is State.INTERRUPTED and happening is not Happening.ALTERED and taken.detail is not None:
            assert "Look at what it changes before anything is run again" in taken.detail
            assert "run the step again" not in taken.detail


def seen(**changes: Any) -> Happening | None:
    usual = {
        "state": State.RUNNING,
        "lease": Lease.ENDED,
        "is_steady": True,
        "attempts": 1,
        "was_started_here": False,
        "is_handled": True,
        "is_idempotent": True,
        "is_new": False,
    }
    return judge(Sight(**{**usual, **changes}))


def test_every_sight_is_judged() -> None:
    for state, lease, steady, known, idempotent, attempts, new in itertools.product(
        (State.PENDING, State.RUNNING),
        Lease,
        (False, True),
        (False, True),
        (None, False, True),
        (1, MAX_ATTEMPTS),
        (False, True),
    ):
        happening = seen(
            state=state,
            lease=lease,
            is_steady=steady,
            was_started_here=known,
            is_handled=idempotent is not None,
            is_idempotent=bool(idempotent),
            attempts=attempts,
            is_new=new,
        )
        if lease is Lease.ANOTHERS:
            assert happening is None, "another process answers for it"
        elif lease is Lease.ENDED and not steady:
            assert happening is None, "its process may be well, and could not write"
        elif known:
            assert happening is Happening.CAME_BACK, "never started twice by one process"
        elif state is State.PENDING and idempotent is None:
            assert happening is (None if new else Happening.NOT_HANDLED), "another replica may have its handler"
        elif state is State.PENDING:
            assert happening is Happening.CLAIMED
        elif lease is Lease.OURS:
            assert happening is Happening.CLAIMED, "only the answer of the claim was lost"
        elif not idempotent:
            assert happening is Happening.DIED
        else:
            assert happening is (Happening.RESUMED if attempts < MAX_ATTEMPTS else Happening.DIED_TOO_OFTEN)
        if happening is not None:
            step(state, happening)
