"""What FastAPI sees.

Here belong the routes and their endpoints, the OpenAPI page, health, the middleware, the dependency, and how a refusal
is rendered. Not here: any check of a token, an event or a policy; an endpoint calls the rooms below for those, and
reads as those calls.
"""

from fastapi_handoff.web.dependency import SCHEME_NAME, IdentityDependency
from fastapi_handoff.web.event_endpoint import EventEndpoint
from fastapi_handoff.web.health import Health
from fastapi_handoff.web.middleware import AuditMiddleware
from fastapi_handoff.web.recorder import Recorder
from fastapi_handoff.web.routes import build
from fastapi_handoff.web.token_endpoint import TokenEndpoint

__all__ = [
    "SCHEME_NAME",
    "AuditMiddleware",
    "EventEndpoint",
    "Health",
    "IdentityDependency",
    "Recorder",
    "TokenEndpoint",
    "build",
]
