"""The FastAPI side of the handoff from a Bitbucket pipeline: verified identity, handlers that run once, an audit."""

from fastapi_handoff.dispatch import Rejected
from fastapi_handoff.events import DeploymentEvent
from fastapi_handoff.handoff import Handoff
from fastapi_handoff.identity import Identity
from fastapi_handoff.issuers import BitbucketStep
from fastapi_handoff.policy import Policy, PolicyError
from fastapi_handoff.web import AuditMiddleware

__all__ = [
    "AuditMiddleware",
    "BitbucketStep",
    "DeploymentEvent",
    "Handoff",
    "Identity",
    "Policy",
    "PolicyError",
    "Rejected",
]
