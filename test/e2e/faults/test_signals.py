"""A step that is stopped: whatever is under way, the commit hears it, and a known outcome stays true."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path

import pytest

from support.bitbucket_standin import Step
from support.links import Fault, Hop, passing
from support.links.faults import retry_later, silence_unforwarded, still_runs
from support.scenes import EVENT, FIRST_STATUS, LAST_STATUS, POLL, TOKEN, FaultyScene, PipeRun, Point

SECONDS = 30
Stopper = Callable[[subprocess.Popen[str], Path], None]


def held_at(scene: FaultyScene, point: Point) -> threading.Event:
    """From now on a request at this point gets no answer; the event is set once one came."""
    reached = threading.Event()

    def hold(hop: Hop) -> None:
        reached.set()
        hop.wait_for_hangup()

    scene.spoil(point, [hold])
    return reached


def stopped_at(
    scene: FaultyScene, point: Point, stop: Stopper, build_dir: Path, **change: str | None
) -> tuple[PipeRun, Step]:
    """A run that is stopped while a request at this point has no answer yet."""
    if point is POLL:
        scene.spoil(EVENT, [still_runs()])
    reached = held_at(scene, point)
    step = scene.step()
    process = scene.start(scene.variables(step, TIMEOUT="20", WAIT_TIMEOUT="20", **change), build_dir)
    assert reached.wait(SECONDS)
    stop(process, build_dir)
    return scene.finish(process), step


def by_signal(number: signal.Signals) -> Stopper:
    return lambda process, _: process.send_signal(number)


def by_docker(*command: str) -> Stopper:
    """`docker stop` or `docker kill`, on the container that has this build directory."""

    def stop(_process: subprocess.Popen[str], build_dir: Path) -> None:
        subprocess.run(["docker", *command, running_container(build_dir)], check=True, capture_output=True)

    return stop


def running_container(build_dir: Path) -> str:
    """Return the id of the container that has this build directory.

    Its process may have sent a request before the engine lists it as running.
    """
    listed = ["docker", "ps", "--quiet", "--filter", f"volume={build_dir}"]
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if container := subprocess.run(listed, check=True, capture_output=True, text=True).stdout.strip():
            return container
        time.sleep(0.05)
    raise AssertionError("the engine lists no such container")


BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@BOTH
@pytest.mark.parametrize("point", [TOKEN, EVENT, POLL], ids=lambda point: point.name)
def test_a_stopped_run_ends_the_status(
    point: Point, number: signal.Signals, faulty_scene: FaultyScene, build_dir: Path
) -> None:
    run, step = stopped_at(faulty_scene, point, by_signal(number), build_dir)
    assert run.exit_code == 143, run.text
    assert f"stopped by {number.name}; the receiver may have got the event evt_" in run.text
    assert faulty_scene.last_state(step) == "STOPPED"


@BOTH
def test_a_run_that_is_stopped_while_it_tells_the_outcome_tells_it(
    number: signal.Signals, faulty_scene: FaultyScene, build_dir: Path
) -> None:
    run, step = stopped_at(faulty_scene, LAST_STATUS, by_signal(number), build_dir)
    assert run.exit_code == 0, run.text
    assert faulty_scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]


def test_a_first_status_that_comes_late_does_not_stand_after_a_stop(faulty_scene: FaultyScene, build_dir: Path) -> None:
    scene = faulty_scene
    stopped = threading.Event()

    def late(hop: Hop) -> None:
        assert stopped.wait(SECONDS)
        passing(hop)

    def then_the_late_one(hop: Hop) -> None:
        passing(hop)
        stopped.set()

    plan: list[Fault] = [then_the_late_one]
    scene.spoil(FIRST_STATUS, [late])
    scene.spoil(LAST_STATUS, plan)
    run, step = stopped_at(scene, TOKEN, by_signal(signal.SIGTERM), build_dir)
    assert run.exit_code == 143, run.text
    assert scene.states(step) == [["STOPPED", "INPROGRESS", "STOPPED"]]


def test_a_first_status_that_is_to_be_sent_again_is_not_after_a_stop(
    faulty_scene: FaultyScene, build_dir: Path
) -> None:
    faulty_scene.spoil(FIRST_STATUS, [retry_later(503, "1")])
    run, step = stopped_at(faulty_scene, TOKEN, by_signal(signal.SIGTERM), build_dir)
    assert run.exit_code == 143, run.text
    assert faulty_scene.states(step) == [["STOPPED", "STOPPED"]]


@pytest.mark.parametrize(("report", "exit_code"), [("auto", 0), ("status", 7)])
def test_a_stop_while_bitbucket_is_silent_says_that_the_commit_was_not_told(
    report: str, exit_code: int, faulty_scene: FaultyScene, build_dir: Path
) -> None:
    reached = threading.Event()

    def hold(hop: Hop) -> None:
        reached.set()
        hop.wait_for_hangup()

    faulty_scene.spoil(LAST_STATUS, chain([hold], repeat(silence_unforwarded)))
    process = faulty_scene.start(faulty_scene.variables(faulty_scene.step(), TIMEOUT="20", REPORT=report), build_dir)
    assert reached.wait(SECONDS)
    process.send_signal(signal.SIGTERM)
    run = faulty_scene.finish(process)
    assert run.exit_code == exit_code, run.text
    assert "the commit was not told: Bitbucket did not answer within 4 s" in run.text


def test_a_stopped_run_without_any_credential_leaves_a_report(faulty_scene: FaultyScene, build_dir: Path) -> None:
    stop = by_signal(signal.SIGTERM)
    run, step = stopped_at(faulty_scene, EVENT, stop, build_dir, BITBUCKET_ACCESS_TOKEN=None)
    assert run.exit_code == 143, run.text
    (report,) = faulty_scene.standin.insights.of_commit(step.repository, step.commit)
    assert report.values["result"] == "FAILED"
    assert "Stopped by SIGTERM" in report.values["details"]


@pytest.mark.parametrize(
    ("point", "command"),
    [
        pytest.param(TOKEN, ["stop"], id="token, docker stop"),
        pytest.param(EVENT, ["stop"], id="event, docker stop"),
        pytest.param(POLL, ["kill", "--signal=INT"], id="poll, docker kill"),
    ],
)
def test_a_stopped_container_ends_the_status(
    point: Point, command: list[str], faulty_container: FaultyScene, build_dir: Path
) -> None:
    run, step = stopped_at(faulty_container, point, by_docker(*command), build_dir)
    assert run.exit_code == 143, run.text
    assert faulty_container.last_state(step) == "STOPPED"


def test_a_container_that_is_stopped_while_it_tells_the_outcome_tells_it(
    faulty_container: FaultyScene, build_dir: Path
) -> None:
    run, step = stopped_at(faulty_container, LAST_STATUS, by_docker("stop"), build_dir)
    assert run.exit_code == 0, run.text
    assert faulty_container.last_state(step) == "SUCCESSFUL"
