"""`audit verify`, against people who can write SQL: each way to change the past, and the record that gives it away."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from fastapi_handoff.audit import AuditHead
from fastapi_handoff.audit.record import build, encode, searchable
from fastapi_handoff.audit.verify import KEPT_FINDINGS, Verification
from fastapi_handoff.store import Store, StoreUnavailable, audit_records, receipts
from helpers.chain import OTHER_REPOSITORY, REPOSITORY, add, add_with_receipt, content_digest, deliver, entry, verified
from helpers.fixtures_store import connect
from helpers.verify_process import verify as verify_in_a_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    Sql = Callable[..., list[tuple[Any, ...]]]

EVERYTHING = "seq, prev_hash, hash, record, time, issuer, source, actor, action, decision, code, event_id"


@pytest.fixture
async def heads(store: Store) -> list[AuditHead]:
    """A chain of six: refusals at 1 and 2, then four events, each with its receipt."""
    refused = [entry(number, decision="refused", code="scope-missing") for number in (101, 102)]
    return [*await add(store, *refused), *await deliver(store, 3, 4, 5, 6)]


def findings_of(found: Verification) -> dict[int, str]:
    """Give what is said about each record."""
    said: dict[int, str] = {}
    for finding in found.findings:
        said[finding.seq] = "; ".join(filter(None, (said.get(finding.seq), finding.text)))
    return said


async def test_chain_that_nobody_touched_is_intact(store: Store, heads: list[AuditHead]) -> None:
    found = verified(store, anchors=heads)
    assert (found.intact, found.records, found.receipts, found.head) == (True, 6, 4, heads[-1])


async def test_empty_store_is_intact(store: Store) -> None:
    found = verified(store)
    assert (found.intact, found.records, found.head) == (True, 0, None)


EDITS = [
    ("record = replace(record, 'production', 'staging')", 3, "it was edited"),
    ('record = replace(record, \'"decision":"succeeded"\', \'"decision":"failed"\')', 3, "it was edited"),
    ("record = record || ' '", 3, "not in RFC 8785 form"),
    ("record = ''", 3, "no JSON that this package writes"),
    ("record = '[]'", 3, "members are not those of a record"),
    ("record = '{}'", 3, "members are not those of a record"),
    ("record = replace(record, '\"version\":1', '\"version\":2')", 3, "its version is `2`"),
    ('record = replace(record, \'"version":1\', \'"version":1,"version":1\')', 3, "not in RFC 8785 form"),
    ("record = replace(record, '\"version\":1', '\"version\":1.0')", 3, "no JSON that this package writes"),
    ("record = replace(record, '\"code\":null', '\"code\":NaN')", 3, "no JSON that this package writes"),
    ("hash = upper(hash)", 3, "it was edited"),
    ("hash = 'none'", 3, "it was edited"),
    ("prev_hash = 'none'", 3, "its prev_hash is `none`"),
    ("prev_hash = upper(prev_hash)", 3, "its prev_hash is"),
    ("time = time - 1000000000", 3, "its time is before that of record 2"),
    ("time = time + 1", 3, "its column `time`"),
    ("source = '{other}'", 3, "its column `source` is `{other}`, its hashed bytes say"),
    ("source = NULL", 3, "its column `source` is `None`"),
    ("issuer = 'https://other'", 3, "its column `issuer` is `https://other`, its hashed bytes say"),
    ("issuer = NULL", 3, "its column `issuer` is `None`"),
    ("actor = NULL", 3, "its column `actor`"),
    ("actor = actor || ' '", 3, "its column `actor`"),
    ("action = 'other'", 3, "its column `action`"),
    ("decision = 'refused'", 3, "its column `decision` is `refused`, its hashed bytes say `succeeded`"),
    ("code = 'other'", 3, "its column `code`"),
    ("event_id = NULL", 3, "its column `event_id`"),
    ("seq = 0", 0, "its number comes before the first"),
    ("seq = -9223372036854775808", -(2**63), "its number comes before the first"),
    ("seq = 9223372036854775807", 2**63 - 1, "records 7 to 9223372036854775806 are missing before it"),
]


@pytest.mark.parametrize(("change", "seq", "said"), EDITS)
async def test_edited_record_is_named(
    store: Store, heads: list[AuditHead], sql: Sql, change: str, seq: int, said: str
) -> None:
    sql(f"UPDATE audit_records SET {change} WHERE seq = 3")
    found = findings_of(verified(store))
    assert said in found[seq]
    if seq == 3:
        assert list(found) == [3], "its successor is not to blame"


@pytest.mark.parametrize("seq", [1, 2, 5])
async def test_record_edited_with_its_hash_no_longer_fits_its_successor(
    store: Store, heads: list[AuditHead], store_url: str, seq: int
) -> None:
    rewrite(store_url, seq, lambda record: record | {"grant": "another"})
    found = findings_of(verified(store))
    assert f"but record {seq} hashes to" in found[seq + 1]
    assert "one of the two was replaced" in found[seq + 1]


async def test_last_record_edited_with_its_hash_no_longer_fits_its_receipt(
    store: Store, heads: list[AuditHead], store_url: str
) -> None:
    rewrite(store_url, 6, lambda record: record | {"grant": "another"})
    assert "the receipt or the record was rewritten" in findings_of(verified(store))[6]


@pytest.mark.parametrize(("seq", "said"), [(1, "record 1 is missing"), (3, "record 3 is missing")])
async def test_removed_record_leaves_a_hole(
    store: Store, heads: list[AuditHead], sql: Sql, seq: int, said: str
) -> None:
    sql(f"DELETE FROM audit_records WHERE seq = {seq}")
    assert said in findings_of(verified(store))[seq + 1]


async def test_hole_of_several_records_is_told_in_one_line(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql("DELETE FROM audit_records WHERE seq IN (3, 4)")
    assert "records 3 to 4 are missing before it" in findings_of(verified(store))[5]


async def test_removed_record_whose_hole_was_closed_is_noticed(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(
        "DELETE FROM audit_records WHERE seq = 2",
        *(f"UPDATE audit_records SET seq = {n - 1} WHERE seq = {n}" for n in (3, 4, 5, 6)),
    )
    found = findings_of(verified(store))
    assert "its column `seq` is `2`, its hashed bytes say `3`" in found[2]
    assert "but record 1 hashes to" in found[2]


async def test_removed_record_whose_hole_was_closed_with_its_link_is_noticed(
    store: Store, heads: list[AuditHead], store_url: str, sql: Sql
) -> None:
    sql("DELETE FROM audit_records WHERE seq = 2", "UPDATE audit_records SET seq = 2 WHERE seq = 3")
    rewrite(store_url, 2, lambda record: record | {"seq": 2, "prev_hash": heads[0].hash})
    assert "record 3 is missing before it" in findings_of(verified(store))[4]


async def test_inserted_record_is_noticed(store: Store, heads: list[AuditHead], store_url: str, sql: Sql) -> None:
    sql(*(f"UPDATE audit_records SET seq = {n + 1} WHERE seq = {n}" for n in (6, 5, 4, 3)))
    forged = build(entry(7), AuditHead(2, heads[1].hash), 0)
    with pytest.raises(Exception, match=r"(?i)unique"):
        put(store_url, forged)  # the one in its place names the same predecessor
    put(store_url, forged | {"prev_hash": "f" * 64})
    found = findings_of(verified(store))
    assert "its prev_hash is" in found[3]
    assert "its column `seq` is `4`, its hashed bytes say `3`" in found[4]


async def test_appended_forgery_is_noticed(store: Store, heads: list[AuditHead], store_url: str) -> None:
    put(store_url, build(entry(7), AuditHead(6, "f" * 64), 2**50))
    assert list(findings_of(verified(store))) == [7]


async def test_reordered_records_are_noticed(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(*(f"UPDATE audit_records SET seq = {new} WHERE seq = {old}" for old, new in ((4, 99), (5, 4), (99, 5))))
    found = findings_of(verified(store))
    assert "its column `seq` is `4`, its hashed bytes say `5`" in found[4]
    assert "its column `seq` is `5`, its hashed bytes say `4`" in found[5]


async def test_records_that_exchanged_their_contents_are_noticed(
    store: Store, heads: list[AuditHead], sql: Sql
) -> None:
    sql(
        "CREATE TABLE kept AS SELECT * FROM audit_records WHERE seq IN (4, 5)",
        "DELETE FROM audit_records WHERE seq IN (4, 5)",
        f"INSERT INTO audit_records ({EVERYTHING}) SELECT 9 - {EVERYTHING} FROM kept",
    )
    assert {4, 5} <= set(findings_of(verified(store)))


async def test_cut_tail_is_noticed_by_an_anchor_alone(store: Store, sql: Sql) -> None:
    heads = await add(store, *(entry(number) for number in range(6)))
    sql("DELETE FROM audit_records WHERE seq > 4")
    assert verified(store).intact, "nothing inside the database can tell"
    assert (verified(store, anchors=heads[:4])).intact
    found = findings_of(verified(store, anchors=[heads[5]]))
    assert found == {6: "an anchor names it, but the chain ends at record 4: its tail was cut off"}


async def test_emptied_chain_is_noticed_by_an_anchor(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql("DELETE FROM audit_records", "DELETE FROM receipts")
    assert verified(store).intact
    assert "ends at record 0" in findings_of(verified(store, anchors=[heads[0]]))[1]


async def test_cut_tail_is_noticed_by_receipts_that_are_still_there(
    store: Store, heads: list[AuditHead], sql: Sql
) -> None:
    sql("DELETE FROM audit_records WHERE seq > 4")
    found = findings_of(verified(store))
    assert list(found) == [5, 6]
    assert "names record 5, which does not exist" in found[5]


async def test_history_written_anew_is_noticed_by_an_anchor(store: Store, store_url: str, sql: Sql) -> None:
    heads = await add(store, *(entry(number) for number in range(6)))
    rewrite(store_url, 3, lambda record: record | {"grant": "another"})
    for seq in (4, 5, 6):
        (before,) = sql(f"SELECT hash FROM audit_records WHERE seq = {seq - 1}")
        rewrite(store_url, seq, lambda record, before=before[0]: record | {"prev_hash": before})
    assert verified(store).intact, "a chain that was written anew is a chain"
    for number in (2, 3, 5):
        found = findings_of(verified(store, anchors=[heads[0], heads[number]]))
        assert list(found) == [heads[number].seq]
        assert "history was rewritten, here or before" in found[heads[number].seq]


async def test_two_anchors_that_contradict_each_other_cannot_both_hold(store: Store, heads: list[AuditHead]) -> None:
    assert not (verified(store, anchors=[heads[2], AuditHead(3, "f" * 64)])).intact
    assert not (verified(store, anchors=[AuditHead(3, "f" * 64), heads[2]])).intact


async def test_anchor_of_a_record_that_was_removed_says_so(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql("DELETE FROM audit_records WHERE seq = 2")
    assert findings_of(verified(store, anchors=[heads[1]]))[2] == "an anchor names it, but the chain does not have it"


REWRITTEN = [
    ("state = 'failed'", "it was rewritten"),
    ("state = 'running'", "it was rewritten"),
    ("detail = 'by hand'", "it was rewritten"),
    ("result = '{}'", "it was rewritten"),
    ("result = NULL", "it was rewritten"),
    ('identity = \'{"branch": "main"}\'', "it was rewritten"),
    ('asserted = \'{"commit": "other"}\'', "it was rewritten"),
    ("subject = 'another step'", "it was rewritten"),
    ("scope = 'everything'", "it was rewritten"),
    ("event_type = 'other'", "it was rewritten"),
    ("trace_id = NULL", "it was rewritten"),
    ("content_digest = 'sha-256=:AAAA:'", "the event was received with `sha-256=:AAAA:`"),
    ("audit_hash = upper(audit_hash)", "the receipt or the record was rewritten"),
    ("audit_seq = 3", "names hash"),
    ("audit_seq = 99", "names record 99, which does not exist"),
    (f"event_id = 'evt_{9:032x}'", f"names this record, which is about event `evt_{4:032x}`"),
    (f"source = '{OTHER_REPOSITORY}'", "it was rewritten"),
    ("issuer = 'https://other'", "it was rewritten"),
    ("received_at = received_at + 1", "it was rewritten"),
    ("received_at = 0", "it was rewritten"),
    ("completed_at = NULL", "is `succeeded` and ended at `None`"),
    ("completed_at = 0", "ended at `0` (unix microseconds), its outcome was recorded at"),
    ("completed_at = completed_at - 7200000000", "its outcome was recorded at"),
    ("attempts = attempts + 1", "has 2 attempts, its outcome was recorded for attempt 1"),
    ("attempts = -1", "has `-1` attempts"),
    ("lease_owner = 'me'", "is `succeeded` and has the lease `'me'` until `None`"),
    ("lease_until = 9999999999999999", "is `succeeded` and has the lease `None` until `9999999999999999`"),
]


@pytest.mark.parametrize(("change", "said"), REWRITTEN)
async def test_rewritten_receipt_is_noticed(
    store: Store, heads: list[AuditHead], sql: Sql, change: str, said: str
) -> None:
    sql(f"UPDATE receipts SET {change} WHERE event_id = 'evt_{4:032x}'")
    found = verified(store)
    assert any(said in finding.text for finding in found.findings), found.findings


RUNNING = [
    ("lease_until = NULL", "is `running` and has the lease `'me'` until `None`"),
    ("lease_owner = NULL", "is `running` and has the lease `None` until `5`"),
    ("completed_at = 5", "is `running` and ended at `5`"),
    ("attempts = -1", "has `-1` attempts"),
    ("received_at = received_at - 1", "it was rewritten"),
]


@pytest.mark.parametrize(("change", "said"), RUNNING)
async def test_rewritten_receipt_of_a_handler_that_runs_is_noticed(
    store: Store, sql: Sql, change: str, said: str
) -> None:
    await deliver(store, 1, state="running", lease_owner="me", lease_until=5)
    await deliver(store, 2, state="pending")
    assert verified(store).findings == []
    sql(f"UPDATE receipts SET {change} WHERE event_id = 'evt_{1:032x}'")
    assert said in findings_of(verified(store))[1]


async def test_second_outcome_of_an_event_is_noticed(store: Store, sql: Sql) -> None:
    """A receipt that was set back by hand lets its handler run again, and agrees with the chain when that has ended."""
    await deliver(store, 1, 2, state="running")
    await end(store, 1)
    await end(store, 2)
    assert verified(store).findings == []
    await end(store, 1)
    await end(store, 1, source=OTHER_REPOSITORY)
    found = verified(store)
    assert list(findings_of(found)) == [5]
    assert "a second outcome of its event, whose first is record 3, and no resume is between" in findings_of(found)[5]


async def test_second_outcome_behind_a_resume_is_none_of_a_forger(store: Store) -> None:
    await deliver(store, 1, state="running")
    await end(store, 1)
    await add(store, entry(1, action="event.resume", outcome={"attempt": 2}))
    await end(store, 1)
    assert verified(store).findings == []
    await add(store, entry(1, action="event.resume", decision="refused"))
    await end(store, 1)
    assert "second outcome" in findings_of(verified(store))[6]


async def end(store: Store, number: int, **changes: Any) -> None:
    """Record an outcome and store it, as a handler that has ended does."""

    def job(connection: Connection) -> None:
        connection.execute(receipts.delete().where(receipts.c.event_id == f"evt_{number:032x}", *elsewhere))
        add_with_receipt(connection, number, action="event.outcome", **changes)

    elsewhere = [receipts.c.source == value for name, value in changes.items() if name == "source"] or [
        receipts.c.source == REPOSITORY
    ]
    await store.write(job)


async def test_event_body_that_was_exchanged_is_noticed(store: Store, heads: list[AuditHead], store_url: str) -> None:
    replace_body(store_url, b'{"id": 5, "forged": true}')
    assert "holds a body with digest" in findings_of(verified(store))[4]


async def test_event_body_that_was_emptied_to_save_room_is_no_forgery(
    store: Store, heads: list[AuditHead], store_url: str
) -> None:
    replace_body(store_url, b"")
    assert verified(store).intact


async def test_event_body_that_was_emptied_before_its_handler_ended_is_noticed(store: Store, store_url: str) -> None:
    await deliver(store, 1, 2, 3)
    await deliver(store, 4, state="running")
    replace_body(store_url, b"")
    assert "holds a body with digest" in findings_of(verified(store))[4]


async def test_deleted_receipt_is_noticed(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(f"DELETE FROM receipts WHERE event_id = 'evt_{4:032x}'")
    assert findings_of(verified(store)) == {4: "the receipt that it is about was deleted"}


async def test_receipt_set_back_to_an_earlier_state_is_noticed(store: Store, sql: Sql) -> None:
    (accepted,) = await deliver(store, 1, state="running")
    sql("CREATE TABLE kept AS SELECT * FROM receipts", "DELETE FROM receipts")
    await deliver(store, 1, state="succeeded")
    assert verified(store).intact
    sql("DELETE FROM receipts", "INSERT INTO receipts SELECT * FROM kept")
    assert findings_of(verified(store)) == {
        2: f"the receipt that it is about names record {accepted.seq}: it was set back to an earlier state"
    }


async def test_receipts_are_kept_apart_by_repository(store: Store) -> None:
    await deliver(store, 1)
    await deliver(store, 1, source=OTHER_REPOSITORY)
    found = verified(store)
    assert (found.intact, found.receipts) == (True, 2)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "record = CAST(x'7b22ff7d' AS TEXT)",
        "record = x'ff'",
        "hash = CAST(x'ff' AS TEXT)",
        "prev_hash = x'00'",
        "actor = CAST(x'c328' AS TEXT)",
        "decision = x'ff'",
        "event_id = 7",
        "time = 'noon'",
        "time = 1e300",
        "time = 9223372036854775807",
        "time = x'ff'",
        "time = CAST(x'ff' AS TEXT)",
    ],
)
async def test_value_of_a_type_that_does_not_belong_is_named_and_breaks_nothing(
    store: Store, heads: list[AuditHead], sql: Sql, change: str
) -> None:
    sql(f"UPDATE audit_records SET {change} WHERE seq = 6")
    assert 6 in findings_of(verified(store))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", ["state", "detail", "body", "audit_hash", "audit_seq", "content_digest", "event_id"])
@pytest.mark.parametrize("value", ["x'ff'", "CAST(x'ff' AS TEXT)", "7.5", "'x'"])
async def test_receipt_with_a_value_of_another_type_is_named_and_breaks_nothing(
    store: Store, heads: list[AuditHead], sql: Sql, column: str, value: str
) -> None:
    sql(f"UPDATE receipts SET {column} = {value} WHERE event_id = 'evt_{6:032x}'")
    assert not verified(store).intact


async def test_first_problems_are_kept_and_all_are_counted(store: Store, sql: Sql) -> None:
    await add(store, *(entry(number) for number in range(KEPT_FINDINGS + 20)))
    sql("UPDATE audit_records SET action = 'other'")
    found = verified(store)
    assert (len(found.findings), found.finding_count) == (KEPT_FINDINGS, KEPT_FINDINGS + 20)


async def test_verify_reads_one_moment_while_the_chain_grows(store: Store) -> None:
    await deliver(store, *range(700))
    seen: list[tuple[str, int]] = []
    grown: list[AuditHead] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append((what, done))
        assert total == 700

    before = verified(store, progress=progress)
    with store.snapshot() as connection:
        connection.scalar(audit_records.select().limit(1))
        grown += await deliver(store, 1000)
    after = verified(store)
    assert seen == [("records", 500), ("records", 700), ("receipts", 500), ("receipts", 700)]
    assert (before.records, after.records, after.head) == (700, 701, grown[0])
    assert before.intact
    assert after.intact


async def test_fifty_thousand_records_verify_in_the_memory_of_a_thousand(store: Store, store_url: str) -> None:
    await fill(store, range(1, 1_001))
    _, small = verify_in_a_process(store_url)
    await fill(store, range(1_001, 50_001))
    # The records alone are fifty megabytes.
    _, large = verify_in_a_process(store_url)
    assert large - small < 12_000_000


async def fill(store: Store, numbers: range) -> None:
    """Go on with a valid chain, five thousand records a statement."""
    newest = select(audit_records.c.hash).order_by(audit_records.c.seq.desc())
    row = await store.read(lambda connection: connection.execute(newest).first())
    head = AuditHead(numbers.start - 1, row.hash) if row else None
    rows: list[dict[str, Any]] = []
    for number in numbers:
        record = build(entry(number), head, number)
        stored, digest = encode(record)
        head = AuditHead(number, digest)
        one = {"seq": number, "prev_hash": record["prev_hash"], "hash": digest, "record": stored.decode()}
        rows.append({**one, "time": number, **searchable(record)})
        if len(rows) == 5000 or number == numbers[-1]:
            await store.write(lambda connection, rows=rows: connection.execute(insert(audit_records), rows))
            rows = []


def rewrite(url: str, seq: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a record the way someone does who knows how it is hashed."""
    with connect(url) as connection:
        (stored,) = connection.execute(f"SELECT record FROM audit_records WHERE seq = {seq}").fetchone()
        changed, digest = encode(change(json.loads(stored)))
        prev_hash = json.loads(changed)["prev_hash"]
        connection.execute(
            f"UPDATE audit_records SET record = '{changed.decode()}', hash = '{digest}', prev_hash = '{prev_hash}'"
            f" WHERE seq = {seq}"
        )
        connection.commit()


def put(url: str, record: dict[str, Any]) -> None:
    """Insert a forged record."""
    stored, digest = encode(record)
    assert digest == hashlib.sha256(stored).hexdigest()
    row = {"seq": record["seq"], "prev_hash": record["prev_hash"], "hash": digest, "record": stored.decode()}
    row |= {"time": 2**50} | {name: value for name, value in searchable(record).items() if value is not None}
    names, values = ", ".join(row), ", ".join(f"'{value}'" for value in row.values())
    with connect(url) as connection:
        connection.execute(f"INSERT INTO audit_records ({names}) VALUES ({values})")
        connection.commit()


def replace_body(url: str, body: bytes) -> None:
    """Exchange the body of event 4."""
    assert content_digest(body)
    placeholder = "?" if url.startswith("sqlite") else "%s"
    with connect(url) as connection:
        connection.execute(f"UPDATE receipts SET body = {placeholder} WHERE event_id = 'evt_{4:032x}'", (body,))
        connection.commit()


async def test_receipt_that_is_pointed_at_another_record_of_its_event_is_noticed(
    store: Store, heads: list[AuditHead], sql: Sql
) -> None:
    """A poll's record is about the event too, and says nothing about what the receipt said then."""
    (poll,) = await add(store, entry(4, action="receipt.read"))
    sql(
        "UPDATE receipts SET state = 'failed', detail = 'forged', "
        f"audit_seq = {poll.seq}, audit_hash = '{poll.hash}' WHERE event_id = 'evt_{4:032x}'"
    )
    found = verified(store, anchors=[*heads, poll])
    assert "does not say what it said" in findings_of(found)[poll.seq]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    ["decision = CAST(decision AS BLOB)", "event_id = CAST(event_id AS BLOB)", "time = time + 0.25"],
)
async def test_value_that_no_filter_would_find_is_noticed(
    store: Store, heads: list[AuditHead], sql: Sql, change: str
) -> None:
    sql(f"UPDATE audit_records SET {change} WHERE seq = 2")
    assert "its column" in findings_of(verified(store, anchors=heads))[2]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("number", "counted"), [("'x'", 6), ("NULL", 6), ("3", 7)])
async def test_row_without_a_number_of_its_own_is_noticed(
    store: Store, heads: list[AuditHead], sql: Sql, number: str, counted: int
) -> None:
    sql("CREATE TABLE loose AS SELECT * FROM audit_records")
    sql("DROP TABLE audit_records")
    sql("ALTER TABLE loose RENAME TO audit_records")
    columns = EVERYTHING.replace("seq, ", "", 1)
    sql(f"INSERT INTO audit_records SELECT {number}, {columns} FROM audit_records WHERE seq = 3")
    found = verified(store, anchors=heads)
    assert found.finding_count > 0
    assert found.records == counted


async def test_place_in_the_chain_that_a_forger_took_refuses_appends(
    store: Store, heads: list[AuditHead], sql: Sql
) -> None:
    sql(f"UPDATE audit_records SET prev_hash = '{heads[-1].hash}' WHERE seq = 1")
    with pytest.raises(StoreUnavailable, match="tampered with"):
        await add(store, entry(9))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_number_of_another_type_is_not_built_upon(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(f"CREATE TABLE loose ({EVERYTHING})")  # without types, so that a number keeps its own
    sql(f"INSERT INTO loose SELECT {EVERYTHING} FROM audit_records")
    sql("DROP TABLE audit_records")
    sql("ALTER TABLE loose RENAME TO audit_records")
    sql("UPDATE audit_records SET seq = seq + 0.0")
    with pytest.raises(StoreUnavailable, match="tampered with"):
        await add(store, entry(9))


ROW_NUMBERS = ("rowid", "_rowid_", "oid")


@pytest.mark.parametrize("column", ROW_NUMBERS)
async def test_column_named_like_a_row_number_hides_no_receipt(store: Store, sql: Sql, column: str) -> None:
    await deliver(store, *range(120))
    sql(f"ALTER TABLE receipts ADD COLUMN {column} INTEGER")
    sql(f"ALTER TABLE audit_records ADD COLUMN {column} INTEGER")
    found = verified(store)
    assert (found.intact, found.records, found.receipts) == (True, 120, 120), "whatever else a table has is no matter"
    sql(f"UPDATE receipts SET detail = 'forged' WHERE event_id = 'evt_{110:032x}'")
    assert "it was rewritten" in findings_of(verified(store))[111]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_receipts_of_a_table_without_row_numbers_are_looked_at(store: Store, sql: Sql) -> None:
    await deliver(store, *range(120))
    columns = ", ".join(f"{name} BLOB" for name in receipts.c.keys())  # noqa: SIM118 - a collection of columns
    sql(
        f"CREATE TABLE anew ({columns}, PRIMARY KEY (issuer, source, event_id)) WITHOUT ROWID",
        "INSERT INTO anew SELECT * FROM receipts",
        "DROP TABLE receipts",
        "ALTER TABLE anew RENAME TO receipts",
    )
    assert (verified(store)).receipts == 120
    sql(f"UPDATE receipts SET detail = 'forged' WHERE event_id = 'evt_{110:032x}'")
    assert "it was rewritten" in findings_of(verified(store))[111]


async def test_receipts_that_share_a_key_are_noticed(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(
        "CREATE TABLE loose AS SELECT * FROM receipts",
        "DROP TABLE receipts",
        "ALTER TABLE loose RENAME TO receipts",
        *[f"INSERT INTO receipts SELECT * FROM receipts WHERE event_id = 'evt_{3:032x}'"] * 6,
    )
    found = verified(store, anchors=heads)
    assert (found.receipts, found.intact) == (67, False)
    assert "is there twice: a row was inserted" in findings_of(found)[3]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("key", ["CAST(x'ff' AS TEXT) || event_id", "CAST('x' || event_id AS BLOB)"])
async def test_receipts_behind_a_key_that_is_no_text_are_looked_at(store: Store, sql: Sql, key: str) -> None:
    await deliver(store, *range(120))
    sql(f"UPDATE receipts SET event_id = {key}")
    assert (verified(store)).receipts == 120


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", ["NULL", "'x'", "x'ff'"])
async def test_crowd_of_rows_without_a_number_is_named(
    store: Store, heads: list[AuditHead], sql: Sql, number: str
) -> None:
    columns = EVERYTHING.replace("seq, ", "", 1)
    sql(
        "CREATE TABLE loose AS SELECT * FROM audit_records",
        "DROP TABLE audit_records",
        "ALTER TABLE loose RENAME TO audit_records",
        *[f"INSERT INTO audit_records SELECT {number}, {columns} FROM audit_records WHERE seq = 3"] * 600,
    )
    found = verified(store, anchors=heads)
    assert found.finding_count > 0
    assert found.records == 6
    if number == "NULL":
        assert findings_of(found) == {6: "the table holds 606 records, 6 have a number of their own"}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_number_that_two_rows_have_is_named(store: Store, heads: list[AuditHead], sql: Sql) -> None:
    sql(
        "CREATE TABLE loose AS SELECT * FROM audit_records",
        "DROP TABLE audit_records",
        "ALTER TABLE loose RENAME TO audit_records",
        "INSERT INTO audit_records SELECT * FROM audit_records WHERE seq = 4",
    )
    assert "it is there twice" in findings_of(verified(store, anchors=heads))[4]
