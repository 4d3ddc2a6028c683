"""What the receiver knows about one request, and how it refuses one.

Here belong the sizes, the headers read once, the trace of checks, the table of refusal codes, and the context that
becomes the request's audit records. Nothing here knows what a token, an event or a policy is, and nothing answers:
`web` turns a `Refusal` into a response.
"""

from fastapi_handoff.request.checks import Checks, shown
from fastapi_handoff.request.context import RequestContext
from fastapi_handoff.request.headers import RequestHeaders, text_path, trace_id
from fastapi_handoff.request.refusal import CODES, Check, Refusal

__all__ = [
    "CODES",
    "Check",
    "Checks",
    "Refusal",
    "RequestContext",
    "RequestHeaders",
    "shown",
    "text_path",
    "trace_id",
]
