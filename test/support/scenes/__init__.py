"""The real pipe, a real receiver in a process of its own and Bitbucket's stand-in, put together for a test: a scene.

`Scene` connects them directly, `FaultyScene` over links that can misbehave, `ScenePool` keeps several. The pipe is the binary or
the container. A scene says what each side saw; what is right is the test's to say.
"""

from .docker import built_image, require_docker
from .faulty_scene import EVENT, FIRST_STATUS, INSIGHTS, LAST_STATUS, OAUTH, POLL, TOKEN, FaultyScene, Point
from .judged import judged, judged_faulty
from .pipe_under_test import ROOT, BinaryPipe, ContainerPipe, Pipe, PipeRun
from .receiver_process import ReceiverProcess
from .scene import DATABASE_PASSWORD, SIGNING_SECRET, Scene, SceneMaker, Tapped
from .scene_pool import ScenePool

__all__ = [
    "DATABASE_PASSWORD",
    "EVENT",
    "FIRST_STATUS",
    "INSIGHTS",
    "LAST_STATUS",
    "OAUTH",
    "POLL",
    "ROOT",
    "SIGNING_SECRET",
    "TOKEN",
    "BinaryPipe",
    "ContainerPipe",
    "FaultyScene",
    "Pipe",
    "PipeRun",
    "Point",
    "ReceiverProcess",
    "Scene",
    "SceneMaker",
    "ScenePool",
    "Tapped",
    "built_image",
    "judged",
    "judged_faulty",
    "require_docker",
]
