"""From a request to a caller.

Here belong the ways to authenticate a request, the receiver's own access tokens and their keys, and what is used up by
a request so that it cannot be sent again. Not here: what an identity provider attests (`issuers`), and what the caller
may do (`policy`).
"""

from fastapi_handoff.auth.access_token import mint
from fastapi_handoff.auth.base import Authenticator, Caller, ReplayGuard, require_scopes
from fastapi_handoff.auth.dpop import Proof
from fastapi_handoff.auth.dpop import verify as verify_proof
from fastapi_handoff.auth.dpop_authenticator import DPoPAuthenticator
from fastapi_handoff.auth.replay import bind
from fastapi_handoff.auth.signing_keys import SigningKeys

__all__ = [
    "Authenticator",
    "Caller",
    "DPoPAuthenticator",
    "Proof",
    "ReplayGuard",
    "SigningKeys",
    "bind",
    "mint",
    "require_scopes",
    "verify_proof",
]
