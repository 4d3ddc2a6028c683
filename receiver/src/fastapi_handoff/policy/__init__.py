"""From attested claims to scopes.

Here belong the policy file, its model, and the decision. Not here: how a claim came to be attested (`issuers`), and how
the decision is enforced (`auth`, `web`).
"""

from fastapi_handoff.policy.file import schema_text
from fastapi_handoff.policy.mistakes import PolicyError
from fastapi_handoff.policy.model import Decision, Grant, Policy

__all__ = ["Decision", "Grant", "Policy", "PolicyError", "schema_text"]
