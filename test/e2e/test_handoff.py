"""The main job, end to end: a production deployment is handed over, and everyone concerned hears the same story."""

import json
import re
from pathlib import Path

from support.scenes import SIGNING_SECRET, Scene


def test_a_production_deployment_from_main_is_handed_over(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, CUSTOM_DATA='{"ticket": "OPS-1"}'), build_dir)
    assert run.exit_code == 0, run.text
    (handled,) = scene.tapped("handler")
    assert handled["branch"] == "main"
    assert handled["custom"] == {"ticket": "OPS-1"}
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]
    assert handled["event"] in run.text


def test_the_log_has_a_line_a_hop_in_the_order_of_the_identitys_way(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), DEBUG="false"), build_dir)
    hops = re.findall(r"^✔ (\w+)", run.text, re.MULTILINE)
    assert hops == ["context", "identity", "token", "event", "status"], run.text


def test_the_log_anchors_the_audit_chain_by_sequence_and_hash(scene: Scene, build_dir: Path) -> None:
    receipt_file = scene.pipe.seen(build_dir) / "receipt.json"
    run = scene.run(scene.variables(scene.step(), RECEIPT_FILE=str(receipt_file)), build_dir)
    receipt = json.loads((build_dir / "receipt.json").read_text())
    anchor = f"{receipt['audit']['seq']}:{receipt['audit']['hash']}"
    assert re.fullmatch(r"\d+:[0-9a-f]{64}", anchor)
    assert anchor in run.text
    assert receipt["trace_id"] in run.text


def test_the_receipt_file_tells_attested_and_asserted_apart(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    scene.run(scene.variables(step, RECEIPT_FILE=str(scene.pipe.seen(build_dir) / "receipt.json")), build_dir)
    receipt = json.loads((build_dir / "receipt.json").read_text())
    assert receipt["state"] == "succeeded"
    assert receipt["identity"]["step_uuid"] == step.step_uuid
    assert receipt["identity"]["grant"] == "api, production, from main"
    assert receipt["asserted"]["commit"] == step.commit
    assert "commit" not in receipt["identity"]
    assert receipt["result"] == {"rolled_out": f"pkg:bitbucket/acme/api@{step.commit}"}


def test_a_container_that_is_not_given_the_environments_uuid_takes_the_tokens(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID=None), build_dir)
    assert run.exit_code == 0, run.text


def test_one_exchange_and_one_event_reach_the_receiver(scene: Scene, build_dir: Path) -> None:
    scene.run(scene.variables(scene.step()), build_dir)
    assert [(request.method, request.path) for request in scene.requests("POST", "/")] == [
        ("POST", "/handoff/token"),
        ("POST", "/handoff/events"),
    ]
    assert scene.requests("GET", "/") == []


def test_a_receiver_with_a_signing_secret_takes_the_signed_event(signed_scene: Scene, build_dir: Path) -> None:
    run = signed_scene.run(signed_scene.variables(signed_scene.step(), SIGNING_SECRET=SIGNING_SECRET), build_dir)
    assert run.exit_code == 0, run.text


def test_two_pipes_in_one_step_share_the_steps_key(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    token = scene.token(step)
    runs = [scene.run(scene.variables(step, token, SERVICE=service), build_dir) for service in ("api", "worker")]
    assert [run.exit_code for run in runs] == [0, 0], runs[1].text
    assert [handled["service"] for handled in scene.tapped("handler")] == ["api", "worker"]


def test_a_stolen_step_token_is_of_no_use_without_the_steps_key(scene: Scene, build_dir: Path, tmp_path: Path) -> None:
    step = scene.step()
    token = scene.token(step)
    scene.run(scene.variables(step, token), build_dir)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = scene.run(scene.variables(step, token), elsewhere)
    assert run.exit_code == 4
    assert "step-token-already-bound" in run.text
    assert len(scene.tapped("handler")) == 1


def test_a_re_run_of_the_step_uses_the_same_status_key(scene: Scene, build_dir: Path) -> None:
    first = scene.step()
    scene.run(scene.variables(first), build_dir)
    again = scene.step(commit=first.commit, step_run_number=2)
    (build_dir.parent / "again").mkdir()
    scene.run(scene.variables(again), build_dir.parent / "again")
    assert scene.states(first) == [["INPROGRESS", "SUCCESSFUL", "INPROGRESS", "SUCCESSFUL"]]
