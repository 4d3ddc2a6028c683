"""Whether Docker can be used here, and what a test does where it cannot."""

import os
import shutil
import subprocess

import pytest


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
