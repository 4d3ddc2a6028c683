"""Step tokens: the claims that Bitbucket puts into `BITBUCKET_STEP_OIDC_TOKEN`, and ways to sign them, right and wrong.

Written from the published facts with `cryptography` alone, so that it shares no mistake with the receiver under test.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .step import Step

LIFETIME = 3600


def default_audience(workspace_uuid: str) -> str:
    """The audience of a step without `oidc: audiences:`, the same for every service the workspace talks to."""
    return f"ari:cloud:bitbucket::workspace/{workspace_uuid.strip('{}')}"


def step_claims(
    step: Step, *, issuer: str, issued_at: int, audiences: Sequence[str] | None = None, lifetime: int = LIFETIME
) -> dict[str, Any]:
    """The claims of a step's token; times in whole seconds.

    `audiences` is what the step lists under `oidc:`. A list stays a list, even of one; without a list the default audience comes as
    a string. There is no `jti`, no `nbf` and no commit, and a tag build has no `branchName`.
    """
    environment = step.environment
    subject = [step.repository.uuid, *([environment.uuid] if environment else []), step.step_uuid]
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": default_audience(step.workspace.uuid) if audiences is None else list(audiences),
        "sub": ":".join(subject),
        "iat": issued_at,
        "exp": issued_at + lifetime,
        "stepUuid": step.step_uuid,
        "pipelineUuid": step.pipeline_uuid,
        "repositoryUuid": step.repository.uuid,
        "workspaceUuid": step.workspace.uuid,
    }
    if step.branch is not None:
        claims["branchName"] = step.branch
    if environment is not None:
        claims["deploymentEnvironmentUuid"] = environment.uuid
    if step.pipeline_run_uuid is not None:
        claims["pipelineRunUuid"] = step.pipeline_run_uuid
    return claims


class SigningKey:
    """One RSA key of the identity provider; `kid` names it in a token's header and in `keys.json`."""

    def __init__(self, kid: str, bits: int = 2048) -> None:
        self.kid = kid
        self._private_key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def public_jwk(self) -> dict[str, str]:
        """The public half as `keys.json` shows it."""
        numbers = self._private_key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": _base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": _base64url(numbers.e.to_bytes(3, "big")),
        }

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """A token as Bitbucket signs it; `header` adds to the protected header or replaces members of it."""
        signing_input = _signing_input({"alg": "RS256", "typ": "JWT", "kid": self.kid, **(header or {})}, claims)
        signature = self._private_key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_base64url(signature)}"

    def sign_with_public_key_as_secret(self, claims: Mapping[str, Any]) -> str:
        """The algorithm confusion attack: HS256 with the published key, in PEM, as the shared secret."""
        pem = self._private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signing_input = _signing_input({"alg": "HS256", "typ": "JWT", "kid": self.kid}, claims)
        return f"{signing_input}.{_base64url(hmac.digest(pem, signing_input.encode(), hashlib.sha256))}"

    def leave_unsigned(self, claims: Mapping[str, Any]) -> str:
        """A token with `alg: none` and an empty signature."""
        return _signing_input({"alg": "none", "typ": "JWT", "kid": self.kid}, claims) + "."


def _signing_input(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    return ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
