"""Whether Docker can be used here, what a test does where it cannot, and images that are built once."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .pipe_under_test import ROOT


def require_docker(*programs: str) -> None:
    """Skip the test where no engine answers, or one of the `programs` is missing; fail it where REQUIRE_DOCKER is 1."""
    missing = [f"there is no `{program}`" for program in programs if shutil.which(program) is None]
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode
    ):
        missing.append("no Docker engine answers `docker info`")
    if missing and os.environ.get("REQUIRE_DOCKER") == "1":
        pytest.fail(f"REQUIRE_DOCKER is 1, but {' and '.join(missing)}")
    if missing:
        pytest.skip(" and ".join(missing))


def built_image(script: Path) -> str:
    """Return the name of the image that the script builds, unless it is there already.

    One script at a time: of two test processes that want the same image, the second finds it built.
    """
    lock = ROOT / "build" / "images.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
