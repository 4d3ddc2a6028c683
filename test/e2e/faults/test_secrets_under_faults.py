"""No secret gets out, at `DEBUG`, whatever a server says back of what it was sent."""

import json
from pathlib import Path

import pytest

from support.bitbucket_standin import Principal, Step
from support.judges import leaks
from support.links import (
    ENCODINGS,
    Answer,
    Hop,
    credentials_in,
    echoes_of,
    echoing,
    receipt_with_echoes,
    token_with_echoes,
)
from support.links.faults import instead, still_runs
from support.scenes import EVENT, FIRST_STATUS, INSIGHTS, LAST_STATUS, OAUTH, POLL, TOKEN, FaultyScene, PipeRun

CLIENT_SECRET = "s3cret/of+an=oauth.consumer"
GROUPS = pytest.mark.parametrize("group", list(ENCODINGS))


def run_and_search(scene: FaultyScene, step: Step, build_dir: Path, exit_code: int, **change: str | None) -> PipeRun:
    """A run with RECEIPT_FILE, and a look for everything that any of its requests proved itself with."""
    receipt = build_dir / "receipt.json"
    run = scene.run(scene.variables(step, RECEIPT_FILE=str(receipt), **change), build_dir)
    assert run.exit_code == exit_code, run.text
    assert "DEBUG: ← " in run.text
    hops = [hop for link in scene.links.values() for hop in link.hops]
    secrets = scene.secrets | {secret for hop in hops for secret in credentials_in(hop.request)}
    statuses = scene.standin.statuses.of_commit(step.repository, step.commit)
    reports = scene.standin.insights.of_commit(step.repository, step.commit)
    places = [
        ("stdout", run.stdout),
        ("stderr", run.stderr),
        *(("a status", json.dumps(status.values, ensure_ascii=False)) for status in statuses),
        *(("a report", json.dumps(report.values, ensure_ascii=False)) for report in reports),
        *(("a request to Bitbucket", request.body.decode()) for request in scene.to_bitbucket()),
        *([("RECEIPT_FILE", receipt.read_text())] if receipt.exists() else []),
    ]
    assert leaks(secrets, places) == []
    return run


@GROUPS
def test_every_request_echoed_and_then_a_failed_handler(group: str, faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.spoil(TOKEN, [echoing(503, group), token_with_echoes(group)])
    faulty_scene.spoil(EVENT, [echoing(503, group), still_runs()])
    faulty_scene.spoil(POLL, [echoing(500, group), receipt_with_echoes(group, state="failed")])
    faulty_scene.spoil(FIRST_STATUS, [echoing(403, group)])
    faulty_scene.spoil(LAST_STATUS, [echoing(500, group)])
    # Masking so many echoes takes an unoptimised pipe seconds on a busy machine.
    run = run_and_search(faulty_scene, faulty_scene.step(), build_dir, 6, RETRY_BUDGET="60")
    assert "try 1: exchange: the answer was 503" in run.text
    assert "asking for the receipt failed: the answer was 500" in run.text


@GROUPS
def test_a_success_full_of_echoes(group: str, faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.spoil(TOKEN, [token_with_echoes(group)])
    faulty_scene.spoil(EVENT, [receipt_with_echoes(group)])
    faulty_scene.spoil(INSIGHTS, [echoing(503, group)])
    step = faulty_scene.step()
    run_and_search(faulty_scene, step, build_dir, 0, BITBUCKET_ACCESS_TOKEN=None)
    assert (build_dir / "receipt.json").exists()
    assert len(faulty_scene.standin.insights.of_commit(step.repository, step.commit)) == 1


def test_a_refused_exchange_echoed(faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.spoil(TOKEN, [echoing(403, "as text", code="no-grant-matches", error="invalid_request")])
    run = run_and_search(faulty_scene, faulty_scene.step(), build_dir, 4)
    assert "refused by the receiver: no-grant-matches" in run.text


def test_a_refused_event_echoed(faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.spoil(EVENT, [echoing(403, "for URLs", code="identity-mismatch")])
    run_and_search(faulty_scene, faulty_scene.step(), build_dir, 4, BITBUCKET_ACCESS_TOKEN=None)


def test_a_refusal_whose_code_is_an_echo(faulty_scene: FaultyScene, build_dir: Path) -> None:
    def fault(hop: Hop) -> None:
        echoing(403, "as digits", code=" | ".join(echoes_of(hop.request, "as digits")))(hop)

    faulty_scene.spoil(EVENT, [fault])
    run_and_search(faulty_scene, faulty_scene.step(), build_dir, 4)


def test_another_events_receipt_and_a_media_type_that_are_echoes(faulty_scene: FaultyScene, build_dir: Path) -> None:
    def typed(hop: Hop) -> None:
        echo = "".join("".join(echoes_of(hop.request, "as digits")).split())
        hop.answer(Answer(200, {"content-type": f"text/{echo}"}, b"{}"))

    faulty_scene.spoil(EVENT, [receipt_with_echoes("as digits", id="evt_another"), typed])
    run = run_and_search(faulty_scene, faulty_scene.step(), build_dir, 5)
    assert "the answer was 200 but no receipt" in run.text


def test_bitbucket_echoes_an_oauth_consumer(faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.standin.credentials.oauth_clients["consumer", CLIENT_SECRET] = Principal("pipe")
    faulty_scene.spoil(OAUTH, [echoing(503, "as digits")])
    faulty_scene.spoil(LAST_STATUS, [echoing(401, "as digits")] * 2)
    run = run_and_search(
        faulty_scene,
        faulty_scene.step(),
        build_dir,
        7,
        BITBUCKET_ACCESS_TOKEN=None,
        BITBUCKET_CLIENT_ID="consumer",
        BITBUCKET_CLIENT_SECRET=CLIENT_SECRET,
        REPORT="status",
    )
    assert "Bitbucket answered 401" in run.text


def test_a_token_answer_that_is_no_token_answer_is_shown_nowhere(faulty_scene: FaultyScene, build_dir: Path) -> None:
    unmasked = "an-opaque-access-token-nobody-has-seen-before"
    faulty_scene.secrets.add(unmasked)
    faulty_scene.spoil(TOKEN, [instead(200, {"access_token": unmasked, "token_type": "Bearer", "expires_in": 1})])
    run_and_search(faulty_scene, faulty_scene.step(), build_dir, 5)
