"""Connections that are refused, or broken before anybody read what came over them; and how the pipe is told to go on or not."""

from pathlib import Path

import pytest

from support.links.faults import close_after
from support.scenes import TOKEN, FaultyScene


def test_a_receiver_that_is_restarted_gets_the_event(faulty_scene: FaultyScene, build_dir: Path) -> None:
    link = faulty_scene.links["receiver"]
    link.refuse()
    process = faulty_scene.start(faulty_scene.variables(faulty_scene.step(), RETRY_BUDGET="30"), build_dir)
    assert process.stderr is not None
    first = next(line for line in process.stderr if "try 1" in line)
    link.listen_again()
    run = faulty_scene.finish(process)
    assert "no connection: " in first
    assert run.exit_code == 0, run.text
    assert len(faulty_scene.handler_runs()) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_connection_that_breaks_unread_is_made_again(number: int, faulty_scene: FaultyScene, build_dir: Path) -> None:
    # The second connection is the event's: the answer before it said that the first is not for another request.
    faulty_scene.spoil(TOKEN, [close_after])
    faulty_scene.links["receiver"].break_connections([number])
    step = faulty_scene.step()
    run = faulty_scene.run(faulty_scene.variables(step), build_dir)
    assert run.exit_code == 0, run.text
    assert (faulty_scene.delivered(), len(faulty_scene.handler_runs())) == (1, 1)
    assert faulty_scene.last_state(step) == "SUCCESSFUL"


def test_connections_that_always_break_use_up_the_budget(faulty_scene: FaultyScene, build_dir: Path) -> None:
    faulty_scene.links["receiver"].break_connections(range(1, 1000))
    step = faulty_scene.step()
    run = faulty_scene.run(faulty_scene.variables(step, RETRY_BUDGET="1"), build_dir)
    assert run.exit_code == 5, run.text
    assert "the event was not delivered" in run.text
    assert "used up RETRY_BUDGET (1 s)" in run.text
    assert faulty_scene.last_state(step) == "FAILED"


def test_without_a_retry_budget_one_try_is_all(faulty_scene: FaultyScene, build_dir: Path) -> None:
    link = faulty_scene.links["receiver"]
    link.break_connections([1])
    run = faulty_scene.run(faulty_scene.variables(faulty_scene.step(), RETRY_BUDGET="0"), build_dir)
    assert run.exit_code == 5, run.text
    assert link.connections == 1


def test_a_bitbucket_that_cannot_be_reached_is_told_in_the_log(faulty_scene: FaultyScene, build_dir: Path) -> None:
    link = faulty_scene.links["insights"]
    link.refuse()
    for report, exit_code in (("auto", 0), ("insights", 7)):
        variables = faulty_scene.variables(faulty_scene.step(), BITBUCKET_ACCESS_TOKEN=None, REPORT=report)
        run = faulty_scene.run(variables, build_dir)
        assert run.exit_code == exit_code, run.text
        assert "The proxy of Pipelines is not there" in run.text
    link.listen_again()
