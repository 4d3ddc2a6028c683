"""Waiting that a cancellation does not cut short: what is waited for may not be left alone before it has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future


async def until_done(future: Future[Any]) -> asyncio.CancelledError | None:
    """Wait for a future's end, whatever it is. Return the last cancellation that wanted to end the wait, to raise."""
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
