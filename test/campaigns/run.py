"""Runs every campaign in turn, each in a process of its own; `--bounded` makes each a few minutes at most. Run: `make campaign`."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Campaign:
    """One campaign: its command, and the arguments that make it long or bounded."""

    command: tuple[str, ...]
    full: tuple[str, ...]
    bounded: tuple[str, ...]
    fuzz_times: tuple[str, str] = ("1", "1")
    """FUZZ_TIMES when full, and when bounded."""


def campaigns(pipe: str) -> dict[str, Campaign]:
    """Return the campaigns by name; `pipe` is the binary that they run."""
    here = "test/campaigns"
    return {
        "replicas": Campaign(
            (sys.executable, f"{here}/replicas.py", "--pipe", pipe),
            ("--events", "1000"),
            ("--events", "150"),
        ),
        "faults by chance": Campaign(
            (sys.executable, f"{here}/random_faults.py", "--pipe", pipe),
            ("--runs", "500", "--workers", "6"),
            ("--runs", "80", "--workers", "6"),
        ),
        "fuzzing": Campaign(
            (sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count()), "-m", "fuzz", "receiver"),
            (),
            (),
            ("30", "3"),
        ),
    }


def main() -> int:
    """Run them, and return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bounded", action="store_true")
    parser.add_argument("--only", action="append", help="a campaign's name; may be given several times")
    given = parser.parse_args()
    pipe = os.environ.get("PIPE", "target/debug/fastapi-handoff")
    environment = {**os.environ, "PYTHONPATH": "test:receiver/tests"}
    passed, failed = 0, 0
    for name, campaign in campaigns(pipe).items():
        if given.only and name not in given.only:
            continue
        print(f"campaign: {name}", flush=True)
        started = time.monotonic()
        command = [*campaign.command, *(campaign.bounded if given.bounded else campaign.full)]
        variables = {**environment, "FUZZ_TIMES": campaign.fuzz_times[given.bounded]}
        code = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode
        print(
            f"campaign: {name}: {'failed' if code else 'passed'} after {time.monotonic() - started:.0f} s\n", flush=True
        )
        passed, failed = passed + (code == 0), failed + (code != 0)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
