"""Runs every benchmark in turn; each can be run by itself. What one lacks is said in a line, and the others run."""

import os
import subprocess
import sys

from stage import BENCH, LEFT_OUT, ROOT

ALL = ["image.py", "whole_run.py", "round_trips.py", "receiver_cpu.py", "exchanges.py", "audit_verify.py"]


def main() -> None:
    """One after the other, so that none disturbs another."""
    # The stage is that of the end-to-end tests; what speaks to the receiver alone is made of its own tests' helpers.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'test'}:{ROOT / 'receiver/tests'}"}
    failed, left_out = [], []
    for name in sys.argv[1:] or ALL:
        ended = subprocess.run([sys.executable, str(BENCH / name)], cwd=ROOT, env=environment, check=False).returncode
        if ended == LEFT_OUT:
            left_out.append(name)
        elif ended:
            failed.append(name)
        print(flush=True)
    if left_out:
        print(f"left out: {', '.join(left_out)}")
    if failed:
        raise SystemExit(f"failed, or missed a budget: {', '.join(failed)}")


if __name__ == "__main__":
    main()
