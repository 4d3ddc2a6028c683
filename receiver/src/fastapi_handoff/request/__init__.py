"""What the receiver knows about one request, and how it refuses one.

Here belong the sizes, the headers read once, the trace of checks, the table of refusal codes, and the context that
becomes the request's audit records. Nothing here knows what a token, an event or a policy is, and nothing answers:
`web` turns a `Refusal` into a response.
"""

from fastapi_handoff.request.checks import Checks, shown
from fastapi_handoff.request.context import RequestContext
from fastapi_handoff.request.headers import RequestHeaders, text_path, trace_id
from fastapi_handoff.request.limits import (
    ACCESS_TOKEN_LIFETIME,
    BODY_SECONDS,
    DETAIL_CHARACTERS,
    EVENT_BODY_BYTES,
    HEADER_BYTES,
    LEEWAY,
    PROOF_BYTES,
    REPLAY_MEMORY,
    SCOPE_CHARACTERS,
    TOKEN_BODY_BYTES,
    TOKEN_BYTES,
    TRACE_CHECKS,
)
from fastapi_handoff.request.refusal import CODES, RETRY_AFTER, Check, Refusal
from fastapi_handoff.request.url import normal_url, require_transport

__all__ = [
    "ACCESS_TOKEN_LIFETIME",
    "BODY_SECONDS",
    "CODES",
    "DETAIL_CHARACTERS",
    "EVENT_BODY_BYTES",
    "HEADER_BYTES",
    "LEEWAY",
    "PROOF_BYTES",
    "REPLAY_MEMORY",
    "RETRY_AFTER",
    "SCOPE_CHARACTERS",
    "TOKEN_BODY_BYTES",
    "TOKEN_BYTES",
    "TRACE_CHECKS",
    "Check",
    "Checks",
    "Refusal",
    "RequestContext",
    "RequestHeaders",
    "normal_url",
    "require_transport",
    "shown",
    "text_path",
    "trace_id",
]
