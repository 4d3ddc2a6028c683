"""The command `fastapi-handoff`: data on stdout, messages on stderr, exit codes, and nothing raw to the terminal."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import insert

from fastapi_handoff.audit.record import build, encode
from fastapi_handoff.cli import main
from fastapi_handoff.cli.output import CELL_LIMIT, harmless, table
from fastapi_handoff.store import audit_records
from helpers.chain import OTHER_REPOSITORY, REPOSITORY, STEP, actor, add, deliver, entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi_handoff.store import Store
    from helpers.postgresql import PostgreSQL

COMMAND = Path(sys.executable).parent / "fastapi-handoff"


@pytest.fixture
def run(store_url: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command on the store; give exit code, stdout, stderr."""

    async def command(*arguments: str) -> tuple[int, str, str]:
        def in_a_thread_without_a_loop() -> int:
            try:
                return main(arguments if arguments[0] == "policy" else [*arguments, "--store", store_url])
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else -1

        capfd.readouterr()
        code = await asyncio.to_thread(in_a_thread_without_a_loop)
        return code, *capfd.readouterr()

    return command


async def test_intact_chain_is_0_and_tells_its_head(store: Store, run: Callable[..., Any]) -> None:
    await add(store, entry(1))
    (head,) = await deliver(store, 2)
    code, out, err = await run("audit", "verify", "--anchor", f"{head.seq}:{head.hash}")
    assert (code, err) == (0, "")
    assert out == f"intact: 2 records, 1 receipts, head 2:{head.hash}\n"


async def test_broken_chain_is_1_and_names_the_record(
    store: Store, run: Callable[..., Any], sql: Callable[..., Any]
) -> None:
    await add(store, *(entry(number) for number in range(5)))
    sql("UPDATE audit_records SET record = replace(record, 'production', 'staging') WHERE seq = 3")
    code, out, _ = await run("audit", "verify")
    assert code == 1
    assert out.startswith("record 3: its bytes hash to `")
    assert out.splitlines()[-1].startswith("broken: 1 findings in 5 records")


async def test_cut_tail_is_1_with_an_anchor(store: Store, run: Callable[..., Any], sql: Callable[..., Any]) -> None:
    heads = await add(store, *(entry(number) for number in range(3)))
    sql("DELETE FROM audit_records WHERE seq = 3")
    anchors = [argument for head in heads for argument in ("--anchor", f"{head.seq}:{head.hash}")]
    code, out, _ = await run("audit", "verify", *anchors)
    assert code == 1
    assert out.startswith("record 3: an anchor names it, but the chain ends at record 2: its tail was cut off")


async def test_what_a_forger_wrote_reaches_the_terminal_escaped(
    store: Store, run: Callable[..., Any], sql: Callable[..., Any]
) -> None:
    await add(store, entry(1))
    sql(
        "UPDATE audit_records SET action = 'x' || chr(27) || '[2J'"
        if not store.is_sqlite
        else "UPDATE audit_records SET action = 'x' || char(27) || '[2J'"
    )
    _, out, _ = await run("audit", "verify")
    assert "\x1b" not in out
    assert r"its column `action` is `x\x1b[2J`" in out


async def test_progress_is_shown_on_stderr(store: Store, run: Callable[..., Any]) -> None:
    await add(store, entry(1))
    await deliver(store, 2)
    code, out, err = await run("audit", "verify", "--progress")
    assert (code, err) == (0, "2 of 2 records\n1 of 1 receipts\n")
    assert "of 2 records" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "verify", "--anchor", "7"],
        ["audit", "verify", "--anchor", f"0:{'a' * 64}"],
        ["audit", "verify", "--anchor", f"-1:{'a' * 64}"],
        ["audit", "verify", "--anchor", f"1:{'a' * 63}"],
        ["audit", "verify", "--anchor", f"1:{'g' * 64}"],
        ["audit", "list", "--since", "yesterday"],
        ["audit", "list", "--limit", "0"],
        ["audit", "list", "--limit", "many"],
        ["audit", "export", "--format", "xml"],
        ["audit", "mend"],
        ["audit"],
    ],
)
async def test_command_line_that_is_wrong_is_2(run: Callable[..., Any], arguments: list[str]) -> None:
    code, out, err = await run(*arguments)
    assert (code, out) == (2, "")
    assert "fastapi-handoff" in err


def test_store_of_a_kind_that_cannot_be_is_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--store", "mysql://user:s3cret@host/db"]) == 2
    err = capfd.readouterr().err
    assert "expected `sqlite:///handoff.db`" in err
    assert "s3cret" not in err


def test_no_store_is_2(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HANDOFF_STORE", raising=False)
    assert main(["audit", "list"]) == 2
    assert "set `HANDOFF_STORE`" in capfd.readouterr().err


def test_store_that_does_not_exist_is_3_and_is_not_created(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mistyped.db"
    assert main(["audit", "verify", "--store", f"sqlite:///{file}"]) == 3
    assert "unable to open database file" in capfd.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_server_that_does_not_answer_is_3(store: Store, run: Callable[..., Any], postgresql: PostgreSQL) -> None:
    postgresql.stop()
    try:
        code, out, err = await run("audit", "verify")
    finally:
        postgresql.start()
    assert (code, out) == (3, "")
    assert "the store does not answer" in err


def test_store_comes_from_the_environment(tmp_path: Path) -> None:
    run = subprocess.run(
        [COMMAND, "audit", "list"],
        env={"HANDOFF_STORE": f"sqlite:///{tmp_path / 'none.db'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert "unable to open database file" in run.stderr


async def test_list_is_a_table_of_the_newest_records_oldest_first(store: Store, run: Callable[..., Any]) -> None:
    await add(store, *(entry(number) for number in range(4)), clock=lambda: 1_795_489_275.5)
    code, out, err = await run("audit", "list", "--limit", "2")
    header, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split() == [
        "SEQ",
        "TIME",
        "(UTC)",
        "ACTION",
        "DECISION",
        "CODE",
        "REPOSITORY",
        "BRANCH",
        "EVENT",
        "ASSERTED",
    ]
    assert [line.split()[0] for line in lines] == ["3", "4"]
    assert "2026-11-24 03:01:15" in lines[0]
    assert lines[0].endswith("api → production")
    assert len({line.index("event.accept") for line in lines} | {header.index("ACTION")}) == 1, "aligned"


LISTED = [
    ([], [1, 2, 3, 4]),
    (["--repository", OTHER_REPOSITORY], [2]),
    (["--repository", REPOSITORY[:-1]], []),
    (["--actor", STEP], [1, 2, 3]),
    (["--actor", STEP.upper()], [1, 2, 3]),
    (["--actor", OTHER_REPOSITORY], [2]),
    (["--actor", "%"], []),
    (["--decision", "refused"], [3]),
    (["--action", "token.exchange"], [4]),
    (["--event", f"evt_{1:032x}"], [1]),
    (["--since", "1970-01-01T00:00:02Z"], [2, 3, 4]),
    (["--until", "1970-01-01T00:00:02Z"], [1]),
    (["--since", "1970-01-01T01:00:02+01:00", "--until", "1970-01-01T00:00:03.000001"], [2, 3]),
    (["--since", "1970-01-02"], []),
    (["--decision", "accepted", "--action", "event.accept"], [1, 2]),
    (["--decision", "' OR 1=1 --"], []),
]


@pytest.mark.parametrize(("filters", "expected"), LISTED)
async def test_filters_choose_records(
    store: Store, run: Callable[..., Any], filters: list[str], expected: list[int]
) -> None:
    clock = iter([1.0, 2.0, 3.0, 4.0])
    await add(
        store,
        entry(1),
        entry(2, actor=actor(OTHER_REPOSITORY)),
        entry(3, decision="refused", code="scope-missing"),
        entry(4, action="token.exchange", actor=None),
        clock=lambda: next(clock),
    )
    _, out, _ = await run("audit", "list", *filters)
    assert [int(line.split()[0]) for line in out.splitlines()[1:]] == expected
    _, out, _ = await run("audit", "export", *filters)
    assert [json.loads(line)["seq"] for line in out.splitlines()] == expected


async def test_escape_sequences_in_asserted_text_do_not_reach_the_terminal(
    store: Store, run: Callable[..., Any]
) -> None:
    hostile = {"service": "\x1b[2J\x9b31m\r\n99  forged line", "environment": "\u202eprod\u2028\u200b\x00\x07\x7f"}
    await add(store, entry(1, asserted=hostile, event_id="a\nb\tc"))
    _, out, _ = await run("audit", "list")
    assert len(out.splitlines()) == 2
    assert all(character.isprintable() for line in out.split("\n") for character in line)
    assert r"\x1b[2J\u009b31m\r\n99  forged line" in out


async def test_damaged_record_is_listed_as_such(store: Store, run: Callable[..., Any], sql: Callable[..., Any]) -> None:
    await add(store, entry(1), entry(2))
    sql("UPDATE audit_records SET record = 'gone' WHERE seq = 1")
    code, out, _ = await run("audit", "list")
    assert code == 0
    assert "damaged: it is no JSON" in out.splitlines()[1]


async def test_exported_lines_are_the_hashed_bytes(store: Store, run: Callable[..., Any]) -> None:
    heads = await add(store, *(entry(number, asserted={"text": "line\nend \u2028"}) for number in range(3)))
    code, out, err = await run("audit", "export", "--format", "jsonl")
    assert (code, err) == (0, "")
    lines = out.removesuffix("\n").split("\n")
    assert [hashlib.sha256(line.encode()).hexdigest() for line in lines] == [head.hash for head in heads]


async def test_exported_ocsf_events_are_valid(store: Store, run: Callable[..., Any]) -> None:
    schema = json.loads((Path(__file__).parents[1] / "audit" / "ocsf_api_activity.schema.json").read_text())
    await add(store, entry(1), entry(2, decision="refused", actor=None))
    code, out, _ = await run("audit", "export", "--format", "ocsf")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["metadata"]["sequence"] for event in events] == [1, 2]
    for event in events:
        Draft202012Validator(schema).validate(event)


async def test_export_stops_at_a_damaged_record_and_says_so(
    store: Store, run: Callable[..., Any], sql: Callable[..., Any]
) -> None:
    await add(store, entry(1), entry(2), entry(3))
    sql("UPDATE audit_records SET record = record || ' ' WHERE seq = 2")
    code, out, err = await run("audit", "export")
    assert (code, len(out.splitlines())) == (1, 1)
    assert "record 2 is damaged" in err


FORGED = [{"action": 7}, {"decision": ["refused"]}, {"resource": 1}, {"time": "soon"}, {"grant": "\x9b2J"}]


@pytest.mark.parametrize("members", FORGED)
async def test_record_of_valid_form_whose_members_are_not_is_named_and_ends_in_no_traceback(
    store: Store, run: Callable[..., Any], store_url: str, members: dict[str, Any]
) -> None:
    (head,) = await add(store, entry(1))
    forged, digest = encode(build(entry(2), head, 1_795_489_275_000_000) | members)
    row = {"seq": 2, "prev_hash": head.hash, "hash": digest, "record": forged.decode(), "time": 1_795_489_275_000_000}
    row |= {"action": "x", "decision": "x"}
    await store.write(lambda connection: connection.execute(insert(audit_records), row))
    code, out, _ = await run("audit", "list")
    assert (code, "damaged: it" in out.splitlines()[2]) == (0, True)
    for name in ("jsonl", "ocsf"):
        code, out, err = await run("audit", "export", "--format", name)
        assert (code, len(out.splitlines())) == (1, 1)
        assert "record 2 is damaged" in err
    code, out, _ = await run("audit", "verify")
    assert (code, "record 2: its bytes cannot have been written by an append" in out) == (1, True)


@pytest.mark.parametrize("name", ["jsonl", "ocsf"])
async def test_no_format_of_export_holds_what_a_terminal_acts_on(
    store: Store, run: Callable[..., Any], name: str
) -> None:
    hostile = {"service": "\x1b[2J\x9b31m\r\n", "environment": "\u202eprod\u2028\u200b\x00\x07\x7f"}
    (head,) = await add(store, entry(1, asserted=hostile, actor=actor(branch="\u2066x")))
    code, out, _ = await run("audit", "export", "--format", name)
    assert code == 0
    assert all(character.isprintable() for character in out.removesuffix("\n"))
    if name == "jsonl":
        assert hashlib.sha256(out.removesuffix("\n").encode()).hexdigest() == head.hash


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_reader_that_has_seen_enough_is_no_error(store: Store, store_url: str) -> None:
    await add(store, *(entry(number, asserted={"text": "x" * 1000}) for number in range(300)))
    export = subprocess.Popen(  # noqa: ASYNC220
        [COMMAND, "audit", "export", "--store", store_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert export.stdout is not None
    assert export.stderr is not None
    export.stdout.readline()
    export.stdout.close()
    with export:
        assert export.stderr.read() == ""
    assert export.returncode == 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_terminal_without_the_characters_gets_escapes(store: Store, store_url: str) -> None:
    await add(store, entry(1, asserted={"service": "büro"}))
    run = subprocess.run(  # noqa: ASYNC221
        [COMMAND, "audit", "list", "--store", store_url],
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert r"b\xfcro" in run.stdout


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_chain_in_a_read_only_copy_can_be_verified(
    store: Store, store_url: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    await add(store, entry(1))
    await store.close()
    (tmp_path / "handoff.db").chmod(0o444)
    code, out, _ = await run("audit", "verify")
    assert code == 0, out


POLICY = """
[bitbucket]
workspace = "acme"
workspace_uuid = "{0b6b8a4e-3c5b-4c0c-8c53-0a3c1a2b4d5e}"
[[grants]]
name = "api, production, from main"
repository = "{8a3f1c9e-52d7-4f0b-9a64-7e1d2c3b4a5f}"
branch = "main"
scopes = ["deployments:write"]
"""


def test_valid_policy_is_0_and_tells_its_digest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "handoff.toml"
    file.write_text(POLICY)
    assert main(["policy", "check", str(file)]) == 0
    assert capfd.readouterr().out == f"valid: 1 grants, sha-256:{hashlib.sha256(POLICY.encode()).hexdigest()}\n"


def test_policy_with_mistakes_is_1_and_each_is_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "handoff.toml"
    file.write_text(POLICY.replace("branch =", "branches =").replace("workspace =", "slug ="))
    assert main(["policy", "check", str(file)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert sum(line.startswith(f"{file}:") for line in err.splitlines()) >= 2


def test_policy_that_is_not_there_is_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(tmp_path / "none.toml")]) == 1
    assert "cannot be read" in capfd.readouterr().err


def test_policy_schema_is_a_schema(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    Draft202012Validator.check_schema(json.loads(capfd.readouterr().out))


def test_table_aligns_wide_and_combining_characters() -> None:
    lines = list(table(("A", "B"), [("日本", "x"), ("e\u0301", "x"), ("abcd", "x")]))
    assert lines == ["A     B", "日本  x", "e\u0301     x", "abcd  x"]


def test_long_cell_is_cut() -> None:
    _, line = table(("A",), [("x" * 100,)])
    assert line == "x" * (CELL_LIMIT - 1) + "…"


@pytest.mark.parametrize(
    "code", [*range(32), 0x7F, *range(0x80, 0xA0), 0x200B, 0x200E, 0x2028, 0x202E, 0x2066, 0xD800, 0xFEFF]
)
def test_no_character_that_a_terminal_acts_on_stays(code: int) -> None:
    assert harmless(f"a{chr(code)}b").isprintable()
    assert harmless(f"a{chr(code)}b").isascii()
