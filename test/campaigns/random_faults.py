"""Runs of the pipe whose every request may meet a fault, and which may be stopped, by chance; each is judged by what the
receiver's database says.

`PYTHONPATH=test python test/campaigns/random_faults.py --runs 500 --seed 7` prints the figures, and every run that did not
tell the truth.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support.bitbucket_standin import Step
from support.links import Fault, Hop, faults, passing
from support.scenes import EVENT, ROOT, BinaryPipe, FaultyScene, PipeRun, ScenePool

TERMINAL = {"SUCCESSFUL", "FAILED", "STOPPED"}
STOPPED_SHARE = 0.2
SERVICES = ("api", "api", "api", "api", "frozen", "broken")
HTML = "<html>try another time</html>"


def delayed(hop: Hop) -> None:
    """It arrives, but late: maybe after the request that was made after it."""
    time.sleep(1.3)
    passing(hop)


ANYWHERE: tuple[Fault, ...] = (
    faults.reset_unforwarded,
    faults.lose_answer,
    faults.cut_answer,
    faults.cut_head,
    faults.hang_up_after,
    faults.close_after,
    faults.silence,
    faults.silence_unforwarded,
    faults.huge_headers,
    faults.duplicated,
    delayed,
    *(faults.retry_later(status, "0") for status in (429, 500, 502, 503)),
)
"""After these another try can succeed."""
AT_THE_RECEIVER: tuple[Fault, ...] = (
    *ANYWHERE,
    faults.retry_later(408),
    faults.retry_later(425),
    faults.afterwards(502, HTML, "text/html"),
    faults.afterwards(200, '{"id": '),
    faults.nonce_challenge(),
    faults.refusal(401, "token-expired"),
    faults.clock_off_by(-90),
)
DEADLY: tuple[Fault, ...] = (
    faults.afterwards(200, HTML, "text/html"),
    faults.afterwards(403, HTML, "text/html"),
    faults.instead(307, location="/elsewhere"),
    faults.instead(404, HTML, "text/html"),
    faults.endless,
    faults.refusal(403, "scope-missing"),
)
"""After these the pipe may give up at once: rarer, so that the others have a chance."""
FOR_A_RECEIPT: tuple[Fault, ...] = (
    faults.still_runs(),
    faults.still_runs(),
    faults.changed(id="evt_00000000000000000000000000000000"),
)
"""These need an answer of the receiver's that is a receipt."""


def receivers_chance(numbers: random.Random) -> Iterator[Fault]:
    """A fault or none for each request to the receiver, for ever."""
    kinds = (AT_THE_RECEIVER, DEADLY, tuple(map(on_a_receipt, FOR_A_RECEIPT)), (passing,))
    while True:
        (kind,) = numbers.choices(kinds, weights=(40, 4, 11, 45))
        yield numbers.choice(kind)


def bitbuckets_chance(numbers: random.Random) -> Iterator[Fault]:
    """A fault or none for each request to Bitbucket, for ever."""
    while True:
        yield numbers.choice(ANYWHERE) if numbers.random() < 0.4 else passing


def on_a_receipt(fault: Fault) -> Fault:
    """The fault where the request is one about an event; any other passes."""
    return lambda hop: passing(hop) if hop.request.target.endswith("/token") else fault(hop)


@dataclass(frozen=True)
class Judged:
    """One run, how many faults it met, and in what it did not tell the truth."""

    number: int
    run: PipeRun
    faults: int
    handled: int
    lies: list[str]


def run_once(scene: FaultyScene, seed: int, number: int) -> Judged:
    """One run; the same seed and number give the same faults for the same order of requests."""
    numbers = random.Random(f"{seed}:{number}")  # noqa: S311 - chance is all that is asked for
    met: list[Fault] = []

    def counted(fault: Fault) -> Fault:
        def befall(hop: Hop) -> None:
            if fault is not passing:
                met.append(fault)
            fault(hop)

        return befall

    scene.links["receiver"].spoil(lambda _: True, map(counted, receivers_chance(numbers)))
    scene.links["api"].spoil(lambda _: True, map(counted, bitbuckets_chance(numbers)))
    step = scene.step()
    patience = {"TIMEOUT": "1", "RETRY_BUDGET": "4", "WAIT_TIMEOUT": "4"}
    variables = scene.variables(step, SERVICE=numbers.choice(SERVICES), **patience)
    process = scene.start(variables, scene.folder_for(f"{seed}-{number}"))
    if numbers.random() < STOPPED_SHARE:
        time.sleep(numbers.uniform(0.02, 0.6))
        process.send_signal(numbers.choice((signal.SIGTERM, signal.SIGINT)))
    run = scene.finish(process)
    # What comes late counts: the end of the run is not the end of what it sent.
    for link in scene.links.values():
        link.settle()
    return Judged(number, run, len(met), len(scene.handler_runs()), lies_of(scene, step, run))


def lies_of(scene: FaultyScene, step: Step, run: PipeRun) -> list[str]:
    """What the run said that the receiver's handlers, receipts and audit chain do not bear out."""
    (event_id, *others) = {hop.request.headers["webhook-id"] for hop in scene.hops(EVENT)} or {""}
    handled = len(scene.handler_runs())
    states = [state for (state,) in scene.rows("SELECT state FROM receipts WHERE event_id = ?", event_id)]
    records = scene.rows(
        "SELECT seq FROM audit_records WHERE event_id = ? AND action = 'event.accept' AND decision = 'accepted'",
        event_id,
    )
    last = scene.last_state(step)
    if run.exit_code < 0:  # the signal came before the pipe could hear it
        return [] if not any(link.hops for link in scene.links.values()) else ["killed in the middle"]
    was_told = "the commit was not told" not in run.text
    is_unknown = "was sent, but its outcome is not known" in run.text
    is_undelivered = "the event was not delivered" in run.text
    code = run.exit_code
    truths = {
        "more than one event": not others,
        "a handler ran twice": handled <= 1,
        "handlers, receipts and records are not one for one": handled == len(states) == len(records),
        "the status is not terminal": not was_told or last in TERMINAL,
        "a success that the commit was told is not on it": not (code == 0 and was_told) or last == "SUCCESSFUL",
        "SUCCESSFUL without a success": last != "SUCCESSFUL" or states == ["succeeded"],
        "exit 0 without a success": code != 0 or states == ["succeeded"],
        "exit 4, but a handler ran": code != 4 or handled == 0,
        "exit 6, but no handler failed": code != 6 or states == ["failed"],
        "exit 5 without a word on the outcome": code != 5 or is_unknown != is_undelivered,
        "not delivered, but a handler ran": not is_undelivered or handled == 0,
        "STOPPED without a stop": last != "STOPPED" or code == 143,
        "a stop that the commit was told is not on it": not (code == 143 and was_told) or last == "STOPPED",
        "an exit code that nothing explains": code in {0, 4, 5, 6, 143},
        "a secret got out": scene.leaked() == [],
    }
    return [lie for lie, is_true in truths.items() if not is_true]


def campaign(pipe: BinaryPipe, folder: Path, *, runs: int, seed: int, workers: int) -> list[Judged]:
    """Many runs, on as many scenes as workers."""
    with ScenePool(pipe, folder, workers) as pool:
        begun = [pool.submit(partial(run_once, seed=seed, number=number)) for number in range(runs)]
        return [run.result() for run in begun]


def figures(judged: list[Judged]) -> str:
    """The campaign in a few lines."""
    codes = Counter(each.run.exit_code for each in judged)
    lines = [
        f"{len(judged)} runs, {sum(each.faults for each in judged)} faults, "
        f"{sum(each.faults == 0 for each in judged)} runs without any",
        f"exit codes {dict(sorted(codes.items()))}; a handler ran in {sum(each.handled for each in judged)}",
        f"exit 5 with an unknown outcome: {sum('outcome is not known' in each.run.text for each in judged)}; "
        f"commit not told: {sum('the commit was not told' in each.run.text for each in judged)}",
    ]
    liars = [each for each in judged if each.lies]
    lines += [f"run {each.number}: {'; '.join(each.lies)}\n{each.run.text}" for each in liars]
    return "\n".join([*lines, f"{len(liars)} runs did not tell the truth"])


def main() -> int:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--pipe", type=Path, default=ROOT / "target/debug/fastapi-handoff")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judged = campaign(
            BinaryPipe(given.pipe.resolve()), Path(folder), runs=given.runs, seed=given.seed, workers=given.workers
        )
    sys.stdout.write(f"seed {given.seed}: {figures(judged)}\n")
    return any(each.lies for each in judged)


if __name__ == "__main__":
    sys.exit(main())
