"""The headers, the trace id and the path of a request, read before anything in it is trusted."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from fastapi_handoff.request.limits import HEADER_BYTES
from fastapi_handoff.request.refusal import Refusal

if TYPE_CHECKING:
    from starlette.types import Scope

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_TRACE_ID_KEY: Final = "fastapi_handoff.trace_id"
_ONCE: Final = {
    "authorization": "token-invalid",
    "handoff-authorization": "token-invalid",
    "dpop": "proof-invalid",
    "content-digest": "digest-mismatch",
    "webhook-id": "event-malformed",
    "webhook-timestamp": "timestamp-out-of-window",
    "webhook-signature": "signature-invalid",
}
"""Headers that a request may have once, and the code of one that has two: a proxy might have looked at the other."""


class RequestHeaders:
    """The headers of a request, as text. Raises `Refusal`: `payload-too-large` for one that is too long."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            if len(value) > HEADER_BYTES:
                raise Refusal("payload-too-large", f"a header's value is longer than {HEADER_BYTES} bytes")
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def one(self, name: str, code: str | None = None) -> str | None:
        """Return the value of a header, `None` if absent. A second one is refused with `code`, or the header's own."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise Refusal(code or _ONCE[name], f"the request has two `{name}` headers")
        return values[0]

    def media_type(self, code: str) -> str | None:
        """Return the media type of the body, without parameters and in lower case."""
        value = self.one("content-type", code)
        return None if value is None else value.partition(";")[0].strip().lower()


def trace_id(scope: Scope) -> str:
    """Return the trace id of the `traceparent` header (W3C), or a new one where there is no valid one.

    The scope keeps it, so that all records of one request have the same.
    """
    if _TRACE_ID_KEY not in scope:
        scope[_TRACE_ID_KEY] = _sent_trace_id(scope) or secrets.token_hex(16)
    kept: str = scope[_TRACE_ID_KEY]
    return kept


def _sent_trace_id(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(values[0].decode("latin-1")) if len(values) == 1 else None
    if match is None or match[0].startswith("ff") or not match[1].strip("0") or not match[2].strip("0"):
        return None
    return match[1]


def text_path(scope: Scope) -> str:
    """Return the path of the request as it was sent, percent signs and all, without the query.

    A prefix that a proxy cut is put back; what a mount took from the path is in it anyway.
    """
    raw: bytes | None = scope.get("raw_path")
    sent = raw.partition(b"?")[0].decode("latin-1") if raw is not None else str(scope["path"])
    return sent if _has_root(scope) else _root(scope) + sent


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", "")).rstrip("/")


def _has_root(scope: Scope) -> bool:
    # Both are decoded, the path as it was sent is not. With the slash: `/apis` is not below `/api`.
    return f"{scope['path']}/".startswith(f"{_root(scope)}/")
