"""Appending: one chain whoever writes, and no content that could make an action unrecordable."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.audit import AuditEntry, AuditHead, append, clocks_differ, lost_head
from fastapi_handoff.audit.canonical import SAFE_INTEGER
from fastapi_handoff.audit.plain import TEXT_LIMIT, VALUE_LIMIT, plain
from fastapi_handoff.audit.record import GENESIS, build, decode, encode
from fastapi_handoff.store import Store, StoreUnavailable, audit_records, proof_ids
from helpers.chain import add, entry, verified
from helpers.fuzzing import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

APPEND = """
import asyncio, sys, time
from fastapi_handoff.audit import AuditEntry, append
from fastapi_handoff.store import Store

async def main():
    store = Store(sys.argv[1])
    await store.open()
    sys.stdin.readline()

    async def add():
        for _ in range(10):
            entry = AuditEntry(action="a", decision="accepted")
            await store.write(lambda connection: append(connection, entry, clock=time.time))

    await asyncio.gather(*(add() for _ in range(4)))
    await store.close()

asyncio.run(main())
"""

text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(text, children, max_size=4),
    max_leaves=12,
)


async def records(store: Store) -> list[Any]:
    query = select(audit_records).order_by(audit_records.c.seq)
    return await store.read(lambda connection: list(connection.execute(query).all()))


async def test_record_says_what_was_given_and_names_the_one_before(store: Store) -> None:
    first, second = await add(store, entry(1), entry(2, decision="refused", code="scope-missing"))
    rows = await records(store)
    assert [(row.seq, row.hash) for row in rows] == [(first.seq, first.hash), (second.seq, second.hash)]
    for row in rows:
        assert hashlib.sha256(row.record.encode()).hexdigest() == row.hash
    one, two = (json.loads(row.record) for row in rows)
    assert (one["seq"], one["prev_hash"], one["version"]) == (1, GENESIS, 1)
    assert (two["seq"], two["prev_hash"]) == (2, first.hash)
    assert two["code"] == "scope-missing"
    assert two["actor"]["branch"] == "main"
    assert two["asserted"] == {"service": "api", "environment": "production", "commit": "e" * 40}


async def test_columns_copy_what_the_record_says(store: Store) -> None:
    await add(store, entry(1), entry(2, actor=None))
    known, unknown = await records(store)
    record = json.loads(known.record)
    actor = record["actor"]
    assert (known.issuer, known.source, known.actor) == (actor["issuer"], actor["source"], actor["sub"])
    assert (known.action, known.decision, known.event_id) == ("event.accept", "accepted", record["event_id"])
    assert (unknown.issuer, unknown.source, unknown.actor) == (None, None, None)


async def test_time_is_hashed_as_it_is_stored(store: Store) -> None:
    await add(store, entry(), clock=lambda: 1_795_489_275.123456)
    (row,) = await records(store)
    assert row.time == 1_795_489_275_123_456
    assert json.loads(row.record)["time"] == "2026-11-24T03:01:15.123456Z"


async def test_clock_that_goes_back_does_not_take_the_chain_with_it(store: Store) -> None:
    clock = iter([1000.5, 10.0, 1000.5, 1001.0])
    await add(store, *(entry(number) for number in range(4)), clock=lambda: next(clock))
    assert [row.time for row in await records(store)] == [1_000_500_000, 1_000_500_000, 1_000_500_000, 1_001_000_000]


async def test_clock_is_read_once_the_writer_before_is_done(store: Store) -> None:
    ticks = iter(range(1, 100))
    order: list[int] = []

    def clock() -> float:
        order.append(next(ticks))
        return order[-1]

    await asyncio.gather(*(add(store, entry(number), clock=clock) for number in range(8)))
    # Were it read before the lock, a later record could hold an earlier time than its predecessor's own reading.
    assert [row.time // 1_000_000 for row in await records(store)] == order


async def test_record_of_a_transaction_that_fails_is_not_in_the_chain(store: Store) -> None:
    def append_and_fail(connection: Connection) -> None:
        append(connection, entry(1), clock=time.time)
        connection.execute(insert(proof_ids), {"jkt": "k", "jti": "j", "expires_at": 0})
        raise RuntimeError("after the append")

    with pytest.raises(RuntimeError, match="after the append"):
        await store.write(append_and_fail)
    (head,) = await add(store, entry(2))
    assert head.seq == 1
    assert (verified(store)).intact


async def test_two_records_in_one_transaction_are_two_links(store: Store) -> None:
    def append_both(connection: Connection) -> list[AuditHead]:
        return [append(connection, entry(number), clock=time.time) for number in (1, 2)]

    first, second = await store.write(append_both)
    assert (first.seq, second.seq) == (1, 2)
    assert (verified(store)).head == second


async def test_many_tasks_on_two_stores_make_one_chain(store: Store, store_url: str) -> None:
    other = Store(store_url)
    await other.open()
    heads = await asyncio.gather(
        *(add(one, *(entry(number) for number in range(5))) for one in (store, other) for _ in range(8))
    )
    await other.close()
    assert sorted(head.seq for task in heads for head in task) == list(range(1, 81))
    found = verified(store)
    assert (found.records, found.findings) == (80, [])


async def test_many_tasks_in_two_processes_make_one_chain(store: Store, store_url: str) -> None:
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 - the two must start at once
            [sys.executable, "-c", APPEND, store_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ends = await asyncio.gather(*(asyncio.to_thread(process.communicate, "\n", 60) for process in processes))
    assert [process.returncode for process in processes] == [0, 0], ends
    found = verified(store)
    assert (found.records, found.findings) == (80, [])


async def test_database_itself_refuses_a_fork(store: Store, sql: Callable[..., Any]) -> None:
    await add(store, entry(1), entry(2))
    fork = build(entry(3), AuditHead(1, (await records(store))[0].hash), 10)
    stored, digest = encode(fork | {"seq": 3})
    row = {"seq": 3, "prev_hash": fork["prev_hash"], "hash": digest, "record": stored.decode(), "time": 10}
    row |= {"action": "a", "decision": "d"}
    with pytest.raises(IntegrityError):
        await store.write(lambda connection: connection.execute(insert(audit_records), row))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "seq = 9223372036854775807",
        "seq = -1",
        "hash = x'ff'",
        "hash = ''",
        "hash = upper(hash)",
        "hash = substr(hash, 2)",
        "time = 'noon'",
        "time = 9223372036854775807",
        "time = 1e300",
    ],
)
async def test_nothing_is_recorded_after_an_end_that_was_tampered_with(
    store: Store, sql: Callable[..., Any], change: str
) -> None:
    await add(store, entry(1))
    sql(f"UPDATE audit_records SET {change}")
    with pytest.raises(StoreUnavailable, match="run `fastapi-handoff audit verify`"):
        await add(store, entry(2))


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_nothing_is_recorded_after_an_end_whose_hash_was_emptied(store: Store, sql: Callable[..., Any]) -> None:
    await add(store, entry(1))
    sql("UPDATE audit_records SET hash = ''")
    with pytest.raises(StoreUnavailable, match="run `fastapi-handoff audit verify`"):
        await add(store, entry(2))


async def test_clock_far_ahead_does_not_freeze_the_time_of_every_later_record(
    store: Store, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    now, far = 1_795_489_275.0, 1_795_489_275.0 + 95 * 365 * 86_400
    await add(store, entry(1), clock=lambda: now)
    wrong = Store(store_url)
    await wrong.open()
    await add(wrong, entry(2), clock=lambda: far)
    assert "days ahead of the newest audit record" in caplog.text
    await wrong.close()
    assert clocks_differ(store.ledger) is None
    caplog.clear()
    await add(store, entry(3), clock=lambda: now + 1)
    assert [row.time // 1_000_000 for row in await records(store)] == [now, far, now + 1]
    assert caplog.text.count("one of the two clocks is wrong") == 1
    assert clocks_differ(store.ledger) == far - now - 1

    await add(store, entry(4), clock=lambda: now + 2)
    assert clocks_differ(store.ledger) is None, "the newest record is right again"
    found = verified(store)
    assert found.intact, "a wrong clock is no tampering"
    assert [(note.seq, "clock was wrong" in note.text or "is it right?" in note.text) for note in found.notes] == [
        (2, True),
        (3, True),
    ]


async def test_clock_beyond_all_dates_records_nothing(store: Store) -> None:
    for clock in (1e15, 1e300, float("inf"), float("nan")):
        with pytest.raises(StoreUnavailable, match="clock"):
            await add(store, entry(1), clock=lambda clock=clock: clock)
    assert await records(store) == []


TAKEN_AWAY = [
    "DELETE FROM audit_records WHERE seq = 3",
    "DELETE FROM audit_records WHERE seq > 1",
    "DELETE FROM audit_records",
    "UPDATE audit_records SET hash = '" + "a" * 64 + "' WHERE seq = 3",
]


@pytest.mark.parametrize("statement", TAKEN_AWAY)
async def test_chain_that_lost_what_this_process_wrote_says_so(
    store: Store, sql: Callable[..., Any], caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    heads = await add(store, *(entry(number) for number in range(3)))
    sql(statement)
    assert lost_head(store.ledger) is None
    await add(store, entry(4), entry(5))
    assert lost_head(store.ledger) == heads[-1]
    assert f"has lost record 3:{heads[-1].hash}" in caplog.text
    *_, said, fourth, fifth = [json.loads(row.record) for row in await records(store)]
    assert (said["action"], said["outcome"]) == ("audit.set_back", {"seq": 3, "hash": heads[-1].hash})
    assert [fourth["event_id"], fifth["event_id"]] == [f"evt_{4:032x}", f"evt_{5:032x}"]
    assert any(f"had written record 3 with hash `{heads[-1].hash}`" in one.text for one in verified(store).findings)


async def test_chain_that_another_process_went_on_with_has_lost_nothing(store: Store, store_url: str) -> None:
    other = Store(store_url)
    await other.open()
    for number in range(3):
        await add(store, entry(number))
        await add(other, entry(number), entry(number))
    await other.close()
    assert lost_head(store.ledger) is lost_head(other.ledger) is None
    assert (verified(store).records, verified(store).findings) == (9, [])


async def test_tail_that_was_cut_off_while_another_went_on_is_missed_by_who_wrote_it(
    store: Store, store_url: str, sql: Callable[..., Any]
) -> None:
    other = Store(store_url)
    await other.open()
    await add(other, entry(1))
    (head,) = await add(store, entry(2))
    sql("DELETE FROM audit_records WHERE seq = 2", "DELETE FROM audit_records WHERE seq = 1")
    await add(other, entry(3), entry(4), entry(5))
    await other.close()
    await add(store, entry(6))
    assert lost_head(store.ledger) == head


async def test_record_of_work_that_was_undone_is_not_missed(store: Store) -> None:
    def append_and_fail(connection: Connection) -> None:
        append(connection, entry(1), clock=time.time)
        raise RuntimeError

    for _ in range(3):
        works = [store.write(append_and_fail), add(store, entry(2)), store.write(append_and_fail)]
        await asyncio.gather(*works, return_exceptions=True)
    assert lost_head(store.ledger) is None
    assert (verified(store).records, verified(store).findings) == (3, [])


HOSTILE: list[Any] = [
    float("nan"),
    float("inf"),
    -0.0,
    1e400,
    5e-324,
    2**53,
    -(2**64),
    10**5000,
    "\ud800",
    "\x00\x1b[2J\u202e",
    {chr(code): code for code in (0xD800, 0xDFFF, 0xFFFD)},
    {"\ue000": 1, "\U00010000": 2},
    {1: "a", None: "b", (1, 2): "c"},
    b"bytes",
    object(),
    {"x": "y" * 1_000_000},
    ["z"] * 100_000,
    {str(number): number for number in range(50_000)},
]


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"deeper": [value]}
    return value


async def test_nothing_that_is_asserted_can_prevent_its_record(store: Store) -> None:
    values = [*HOSTILE, nested(400)]
    heads = await add(store, *(entry(number, asserted={"value": value}) for number, value in enumerate(values)))
    assert len(heads) == len(values)
    assert (verified(store)).intact
    assert max(len(row.record) for row in await records(store)) < 4 * VALUE_LIMIT


async def test_nothing_in_any_other_field_can_prevent_a_record(store: Store) -> None:
    names = ["action", "decision", "code", "resource", "grant", "policy", "event_id", "event_digest", "trace_id"]
    incompressible = "".join(chr(0x10000 + number * 37 % 0xFFFF) for number in range(5000))
    for hostile in ("\x00", "\ud800", "\n", "x" * 1_000_000, "", incompressible):
        fields: dict[str, Any] = dict.fromkeys(names, hostile)
        actor = dict.fromkeys(("issuer", "source", "sub"), hostile)
        whole = AuditEntry(**fields, actor=actor, outcome={hostile: hostile})
        await add(store, whole)
    assert (verified(store)).intact


async def test_what_was_cut_says_how_much_there_was() -> None:
    assert plain("x" * 2000) == "x" * TEXT_LIMIT + "… [2000 characters]"
    assert plain(list(range(100_000)))[-1] == "[97952 more]"
    cut = plain({str(number): None for number in range(100_000)})
    assert cut["…"].endswith("more members]")
    assert json.dumps(plain(nested(20))).count("[nested too deeply]") == 1


def test_keys_that_become_equal_do_not_hide_each_other() -> None:
    codes = (0xD800, 0xD801, 0xFFFD)
    assert sorted(plain({chr(code): code for code in codes}).values()) == list(codes)


@pytest.mark.fuzz
@settings(max_examples=examples(300), deadline=None)
@given(json_values)
@example({"\ue000": 1, "\U00010000": 2})
@example({"a": 2**53, "b": -0.0, "\x7f": "\u2028"})
def test_stored_bytes_are_rfc_8785_whatever_is_asserted(value: Any) -> None:
    record = build(AuditEntry(action="a", decision="d", asserted={"value": value}), None, 0)
    stored, _ = encode(record)
    assert stored == rfc8785.dumps(record)
    assert decode(stored) == record


@pytest.mark.fuzz
@settings(max_examples=examples(200), deadline=None)
@given(json_values)
def test_same_value_becomes_the_same_json_each_time(value: Any) -> None:
    once = plain(value)
    assert plain(once) == once or len(json.dumps(once)) > TEXT_LIMIT
    assert plain(value) == once


@pytest.mark.fuzz
@settings(max_examples=examples(200), deadline=None)
@given(st.integers() | st.floats(allow_nan=False))
def test_only_numbers_that_every_reader_keeps_exact_stay_numbers(number: float) -> None:
    kept = isinstance(number, int) and abs(number) <= SAFE_INTEGER
    assert plain(number) == (number if kept else repr(number))


@pytest.mark.fuzz
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_reading_bytes_that_are_no_record_is_a_value_error(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it|^its"):
        decode(stored)


WRONG_TYPES = [
    {"action": 7},
    {"action": None},
    {"decision": ["refused"]},
    {"code": 404},
    {"resource": {"method": "POST"}},
    {"trace_id": True},
    {"event_id": []},
    {"actor": "somebody"},
    {"asserted": ["production"]},
    {"outcome": "done"},
    {"seq": "1"},
    {"seq": True},
    {"version": True},
    {"prev_hash": None},
    {"time": 1_795_489_275},
    {"time": "yesterday"},
    {"time": "2026-11-24T03:01:15Z"},
    {"time": "2026-11-24T03:01:15.123456+0"},
    {"time": "2026-99-24T03:01:15.123456Z"},
]


@pytest.mark.parametrize("members", WRONG_TYPES)
def test_record_whose_members_are_of_other_types_is_not_read(members: dict[str, Any]) -> None:
    stored, _ = encode(build(entry(1), None, 0) | members)
    with pytest.raises(ValueError, match=r"^its"):
        decode(stored)


@pytest.mark.parametrize(
    "character", ["\x7f", "\x80", "\x9b", "\u061c", "\u200e", "\u2028", "\u202e", "\u2066", "\ufeff"]
)
def test_characters_that_a_terminal_or_an_editor_acts_on_are_recorded_as_escapes(character: str) -> None:
    """The exported line is exactly what was hashed, so what must not be in the one must not be in the other."""
    given = entry(1, asserted={f"a{character}": [f"b{character}"]}, grant=f"c{character}", resource=f"GET /{character}")
    stored, _ = encode(build(given, None, 0))
    escape = f"\\u{ord(character):04x}"
    assert character not in stored.decode()
    assert decode(stored)["asserted"] == {f"a{escape}": [f"b{escape}"]}
    assert decode(stored)["grant"] == f"c{escape}"


def test_record_that_holds_such_a_character_is_not_read() -> None:
    record = build(entry(1), None, 0) | {"grant": "\x9b31m"}
    with pytest.raises(ValueError, match="an append writes as an escape"):
        decode(encode(record)[0])


def test_text_of_people_is_recorded_as_it_is() -> None:
    people = "Zoë 日本 e\u0301 👩\u200d🚀 — “quoted”"
    assert decode(encode(build(entry(1, grant=people), None, 0))[0])["grant"] == people


def test_reading_a_record_nested_without_end_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no JSON that this package writes"):
        decode(b"[" * 200_000)
