"""The whole flow over loopback, a process each: the pipe, a shell script, the official toolkit. Medians, and ratios to the pipe.

Twice: against a server that only answers, which compares the clients, and against the real receiver and Bitbucket's
stand-in, whose own work all three wait for. Run: `make bench`, or alone with `PYTHONPATH=test`.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from stage import BENCH, HANDOFF_SCRIPT_NEEDS, PIPE, child, peak_memory, require, seconds, ways
from support.scenes import BinaryPipe, Scene

TOOLKIT_BUDGET = 50
MEMORY_BUDGET_MIB = 8
ROUNDS = 21


def compare(title: str, variables: Callable[[], Mapping[str, str]], folder: Path) -> tuple[float, float]:
    """Measure in turns, so that a noisy moment hits all of them: the toolkit's time in the pipe's, the pipe's peak in MiB."""
    commands = ways()
    # These runs also warm the servers and the page cache.
    peaks = {way: max(peak_memory(command, variables(), folder) for _ in range(3)) for way, command in commands.items()}
    times: dict[str, list[float]] = {way: [] for way in commands}
    for _ in range(ROUNDS):
        for way, command in commands.items():
            times[way].append(seconds(command, variables(), folder))
    medians = {way: statistics.median(measured) for way, measured in times.items()}
    print(f"whole run over loopback, {title}; medians of {ROUNDS}")
    for way, median in medians.items():
        peak = peaks[way] / 1024 / 1024
        print(f"  {way:<28} {median * 1000:8.1f} ms  x{median / medians['pipe']:6.1f}   peak {peak:6.1f} MiB")
    return medians["bitbucket-pipes-toolkit"] / medians["pipe"], peaks["pipe"] / 1024 / 1024


def main() -> None:
    """Both comparisons."""
    require(*HANDOFF_SCRIPT_NEEDS, "time")
    with tempfile.TemporaryDirectory() as name, Scene(BinaryPipe(PIPE), Path(name)) as scene:
        folder = Path(name)
        with child(sys.executable, str(BENCH / "canned_server.py")) as port:
            origin = f"http://127.0.0.1:{port}"

            def canned() -> dict[str, str]:
                token = scene.token(scene.step(), audiences=[f"{origin}/handoff"])
                here = {"RECEIVER_URL": f"{origin}/handoff", "BITBUCKET_API_URL": origin}
                return scene.variables(scene.step(), token, DEBUG=None, **here)

            times_the_pipe, peak = compare("a server that only answers", canned, folder)
        compare("the real receiver", lambda: scene.variables(scene.step(), DEBUG=None), folder)
    print(f"  budgets: toolkit ≥ {TOOLKIT_BUDGET} times the pipe's time, pipe's peak ≤ {MEMORY_BUDGET_MIB} MiB")
    if times_the_pipe < TOOLKIT_BUDGET or peak > MEMORY_BUDGET_MIB:
        raise SystemExit("a budget is missed")


if __name__ == "__main__":
    main()
