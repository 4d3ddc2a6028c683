"""The FastAPI side of the handoff from a Bitbucket pipeline: verified identity, handlers that run once, an audit."""

from fastapi_handoff.events import DeploymentEvent
from fastapi_handoff.handlers import Rejected
from fastapi_handoff.handoff import Handoff
from fastapi_handoff.identity import Identity
from fastapi_handoff.middleware import AuditMiddleware
from fastapi_handoff.policy import Policy, PolicyError

__all__ = ["AuditMiddleware", "DeploymentEvent", "Handoff", "Identity", "Policy", "PolicyError", "Rejected"]
