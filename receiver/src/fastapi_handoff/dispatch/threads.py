"""The threads that plain handlers run in: their own, so that slow ones keep nothing else of the app waiting."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class HandlerThreads:
    """As many threads as plain handlers may run at the same time. One object belongs to one event loop at a time."""

    def __init__(self, size: int) -> None:
        """Take the number of threads. Raises `ValueError` for less than one."""
        if size < 1:
            raise ValueError(f"`handler_threads` must be at least 1, not {size}")
        self._size = size
        self._executor: ThreadPoolExecutor | None = None
        self.free = asyncio.Semaphore(size)
        """Held from before a receipt is claimed until its handler has ended: what waits for it is not started yet."""

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in a thread, in a copy of the caller's context.

        A thread cannot be stopped: a cancellation does not end the wait for it, and nobody takes the handler for ended.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._size, thread_name_prefix="fastapi-handoff-handler")
        call = functools.partial(contextvars.copy_context().run, _outcome, function, arguments)
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        value, error = future.result()
        if error is not None:
            raise error
        return cast("Result", value)

    def close(self) -> None:
        """Let the threads go, once nothing runs in them. They come back when they are needed."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
        self._executor = None
        self.free = asyncio.Semaphore(self._size)


def _outcome(
    function: Callable[..., Result], arguments: tuple[object, ...]
) -> tuple[Result | None, BaseException | None]:
    # Returned, not raised: an asyncio future refuses a StopIteration, and whoever waits for it would wait for ever.
    try:
        return function(*arguments), None
    except BaseException as error:  # noqa: BLE001 - it is raised where the handler is waited for
        return None, error
