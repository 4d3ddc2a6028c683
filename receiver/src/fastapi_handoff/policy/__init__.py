"""From attested claims to scopes.

Here belong the policy file, its model, its tests, and the decision. What reviewers need beside are rooms within: the
comparison of two policies (`compare`), the leaks that a text shows (`lint`), and the reports (`review`). Not here: how
a claim came to be attested (`issuers`), and how the decision is enforced (`auth`, `web`).
"""

from fastapi_handoff.policy.attested import claims_from, issuer_at, issuer_named, known_claims
from fastapi_handoff.policy.file import FILE_BYTES, schema_text
from fastapi_handoff.policy.mistakes import PolicyError
from fastapi_handoff.policy.model import Decision, Grant, Policy, read_file
from fastapi_handoff.policy.start import LintLevel, require_clean

__all__ = [
    "FILE_BYTES",
    "Decision",
    "Grant",
    "LintLevel",
    "Policy",
    "PolicyError",
    "claims_from",
    "issuer_at",
    "issuer_named",
    "known_claims",
    "read_file",
    "require_clean",
    "schema_text",
]
