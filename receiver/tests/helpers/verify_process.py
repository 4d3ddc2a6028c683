"""`audit verify` in a process of its own, and what that process used."""

from __future__ import annotations

import subprocess
import sys

VERIFY = """
import resource, sys
from fastapi_handoff.cli import main
if main(["audit", "verify", "--store", sys.argv[1]]):
    raise SystemExit("the chain does not verify")
used, helped = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
# Not its `ru_maxrss`: a child starts with its parent's, which here is a whole test run's or a benchmark's.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
sys.stderr.write(f"\\n{used.ru_utime + used.ru_stime} {int(status['VmHWM'].split()[0]) * 1024}")
"""


def verify(url: str) -> tuple[float, int]:
    """Run the command on an intact chain; give its seconds of CPU, and the bytes that it and the largest of its
    processes needed at most."""
    command = [sys.executable, "-c", VERIFY, url]
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr)
    cpu, peak = run.stderr.splitlines()[-1].split()
    return float(cpu), int(peak)
