"""The stages of the end-to-end tests: one for each way to run the pipe and each kind of receiver, kept for the whole session."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.scenes import (
    ROOT,
    SIGNING_SECRET,
    BinaryPipe,
    ContainerPipe,
    FaultyScene,
    Pipe,
    Scene,
    SceneMaker,
    built_image,
    judged,
    judged_faulty,
    require_docker,
)


def _container() -> Pipe:
    require_docker()
    return ContainerPipe(built_image(ROOT / "test/container/image.sh"))


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
            scene.verify_chain()


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


@pytest.fixture(params=["binary", "container"])
def scene(request: pytest.FixtureRequest, make_scene: SceneMaker) -> Iterator[Scene]:
    """A receiver without secrets. After the test: no secret anywhere, and every request to Bitbucket valid."""
    yield from judged(make_scene(request.param, "plain"))


@pytest.fixture(params=["binary", "container"])
def signed_scene(request: pytest.FixtureRequest, make_scene: SceneMaker) -> Iterator[Scene]:
    """A receiver that demands the signature; judged like `scene`."""
    yield from judged(make_scene(request.param, "signed"))


@pytest.fixture
def faulty_scene(make_scene: SceneMaker) -> Iterator[FaultyScene]:
    """The binary behind links that can misbehave; judged like `scene`."""
    yield from judged_faulty(make_scene("binary", "faulty"))


@pytest.fixture
def faulty_container(make_scene: SceneMaker) -> Iterator[FaultyScene]:
    """As `faulty_scene`, with the container."""
    yield from judged_faulty(make_scene("container", "faulty"))
