"""A first status that arrives after the last one must not stand: INPROGRESS blocks merging for ever."""

import threading
from pathlib import Path

import pytest

from support.links import Answer, Fault, Hop, passing
from support.links.faults import instead, silence_unforwarded
from support.scenes import FIRST_STATUS, LAST_STATUS, FaultyScene

SECONDS = 30


@pytest.mark.parametrize(
    "second_try", [pytest.param(passing, id="answered"), pytest.param(silence_unforwarded, id="not answered")]
)
def test_a_first_status_that_comes_after_the_last_does_not_stand(
    second_try: Fault, faulty_scene: FaultyScene, build_dir: Path
) -> None:
    told = threading.Event()

    def late(hop: Hop) -> None:
        assert told.wait(SECONDS)
        passing(hop)

    def then_the_late_one(hop: Hop) -> None:
        passing(hop)
        told.set()

    faulty_scene.spoil(FIRST_STATUS, [late, second_try])
    faulty_scene.spoil(LAST_STATUS, [then_the_late_one])
    step = faulty_scene.step()
    run = faulty_scene.run(faulty_scene.variables(step, TIMEOUT="1"), build_dir)
    assert run.exit_code == 0, run.text
    assert faulty_scene.states(step)[0][-3:] == ["SUCCESSFUL", "INPROGRESS", "SUCCESSFUL"]


def test_a_first_status_that_a_gateway_gave_up_and_forwards_later_does_not_stand(
    faulty_scene: FaultyScene, build_dir: Path
) -> None:
    landed = threading.Event()

    def give_up_and_forward_later(hop: Hop) -> None:
        def forward() -> None:
            hop.forward()
            landed.set()

        threading.Timer(4, forward).start()
        hop.answer(Answer(504, {"content-type": "text/plain"}, b"no answer in time"))

    faulty_scene.spoil(FIRST_STATUS, [give_up_and_forward_later])
    step = faulty_scene.step()
    run = faulty_scene.run(faulty_scene.variables(step, REPORT="status"), build_dir)
    assert landed.wait(SECONDS)
    assert run.exit_code == 0, run.text
    assert faulty_scene.states(step)[0][-2:] == ["INPROGRESS", "SUCCESSFUL"]


def test_an_outcome_that_a_late_first_status_hides_for_good_is_not_told(
    faulty_scene: FaultyScene, build_dir: Path
) -> None:
    told = threading.Event()

    def late(hop: Hop) -> None:
        assert told.wait(SECONDS)
        passing(hop)

    def then_the_late_one(hop: Hop) -> None:
        passing(hop)
        told.set()

    no = instead(403, {"type": "error", "error": {"message": "no"}})
    faulty_scene.spoil(FIRST_STATUS, [late, silence_unforwarded])
    faulty_scene.spoil(LAST_STATUS, [then_the_late_one, *[no] * 6])
    step = faulty_scene.step()
    run = faulty_scene.run(faulty_scene.variables(step, TIMEOUT="1", REPORT="status"), build_dir)
    assert run.exit_code == 7, run.text
    assert "the commit was not told: Bitbucket answered 403" in run.text
    assert faulty_scene.last_state(step) == "INPROGRESS"
