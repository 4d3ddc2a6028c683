"""Reading a body: its size and its time are limited while it comes, before anything of it is parsed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from fastapi_handoff.request import BODY_SECONDS, Refusal

if TYPE_CHECKING:
    from fastapi import Request


async def read_body(request: Request, limit: int, code: str) -> bytes:
    """Read a body of at most `limit` bytes, however it is sent.

    Raises `Refusal`: `payload-too-large`; `body-timeout` for one that does not come to its end in `BODY_SECONDS`, for a
    client that sends half of one and waits must not be held for ever; `code` for one whose sender went away.
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= limit):
        raise Refusal("payload-too-large", f"the body is longer than {limit} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                # Counted as it comes: a chunked body does not say its length, and one that does may lie.
                if len(body) > limit:
                    raise Refusal("payload-too-large", f"the body is longer than {limit} bytes")
    except TimeoutError:
        detail = f"the body did not come to its end within {BODY_SECONDS} s"
        raise Refusal("body-timeout", detail, close=True) from None
    except ClientDisconnect:
        # Nobody reads this answer, but the record of the refusal has it.
        raise Refusal(code, "the body ended before it was complete") from None
    return bytes(body)
