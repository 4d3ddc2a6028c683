"""How a delivery can end after the receiver let it in, or could not be reached; the commit tells the same story as the exit."""

import json
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from support.scenes import DATABASE_PASSWORD, Scene


def test_a_handler_that_rejects_fails_the_step_with_its_reason(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, SERVICE="frozen"), build_dir)
    assert run.exit_code == 6
    assert "the change freeze lasts until Monday" in run.text
    assert scene.states(step) == [["INPROGRESS", "FAILED"]]
    (status,) = scene.standin.statuses.of_commit(step.repository, step.commit)
    assert "the change freeze lasts until Monday" in status.values["description"]


def test_a_handler_that_raises_tells_the_receivers_log_only(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, SERVICE="broken"), build_dir)
    assert run.exit_code == 6
    assert DATABASE_PASSWORD in scene.log.read_text()
    assert DATABASE_PASSWORD not in run.text
    assert all(DATABASE_PASSWORD.encode() not in request.body for request in scene.to_bitbucket())
    assert scene.states(step) == [["INPROGRESS", "FAILED"]]


def test_a_slow_handler_is_polled_to_its_end(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, SERVICE="slow"), build_dir)
    assert run.exit_code == 0, run.text
    polls = scene.requests("GET", "/handoff/events/")
    assert len(polls) >= 2
    assert len({poll.headers["dpop"] for poll in polls}) == len(polls)
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]


def test_a_lost_answer_is_asked_for_again_and_the_handler_runs_once(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, CUSTOM_DATA='{"lose_first_answer": true}'), build_dir)
    assert run.exit_code == 0, run.text
    first, second = scene.requests("POST", "/handoff/events")
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["dpop"] != second.headers["dpop"]
    assert len(scene.tapped("handler")) == 1
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]


def test_an_unreachable_receiver_is_told_as_not_delivered(scene: Scene, build_dir: Path) -> None:
    with socket.socket() as silent:
        silent.bind((scene.pipe.hosts[-1], 0))  # without listening: nobody answers, and nobody else can take the port
        url = f"http://{scene.pipe.public_host}:{silent.getsockname()[1]}/handoff"
        step = scene.step()
        token = scene.token(step, audiences=[url])
        run = scene.run(scene.variables(step, token, RECEIVER_URL=url, RETRY_BUDGET="1"), build_dir)
    assert run.exit_code == 5, run.text
    assert scene.states(step) == [["INPROGRESS", "FAILED"]]
    assert scene.tapped("handler") == []


def test_a_connection_that_never_comes_about_is_told_as_one(scene: Scene, build_dir: Path) -> None:
    with ExitStack() as queue:
        full = queue.enter_context(socket.create_server((scene.pipe.hosts[-1], 0), backlog=0))
        address = full.getsockname()
        # What waits in the full queue keeps the pipe's first packet out: it gets no answer at all.
        for _ in range(2):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        url = f"http://{scene.pipe.public_host}:{address[1]}/handoff"
        step = scene.step()
        token = scene.token(step, audiences=[url])
        run = scene.run(scene.variables(step, token, RECEIVER_URL=url, RETRY_BUDGET="1", TIMEOUT="2"), build_dir)
    assert run.exit_code == 5, run.text
    assert "the event was not delivered: exchange: no connection within 1.8 s" in run.text


def test_a_stopped_step_leaves_no_status_in_progress(scene: Scene, build_dir: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    os.mkfifo(runs)
    step = scene.step()
    variables = scene.variables(step, SERVICE="held", CUSTOM_DATA=json.dumps({"runs": str(runs)}))
    process = scene.start(variables, build_dir)
    assert runs.read_text() == "runs"
    process.terminate()
    run = scene.finish(process)
    httpx.post(f"{scene.receiver.origin}/release")
    assert run.exit_code == 143, run.text
    assert scene.states(step)[0][-1] == "STOPPED"
