"""From attested claims to scopes.

Here belong the policy file, its model, and the decision; and what reviewers need: the tests in the file, the
comparison of two policies, the lint, and their reports. Not here: how a claim came to be attested (`issuers`), and how
the decision is enforced (`auth`, `web`).
"""

from fastapi_handoff.policy.file import schema_text
from fastapi_handoff.policy.mistakes import PolicyError
from fastapi_handoff.policy.model import Decision, Grant, Policy, read_file
from fastapi_handoff.policy.start import LintLevel, require_clean

__all__ = [
    "Decision",
    "Grant",
    "LintLevel",
    "Policy",
    "PolicyError",
    "read_file",
    "require_clean",
    "schema_text",
]
