"""Several scenes at once: most of a faulty run is waiting, which many can do on one machine."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

from .faulty_scene import FaultyScene
from .pipe_under_test import BinaryPipe
from .scene import SIGNING_SECRET

T = TypeVar("T")


class ScenePool:
    """Scenes of one binary, each for one piece of work at a time. In the end, every audit chain must verify."""

    def __init__(self, pipe: BinaryPipe, folder: Path, size: int) -> None:
        self._free: SimpleQueue[FaultyScene] = SimpleQueue()
        self._scenes: list[FaultyScene] = []
        with ExitStack() as stack:
            for number in range(size):
                home = folder / f"scene-{number}"
                home.mkdir(parents=True)
                self._scenes.append(stack.enter_context(FaultyScene(pipe, home, [SIGNING_SECRET])))
                self._free.put(self._scenes[-1])
            self._threads = stack.enter_context(ThreadPoolExecutor(size))
            self._stack = stack.pop_all()

    def submit(self, work: Callable[[FaultyScene], T]) -> Future[T]:
        """Does the work with a scene that is free, and reset."""

        def with_a_free_scene() -> T:
            scene = self._free.get()
            try:
                scene.reset()
                return work(scene)
            finally:
                self._free.put(scene)

        return self._threads.submit(with_a_free_scene)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        with self._stack:
            if error is None:
                for scene in self._scenes:
                    scene.verify_chain()
