"""What the benchmarks of the pipe share: the same flow in three ways, and how a whole process is measured."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPE = ROOT / "target/release/fastapi-handoff"
BENCH = ROOT / "bench"
TOOLKIT_VENV = ROOT / "build" / "bench-toolkit"
TOOLKIT_PACKAGES = ["bitbucket-pipes-toolkit==6.2.0", "cryptography"]


@dataclass(frozen=True)
class Cost:
    """Of one run of a whole process: seconds on the clock, and bytes of memory at its peak."""

    seconds: float
    peak_memory: int


def toolkit_python() -> Path:
    """The interpreter of an environment with the official toolkit, made on first use."""
    python = TOOLKIT_VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", TOOLKIT_VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLKIT_PACKAGES], check=True)
    return python


def ways() -> dict[str, list[str]]:
    """The same flow: the pipe, a shell script, an official pipe's toolkit."""
    return {
        "pipe": [str(PIPE)],
        "shell (curl, openssl, jq)": ["bash", str(BENCH / "alternatives" / "handoff.sh")],
        "bitbucket-pipes-toolkit": [str(toolkit_python()), str(BENCH / "alternatives" / "handoff_toolkit.py")],
    }


def measure(command: Sequence[str], variables: Mapping[str, str], folder: Path, within: Sequence[str] = ()) -> Cost:
    """Runs a command to its good end, started by `within` (`ip netns exec …`) where given.

    The peak is that of the largest process, as GNU time tells it: a child of this interpreter would inherit its peak.
    """
    gnu_time = shutil.which("time")
    if gnu_time is None:
        raise SystemExit("GNU time is needed: install the package `time`")
    log, peak = folder / "bench.log", folder / "bench.peak"
    with log.open("wb") as output:
        started = time.perf_counter()
        done = subprocess.run(
            [*within, gnu_time, "--format=%M", f"--output={peak}", *command],
            env={"PATH": os.environ["PATH"], **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{log.read_text()}")
    return Cost(seconds, int(peak.read_text()) * 1024)


@contextmanager
def child(*command: str) -> Iterator[str]:
    """A server that prints one line when it is ready, and ends when its standard input does."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
