"""What holds after every test on a scene, whatever it was about: no secret anywhere, and every request to Bitbucket valid."""

from collections.abc import Iterator

from support.judges import official_openapi

from .faulty_scene import FaultyScene
from .scene import Scene


def judged(scene: Scene) -> Iterator[Scene]:
    """Yield the scene to one test, empty, and judge it after."""
    scene.reset()
    yield scene
    assert scene.leaked() == []
    if official_openapi.is_available():
        assert scene.openapi_violations() == []


def judged_faulty(scene: Scene) -> Iterator[FaultyScene]:
    """As `judged`, for a scene that is a faulty one."""
    assert isinstance(scene, FaultyScene)
    for _ in judged(scene):
        yield scene
