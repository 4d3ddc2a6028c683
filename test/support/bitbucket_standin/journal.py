"""A record of every request that the stand-in got, and the faults that a test asked for."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass
class RecordedRequest:
    """One request as it came in; `target` is the request line's, `headers` are without credentials, `status` the answer's."""

    listener: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    authorization_scheme: str | None
    status: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For the control API."""
        return {**vars(self), "body": self.body.decode("utf-8", "replace")}


@dataclass
class Fault:
    """Spoils the next `times` requests whose listener and target match: waits `delay` seconds, then answers `status` if given."""

    times: int = 1
    status: int | None = None
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    listener: str | None = None
    method: str | None = None
    target: str = ""

    def takes(self, request: RecordedRequest) -> bool:
        """Whether this request is one to spoil; counts it if so."""
        if self.times < 1 or self.listener not in {None, request.listener} or self.method not in {None, request.method}:
            return False
        if not re.search(self.target, request.target):
            return False
        self.times -= 1
        return True


@dataclass
class Journal:
    """What came in, oldest first, and the faults still to come."""

    requests: list[RecordedRequest] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets requests and faults."""
        self.requests.clear()
        self.faults.clear()


class Recorder:
    """The outermost layer of a listener: reads the whole request, writes it down, spoils it where a fault says so."""

    def __init__(self, app: ASGIApp, journal: Journal, listener: str) -> None:
        self._app = app
        self._journal = journal
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"].startswith("/_standin/"):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        request = _recorded(self._listener, scope, body)
        self._journal.requests.append(request)

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        fault = next((fault for fault in self._journal.faults if fault.takes(request)), None)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.status is not None:
                error = {"type": "error", "error": {"message": f"The stand-in was asked to answer {fault.status}."}}
                await JSONResponse(error, fault.status, dict(fault.headers))(scope, receive, note_status)
                return
        await self._app(scope, _replay(body, receive), note_status)


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def _recorded(listener: str, scope: Scope, body: bytes) -> RecordedRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    scheme = headers.get("authorization", "").partition(" ")[0] or None
    return RecordedRequest(
        listener=listener,
        method=scope["method"],
        target=scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        headers={name: value for name, value in headers.items() if name not in _CREDENTIAL_HEADERS},
        body=_without_secret(headers, body),
        authorization_scheme=scheme,
    )


def _without_secret(headers: Mapping[str, str], body: bytes) -> bytes:
    """A client that puts its secret into the form instead of the header must not leave it in the record."""
    if "form-urlencoded" not in headers.get("content-type", ""):
        return body
    form = parse_qs(body.decode("latin-1"), keep_blank_values=True)
    if "client_secret" not in form:
        return body
    return urlencode({**form, "client_secret": "redacted"}, doseq=True).encode()
