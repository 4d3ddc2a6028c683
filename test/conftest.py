"""The stages of the end-to-end tests: one for each way to run the pipe and each kind of receiver, kept for the whole session."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import official_openapi
from faulty_scene import FaultyScene
from pipe_under_test import ROOT, BinaryPipe, ContainerPipe, Pipe
from scene import SIGNING_SECRET, Scene

SceneMaker = Callable[[str, str], Scene]


def require_docker(*programs: str) -> None:
    """Skips the test where no engine answers, or one of the `programs` is missing; fails it where REQUIRE_DOCKER is 1."""
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


def _container() -> Pipe:
    require_docker()
    built = subprocess.run([ROOT / "test/container/image.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return ContainerPipe(built.stdout.strip())


def _binary() -> BinaryPipe:
    return BinaryPipe(Path(os.environ.get("PIPE", "target/debug/fastapi-handoff")).resolve())


@pytest.fixture(scope="session")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SceneMaker]:
    """Makes a scene on first use, and verifies its audit chain at the end.

    `pipe` is `binary` or `container`; `receiver` is `plain`, `signed`, or `faulty`: signed, behind links that can misbehave.
    """
    pipes: dict[str, Pipe] = {}
    scenes: dict[tuple[str, str], Scene] = {}
    with ExitStack() as stack:

        def make(pipe: str, receiver: str) -> Scene:
            if pipe not in pipes:
                pipes[pipe] = _container() if pipe == "container" else _binary()
            if (pipe, receiver) not in scenes:
                secrets = [] if receiver == "plain" else [SIGNING_SECRET]
                folder = tmp_path_factory.mktemp(f"{pipe}-{receiver}")
                kind = FaultyScene if receiver == "faulty" else Scene
                scenes[pipe, receiver] = stack.enter_context(kind(pipes[pipe], folder, secrets))
            return scenes[pipe, receiver]

        yield make
        for scene in scenes.values():
            verified = scene.audit_verify()
            assert verified.returncode == 0, verified.stdout


@pytest.fixture(scope="session")
def binary_pipe() -> BinaryPipe:
    """The binary, for a scene that is none of the session's."""
    return _binary()


@pytest.fixture
def build_dir(tmp_path: Path) -> Path:
    """The step's clone directory."""
    folder = tmp_path / "build"
    folder.mkdir()
    return folder


def _judged(scene: Scene) -> Iterator[Scene]:
    scene.reset()
    yield scene
    assert scene.leaked() == []
    if official_openapi.is_available():
        assert scene.openapi_violations() == []


@pytest.fixture(params=["binary", "container"])
def scene(request: pytest.FixtureRequest, make_scene: SceneMaker) -> Iterator[Scene]:
    """A receiver without secrets. After the test: no secret anywhere, and every request to Bitbucket valid."""
    yield from _judged(make_scene(request.param, "plain"))


@pytest.fixture(params=["binary", "container"])
def signed_scene(request: pytest.FixtureRequest, make_scene: SceneMaker) -> Iterator[Scene]:
    """A receiver that demands the signature; judged like `scene`."""
    yield from _judged(make_scene(request.param, "signed"))


@pytest.fixture
def faulty_scene(make_scene: SceneMaker) -> Iterator[FaultyScene]:
    """The binary behind links that can misbehave; judged like `scene`."""
    yield from judged_faulty(make_scene("binary", "faulty"))


@pytest.fixture
def faulty_container(make_scene: SceneMaker) -> Iterator[FaultyScene]:
    """As `faulty_scene`, with the container."""
    yield from judged_faulty(make_scene("container", "faulty"))


def judged_faulty(scene: Scene) -> Iterator[FaultyScene]:
    """Gives the scene to one test, and judges it after."""
    assert isinstance(scene, FaultyScene)
    for _ in _judged(scene):
        yield scene
