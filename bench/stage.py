"""What the benchmarks of the pipe share: the same flow in three ways, and how a whole process is measured."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
# `make bench` gives the one that is built as the image's is, which starts faster than one that is linked at its start.
PIPE = Path(os.environ.get("PIPE", ROOT / "target/release/fastapi-handoff")).resolve()
BENCH = ROOT / "bench"
TOOLKIT_VENV = ROOT / "build" / "bench-toolkit"
TOOLKIT_PACKAGES = ["bitbucket-pipes-toolkit==6.2.0", "cryptography"]
HANDOFF_SCRIPT_NEEDS = ("curl", "openssl", "jq", "xxd")


LEFT_OUT = 77
"""The exit code of a benchmark that lacks something."""
_DEBIAN_PACKAGES = {"docker": "docker.io", "ip": "iproute2", "node": "nodejs"}


def require(*programs: str, root: bool = False, files: Sequence[str] = ()) -> None:
    """Leave the benchmark out, with one line that says why, where something that it needs is missing."""
    lacks = [f"`{name}` (Debian: {_DEBIAN_PACKAGES.get(name, name)})" for name in programs if not shutil.which(name)]
    lacks += [f"`{name}`" for name in files if not Path(name).exists()]
    if root and os.geteuid() != 0:
        lacks.append("root")
    if "docker" in programs and shutil.which("docker"):
        answered = subprocess.run(["docker", "info"], capture_output=True, check=False)
        lacks += ["Docker's engine, which does not answer"] if answered.returncode else []
    if lacks:
        leave_out(f"needs {', '.join(lacks)}")


def leave_out(reason: str) -> NoReturn:
    """End the benchmark as one that is left out."""
    print(f"{Path(sys.argv[0]).name} is left out: {reason}", flush=True)
    raise SystemExit(LEFT_OUT)


def install(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a package manager; where it fails, the benchmark is left out with the last line that it printed."""
    done = subprocess.run(command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        (*_, last) = ["nothing was printed", *filter(None, map(str.strip, done.stdout.splitlines()))]
        leave_out(f"{Path(command[0]).name} could not install what it compares with: {last}")


def toolkit_python() -> Path:
    """The interpreter of an environment with the official toolkit, made on first use."""
    python, installed = TOOLKIT_VENV / "bin" / "python", TOOLKIT_VENV / "installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", TOOLKIT_VENV], check=True)
        install(python, "-m", "pip", "install", "--quiet", *TOOLKIT_PACKAGES)
        installed.touch()
    return python


def ways() -> dict[str, list[str]]:
    """The same flow: the pipe, a shell script, an official pipe's toolkit."""
    return {
        "pipe": [str(PIPE)],
        "shell (curl, openssl, jq)": ["bash", str(BENCH / "alternatives" / "handoff.sh")],
        "bitbucket-pipes-toolkit": [str(toolkit_python()), str(BENCH / "alternatives" / "handoff_toolkit.py")],
    }


def seconds(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> float:
    """The time on the clock of one run of a whole process, to its good end.

    By `posix_spawn`: what forking this interpreter costs would be a good part of the pipe's own time.
    """
    program, log = shutil.which(command[0]) or command[0], folder / "bench.log"
    environment = {"PATH": os.environ["PATH"], **variables}
    with log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)]
        started = time.perf_counter()
        process = os.posix_spawn(program, list(command), environment, file_actions=actions)
        _, status = os.waitpid(process, 0)
        taken = time.perf_counter() - started
    _require_success(command, os.waitstatus_to_exitcode(status), log)
    return taken


def peak_memory(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> int:
    """The bytes that the largest process of a run had at its peak, as GNU time tells it.

    A child of this interpreter would inherit the interpreter's own peak.
    """
    log, peak = folder / "bench.log", folder / "bench.peak"
    with log.open("wb") as output:
        done = subprocess.run(
            ["time", "--format=%M", f"--output={peak}", *command],
            env={"PATH": os.environ["PATH"], **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    _require_success(command, done.returncode, log)
    return int(peak.read_text()) * 1024


def _require_success(command: Sequence[str], exit_code: int, log: Path) -> None:
    if exit_code != 0:
        raise SystemExit(f"{' '.join(command)} ended with {exit_code}:\n{log.read_text()}")


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
