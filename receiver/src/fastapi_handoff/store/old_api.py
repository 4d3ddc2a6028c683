"""The old methods of `Store`, for callers that have not moved yet."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi_handoff.store.workers import Workers


class _Connection:
    """Does each call as a job of its own."""

    def __init__(self, do: Callable[[Callable[..., Any]], Any]) -> None:
        self._do = do

    async def run_sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._do(lambda connection: function(connection, *arguments))

    async def execute(self, *arguments: Any) -> Any:
        return await self._do(lambda connection: connection.execute(*arguments).freeze()())

    async def scalar(self, *arguments: Any) -> Any:
        return await self._do(lambda connection: connection.scalar(*arguments))


class OldApi:
    """`reading`, `transaction` and `stop_writing`."""

    _readers: Workers
    _writer: Workers

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """Read; each statement is a job."""
        yield _Connection(self._readers.do)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Write; each `run_sync` is a transaction."""
        yield _Connection(lambda job: self._writer.do(job, urgent=True))

    async def stop_writing(self) -> None:
        """End what is written, and refuse what waits."""
        await self._writer.stop()
