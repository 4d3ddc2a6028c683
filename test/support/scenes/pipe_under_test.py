"""The real pipe, in the two ways it is run here: the binary itself, and the container the way Pipelines runs it."""

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[3]
# Where Pipelines mounts the clone directory in a pipe's container, and below it the storage of this pipe.
_BUILD_DIR = Path("/opt/atlassian/pipelines/agent/build")
_STORAGE = Path(".bitbucket/pipelines/generated/pipeline/pipes/fastapi-handoff/fastapi-handoff")
_SECONDS = 120


@dataclass(frozen=True)
class PipeRun:
    """How a run of the pipe ended, and all that it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both streams, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.stderr + self.stdout)


class Pipe(Protocol):
    """A way to run the pipe. `build_dir` is the step's clone directory on this machine."""

    hosts: tuple[str, ...]
    """Where servers must listen so that the pipe reaches them; the first is for this machine's own processes."""
    public_host: str
    """The name by which the pipe reaches this machine."""

    def seen(self, build_dir: Path) -> Path:
        """The clone directory as the pipe sees it."""

    def start(self, variables: Mapping[str, str], build_dir: Path) -> subprocess.Popen[str]:
        """Starts the pipe with exactly these variables, and the storage directory. SIGTERM to the process reaches it."""


def finished(process: subprocess.Popen[str]) -> PipeRun:
    """Waits for the end of a pipe that was started."""
    with process:
        stdout, stderr = process.communicate(timeout=_SECONDS)
        return PipeRun(process.returncode, stdout, stderr)


class BinaryPipe:
    """The binary that cargo built, without a container."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    public_host = "127.0.0.1"

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    def seen(self, build_dir: Path) -> Path:
        """The same."""
        return build_dir

    def start(self, variables: Mapping[str, str], build_dir: Path) -> subprocess.Popen[str]:
        """Starts the binary."""
        return _start([str(self._binary)], {**variables, **_directories(build_dir, build_dir)}, build_dir)


class ContainerPipe:
    """The image, run by Docker with the flags of Pipelines."""

    public_host = "host.docker.internal"

    def __init__(self, image: str) -> None:
        self.image = image
        self._gateway = _gateway_of_the_bridge()
        self.hosts: tuple[str, ...] = ("127.0.0.1", self._gateway)

    def seen(self, build_dir: Path) -> Path:  # noqa: ARG002 - every build directory is mounted at the same place
        """Where Pipelines mounts it."""
        return _BUILD_DIR

    def start(self, variables: Mapping[str, str], build_dir: Path) -> subprocess.Popen[str]:
        """Starts the container; the process is Docker's client, which passes signals on."""
        ssh = build_dir.parent / "ssh"
        ssh.mkdir(exist_ok=True)
        given = {**variables, **_directories(build_dir, _BUILD_DIR)}
        docker = subprocess.run(["which", "docker"], check=True, capture_output=True, text=True).stdout.strip()
        command = [
            *("docker", "container", "run", "--rm"),
            f"--volume={build_dir}:{_BUILD_DIR}",
            f"--volume={ssh}:/opt/atlassian/pipelines/agent/ssh:ro",
            f"--volume={docker}:/usr/local/bin/docker:ro",
            f"--workdir={_BUILD_DIR}",
            "--label=org.bitbucket.pipelines.system=true",
            *(f"--env={name}" for name in given),
            f"--add-host=host.docker.internal:{self._gateway}",
            self.image,
        ]
        # The values go by the client's environment, as a name alone asks for: on the command line `ps` would show them.
        return _start(command, {**os.environ, **given}, build_dir)


def _gateway_of_the_bridge() -> str:
    """This machine's address on Docker's default network."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json (index .IPAM.Config 0)}}"]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # Docker 20.10 leaves the gateway out where it is the first address, as it is by default.
    return str(shown.get("Gateway") or next(ipaddress.ip_network(shown["Subnet"]).hosts()))


def _directories(build_dir: Path, seen: Path) -> dict[str, str]:
    (build_dir / _STORAGE).mkdir(parents=True, exist_ok=True)
    return {"BITBUCKET_CLONE_DIR": str(seen), "BITBUCKET_PIPE_STORAGE_DIR": str(seen / _STORAGE)}


def _start(command: list[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
