"""Who runs a handler, when, and what is told about it.

Here belong the registry of handlers, receipts and their states, and the dispatcher, which alone starts handlers. Not
here: whether an event may be delivered (`web` asks `auth`, `events` and `policy` for that).
"""

from fastapi_handoff.dispatch.delivery import Delivery
from fastapi_handoff.dispatch.dispatcher import Dispatcher
from fastapi_handoff.dispatch.receipts import Receipt
from fastapi_handoff.dispatch.registry import HandlerFunction, Handlers, Rejected

__all__ = ["Delivery", "Dispatcher", "HandlerFunction", "Handlers", "Receipt", "Rejected"]
