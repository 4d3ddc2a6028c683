"""Waiting that a cancellation does not cut short: what is waited for may not be left alone before it has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future


async def until_done(future: Future[Any]) -> None:
    """Wait for a future's end, whatever it is. `Task.cancelling()` tells if somebody wanted to end the wait."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
