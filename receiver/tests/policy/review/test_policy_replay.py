"""The audit's decisions under another policy, and the caller of one of its records."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_handoff.cli import main
from fastapi_handoff.store import Store
from helpers.chain import REPOSITORY, actor, add, entry
from helpers.policies import text

WORKSPACE_UUID = "{0b6b8a4e-3c5b-4c0c-8c53-0a3c1a2b4d5e}"
HEAD = f'[bitbucket]\nworkspace = "acme"\nworkspace_uuid = "{WORKSPACE_UUID}"\n'
MAIN = 'name = "old"\nbranch = "main"\nscopes = ["deploy"]'


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def run(store_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def command(name: str, content: str, *arguments: str) -> tuple[int, str, str]:
        file = tmp_path / "head.toml"
        file.write_text(content)
        capfd.readouterr()
        code = await asyncio.to_thread(main, ["policy", name, str(file), "--store", store_url, *arguments])
        return code, *capfd.readouterr()

    return command


def exchange(decision: str, *, scope: str = "deploy", code: str | None = None, **claims: str) -> Any:
    granted = decision == "accepted"
    return entry(
        action="token.exchange",
        decision=decision,
        code=code,
        actor=actor(**claims),
        grant="old" if granted else None,
        event_id=None,
        outcome={"scope": scope, "expires_in": 300} if granted else None,
    )


def written(*grants: str) -> str:
    return text(*grants, head=HEAD, repository=REPOSITORY)


async def test_each_decision_is_taken_again_and_counted(store: Store, run) -> None:
    await add(
        store,
        exchange("accepted"),
        exchange("accepted", branch="release/1"),
        exchange("refused", code="no-grant-matches", branch="hotfix/1"),
        exchange("refused", code="no-grant-matches", branch="x"),
        exchange("refused", code="scope-not-granted"),
        exchange("refused", code="step-token-expired"),
        exchange("accepted", issuer="https://elsewhere.example"),
        exchange("refused", code="no-grant-matches", issuer="https://elsewhere.example"),
        entry(1),
    )
    head = written(MAIN, 'name = "hot"\nbranch = "hotfix/*"\nscopes = ["deploy"]')
    code, out, err = await run("replay", head)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert len(lines) == 4
    assert (
        "branch `release/1` and no environment was granted and is refused `deploy`: no grant of the policy" in lines[0]
    )
    assert "branch `hotfix/1` and no environment was refused and is granted `deploy`: grant `hot` matches" in lines[1]
    assert "a caller of https://elsewhere.example was granted and is refused `deploy`" in lines[2]
    assert lines[3] == "7 decisions: 2 unchanged, 2 refused now, 1 granted now, 2 undecided"


async def test_policy_that_decides_the_same_is_0(store: Store, run) -> None:
    await add(store, exchange("accepted"))
    code, out, _ = await run("replay", written(MAIN), "--format", "json")
    assert code == 0
    replay = json.loads(out)["replay"]
    assert (replay["decisions"], replay["unchanged"], replay["changes"]) == (1, 1, [])


async def test_scopes_that_were_granted_together_must_still_be(store: Store, run) -> None:
    await add(store, exchange("accepted", scope="deploy sync"))
    split = written(MAIN, 'name = "b"\nbranch = "main"\nscopes = ["sync"]')
    code, out, _ = await run("replay", split)
    assert (code, out.splitlines()[-1]) == (0, "1 decisions: 0 unchanged, 1 refused now, 0 granted now, 0 undecided")


async def test_issuer_on_trial_gives_nothing(store: Store, run) -> None:
    await add(store, exchange("accepted"), exchange("refused", code="no-grant-matches", branch="x"))
    on_trial = written(MAIN).replace('workspace = "acme"', 'workspace = "acme"\nmode = "audit"')
    code, out, _ = await run("replay", on_trial)
    assert (code, out.splitlines()[-1]) == (0, "2 decisions: 1 unchanged, 1 refused now, 0 granted now, 0 undecided")
    assert "its issuer's mode is `audit`" in out


async def test_only_the_last_days_are_looked_at(store: Store, run) -> None:
    old = time.time() - 10 * 86_400
    await add(store, exchange("accepted"), clock=lambda: old)
    assert (await run("replay", written(MAIN), "--days", "9"))[1].startswith("0 decisions")
    assert (await run("replay", written(MAIN), "--days", "11"))[1].startswith("1 decisions")


async def test_broken_chain_is_no_evidence(store: Store, run, sql: Callable[..., Any]) -> None:
    await add(store, exchange("accepted"))
    sql("UPDATE audit_records SET record = replace(record, 'main', 'next')")
    code, out, err = await run("replay", written(MAIN))
    assert (code, out) == (2, "")
    assert "the audit's chain is broken" in err


async def test_grant_without_a_use_is_found_by_the_lint(store: Store, run) -> None:
    await add(store, exchange("accepted"))
    code, out, _ = await run("lint", written(MAIN, 'name = "unused"\nbranch = "x"'))
    assert code == 0
    assert (
        next(line for line in out.splitlines() if "unused-grant" in line)
        .split("unused-grant ")[1]
        .startswith("(grant `unused`): ")
    )
    assert "grant `old`" not in out


async def test_caller_of_a_record_is_explained(store: Store, run) -> None:
    await add(store, exchange("refused", code="no-grant-matches", branch="x"), entry(1, actor=None))
    code, out, _ = await run("explain", written(MAIN), "--record", "1")
    assert code == 1
    assert "  no  branch: expected main · got x\n" in out
    assert out.splitlines()[-1].startswith("refused: no-grant-matches: ")
    assert (await run("explain", written(MAIN), "--record", "2"))[0] == 2
    code, _, err = await run("explain", written(MAIN), "--record", "9")
    assert (code, err) == (2, "the audit has no record 9\n")


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": REPOSITORY, "branch": "main"},
        {"repository_uuid": REPOSITORY, "branch": "main"},
        {"repositoryUuid": REPOSITORY, "branchName": "main", "workspaceUuid": WORKSPACE_UUID, "exp": 1, "iss": "x"},
    ],
)
async def test_claims_are_taken_by_any_of_their_names(run, tmp_path: Path, claims: dict[str, Any]) -> None:
    file = tmp_path / "claims.json"
    file.write_text(json.dumps(claims))
    code, out, _ = await run("explain", written(MAIN), "--claims", str(file), "--format", "json")
    assert code == 0
    assert json.loads(out)["scopes"] == ["deploy"]
    assert all(check["ok"] for check in json.loads(out)["checks"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "who is the caller?"),
        (["--claim", "branch"], "--claim is NAME=VALUE"),
        (["--claim", "brunch=x"], "claim `brunch` is none of a `bitbucket` issuer"),
        (["--claim", "branch=a", "--claim", "branch=b"], "--claim names a claim twice"),
        (["--claim", "branch=a", "--claim", "branchName=b"], "claim `branch` is given twice"),
        (["--claim", "branch=a", "--issuer", "okta"], "`okta` is no issuer of this policy"),
        (["--claim", "branch=a", "--record", "1"], "give one of"),
    ],
)
async def test_caller_that_is_none_is_told(run, arguments: list[str], expected: str) -> None:
    code, out, err = await run("explain", written(MAIN), *arguments)
    assert (code, out) == (2, "")
    assert expected in err


@pytest.mark.parametrize(
    "content", [b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 70_000, b"eyJhbGciOi.s3cret.s3cret"]
)
async def test_file_of_claims_that_is_none_is_told_and_not_shown(run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "claims.json"
    file.write_bytes(content)
    code, out, err = await run("explain", written(MAIN), "--claims", str(file))
    assert (code, out) == (2, "")
    assert str(file) in err
    assert "s3cret" not in err
    assert len(err) < 500
