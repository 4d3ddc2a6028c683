"""A first status that arrives after the last one must not stand: INPROGRESS blocks merging for ever."""

import threading
from pathlib import Path

import pytest

from support.links import Fault, Hop, passing
from support.links.faults import silence_unforwarded
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
