"""Who runs a handler, when, and what is told about it.

Here belong the registry of handlers, receipts and the table of their states, and the dispatcher, which alone starts
handlers. Not here: whether an event may be delivered (`web` asks `auth`, `events` and `policy` for that).
"""

from fastapi_handoff.dispatch.delivery import Delivery
from fastapi_handoff.dispatch.dispatcher import Dispatcher
from fastapi_handoff.dispatch.receipt import Receipt
from fastapi_handoff.dispatch.registry import HandlerFunction, Handlers, Rejected
from fastapi_handoff.dispatch.threads import HandlerThreads

__all__ = ["Delivery", "Dispatcher", "HandlerFunction", "HandlerThreads", "Handlers", "Receipt", "Rejected"]
