"""Faults by chance: whatever meets a run, its exit code and the commit tell the truth about what the receiver did."""

import random
from pathlib import Path

from campaigns.random_faults import campaign, figures
from support.scenes import BinaryPipe

RUNS = 16
"""A look; `make campaign` makes hundreds."""


def test_exit_code_and_commit_tell_the_truth_whatever_happens_on_the_way(
    binary_pipe: BinaryPipe, tmp_path: Path
) -> None:
    # Another seed each time, so that many runs of the suite look at many ways of things going wrong.
    seed = random.SystemRandom().randrange(10**6)
    judged = campaign(binary_pipe, tmp_path, runs=RUNS, seed=seed, workers=4)
    told = figures(judged)
    assert not any(each.lies for each in judged), f"seed {seed}: {told}"
    assert sum(each.faults for each in judged) > RUNS, told
