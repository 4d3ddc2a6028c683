"""Reading a body: its size is limited while it comes, before anything of it is parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from fastapi_handoff.request import Refusal

if TYPE_CHECKING:
    from fastapi import Request


async def read_body(request: Request, limit: int, code: str) -> bytes:
    """Read a body of at most `limit` bytes, however it is sent. Raises `Refusal`: `payload-too-large`.

    `code` is for a body whose sender went away in the middle; nobody will read that answer.
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= limit):
        raise Refusal("payload-too-large", f"the body is longer than {limit} bytes")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            # Counted as it comes: a chunked body does not say its length, and one that does may lie.
            if len(body) > limit:
                raise Refusal("payload-too-large", f"the body is longer than {limit} bytes")
    except ClientDisconnect:
        raise Refusal(code, "the body ended before it was complete") from None
    return bytes(body)
