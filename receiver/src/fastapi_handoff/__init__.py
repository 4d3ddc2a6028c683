"""The FastAPI side of the handoff from a Bitbucket pipeline: verified identity, handlers that run once, an audit."""

from fastapi_handoff.dispatch.registry import Rejected
from fastapi_handoff.events.cdevents import DeploymentEvent
from fastapi_handoff.handoff import Handoff
from fastapi_handoff.identity import Identity
from fastapi_handoff.policy.model import Policy, PolicyError
from fastapi_handoff.web.middleware import AuditMiddleware

__all__ = ["AuditMiddleware", "DeploymentEvent", "Handoff", "Identity", "Policy", "PolicyError", "Rejected"]
