"""The container, run by `pipeline-runner`: a public program that runs a `bitbucket-pipelines.yml` on one's own machine.

It has no pipe reach a server on this machine by `host.docker.internal`, so receiver and Bitbucket are under TLS at an address.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.bitbucket_standin import braced_uuid
from support.links import Authority
from support.scenes import (
    ROOT,
    SIGNING_SECRET,
    ContainerPipe,
    FaultyScene,
    SceneMaker,
    built_image,
    judged_faulty,
    require_docker,
)

HERE = ROOT / "test/local_runner"
VENV = ROOT / "build/local-runner"
# The runner has this name built in, and Pipelines' registry is out of reach.
PAUSE_IMAGE = "k8s-docker.packages.atlassian.com/pause:3.8"


class LocalRunner(ContainerPipe):
    """The image, in the hands of `pipeline-runner`. Its exit code is always 0: what it says at the end counts."""

    def __init__(self, image: str, runner_image: str, folder: Path) -> None:
        super().__init__(image)
        self.public_host = self.hosts[-1]
        self._runner_image = runner_image
        self._data = folder / "data"
        self._archive = folder / "pipe.tar"
        subprocess.run(["docker", "save", "fastapi-handoff:latest", "--output", self._archive], check=True)

    def start(self, variables: Mapping[str, str], build_dir: Path) -> subprocess.Popen[str]:
        """Makes the build directory the repository of a pipeline, and runs that."""
        pipeline = (HERE / "bitbucket-pipelines.yml").read_text().replace("$RUNNER_IMAGE", self._runner_image)
        (build_dir / "bitbucket-pipelines.yml").write_text(pipeline)
        given = build_dir.with_suffix(".env")
        given.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
        git = ["git", "-c", "user.name=a developer", "-c", "user.email=dev@acme.dev"]
        for command in (["init", "--quiet", "--initial-branch=main"], ["commit", "--quiet", "--allow-empty", "-mx"]):
            subprocess.run([*git, *command], cwd=build_dir, check=True)
        runner = [str(VENV / "bin/python"), str(HERE / "unprivileged.py"), "run", "custom.deploy", "--no-color"]
        return subprocess.Popen(
            [*runner, f"--env-file={given}", f"--volume={self._archive}:/pipe.tar:ro"],
            cwd=build_dir,
            env={**os.environ, "XDG_DATA_HOME": str(self._data), "XDG_CACHE_HOME": str(self._data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def runner_image() -> Iterator[str]:
    """The image that the runner needs, under the built-in name, too."""
    require_docker("debootstrap")
    locked = HERE / "requirements.lock"
    installed = VENV / "installed.lock"
    if not installed.exists() or installed.read_bytes() != locked.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*pip, "-r", str(locked)], check=True)
        installed.write_bytes(locked.read_bytes())
    image = built_image(HERE / "image.sh")
    subprocess.run(["docker", "tag", image, PAUSE_IMAGE], check=True)
    yield image
    subprocess.run(["docker", "rmi", PAUSE_IMAGE], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stage(
    make_scene: SceneMaker, runner_image: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyScene]:
    container = make_scene("container", "plain").pipe
    assert isinstance(container, ContainerPipe)
    runner = LocalRunner(container.image, runner_image, tmp_path_factory.mktemp("runner"))
    tls = authority.server(runner.public_host)
    folder = tmp_path_factory.mktemp("local-runner")
    with FaultyScene(runner, folder, [SIGNING_SECRET], tls={"receiver": tls, "api": tls}) as scene:
        yield scene


@pytest.fixture
def scene(stage: FaultyScene) -> Iterator[FaultyScene]:
    yield from judged_faulty(stage)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A folder of a name of its own: the runner names its containers and volumes after it."""
    folder = tmp_path / f"handoff-{braced_uuid()[1:9]}"
    folder.mkdir()
    yield folder
    listed = ["docker", "volume", "ls", "--quiet", f"--filter=name={folder.name}"]
    volumes = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    if volumes:
        subprocess.run(["docker", "volume", "rm", *volumes], check=True, capture_output=True)


def test_a_pipeline_hands_over(scene: FaultyScene, authority: Authority, repository: Path) -> None:
    step = scene.step()
    variables = scene.variables(step, CA_CERTIFICATE=authority.pem.replace("\n", "\\n"))
    run = scene.run(variables, repository)
    assert "Pipeline 'custom.deploy': Successful" in run.text, run.text
    assert "✔ event     evt_" in run.text
    assert len(scene.handler_runs()) == 1
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]


def test_a_refused_pipeline_fails_its_step(scene: FaultyScene, authority: Authority, repository: Path) -> None:
    step = scene.step(branch="feature/x")
    variables = scene.variables(step, CA_CERTIFICATE=authority.pem.replace("\n", "\\n"))
    run = scene.run(variables, repository)
    assert "Pipeline 'custom.deploy': Failed" in run.text, run.text
    assert "exit code: 4" in run.text
    assert "refused by the receiver: no-grant-matches" in run.text
    assert scene.states(step) == [["INPROGRESS", "FAILED"]]
