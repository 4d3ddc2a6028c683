"""The step token: from untrusted text to the identity of a step, one check after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.jose import jws
from fastapi_handoff.request.limits import LEEWAY, REPLAY_MEMORY, TOKEN_BYTES
from fastapi_handoff.request.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from fastapi_handoff.request.checks import Trace

REQUIRED_CLAIMS: Final = ("sub", "workspaceUuid", "repositoryUuid", "pipelineUuid", "stepUuid")
OPTIONAL_CLAIMS: Final = ("branchName", "deploymentEnvironmentUuid", "pipelineRunUuid")
_FORBIDDEN_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})


@dataclass(frozen=True, slots=True)
class UnverifiedStepToken:
    """A step token that has the right form. Nothing it says is known to be true."""

    unverified: jws.Jws
    kid: str
    alg: str

    @property
    def unverified_issuer(self) -> object:
        """The `iss` it claims, to be compared with the configured one and for nothing else."""
        return self.unverified.claims.get("iss")


@dataclass(frozen=True, slots=True)
class StepIdentity:
    """What Bitbucket's identity provider attests about a step."""

    sub: str
    attested: Mapping[str, str]
    """The attested claims under Bitbucket's own names; an absent claim is absent here."""
    issuer: str
    signing_input_sha256: str = field(repr=False)
    """What a binding is made on: never the whole text, whose signature part could be spelled in two ways."""
    expires_at: int
    """The token's `exp`, unix seconds."""

    @property
    def remember_until(self) -> int:
        """Unix seconds until which the token's binding must be remembered."""
        return self.expires_at + REPLAY_MEMORY


def parse(text: str) -> UnverifiedStepToken:
    """Read the form of a step token. Raises `Refusal`: `step-token-malformed`."""
    try:
        unverified = jws.parse(text, max_bytes=TOKEN_BYTES)
    except jws.MalformedJws as error:
        raise Refusal("step-token-malformed", f"the step token cannot be read: {error}") from None
    header, claims = unverified.header, unverified.claims
    for name in sorted(_FORBIDDEN_HEADERS & header.keys()):
        # Each names a key of the sender's choice, or changes what is signed.
        raise Refusal("step-token-malformed", f"the step token's header has `{name}`, which no step token has")
    for name in ("alg", "kid"):
        if not isinstance(header.get(name), str) or not header[name]:
            raise Refusal("step-token-malformed", f"the step token's header has no `{name}`, or one that is not text")
    for name in ("exp", "iat", "nbf"):
        if name in claims and not jws.is_time(claims[name]):
            raise Refusal("step-token-malformed", f"the step token's `{name}` is not whole seconds since 1970")
    audience = claims.get("aud", [])
    if not isinstance(audience, str) and not (
        isinstance(audience, list) and all(isinstance(entry, str) for entry in audience)
    ):
        raise Refusal("step-token-malformed", "the step token's `aud` is neither text nor a list of text")
    return UnverifiedStepToken(unverified, header["kid"], header["alg"])


def require_issuer(token: UnverifiedStepToken, issuer: str) -> None:
    """Compare the claimed issuer with the configured one. Raises `Refusal`: `issuer-unknown`.

    The text names neither: the issuer's URL holds the workspace of the policy, and nobody is authenticated yet.
    """
    if token.unverified_issuer != issuer:
        raise Refusal("issuer-unknown", "the step token's `iss` is not the issuer this receiver trusts")


def require_algorithm(token: UnverifiedStepToken) -> None:
    """Pin RS256. Raises `Refusal`: `step-token-signature-invalid`.

    The algorithm is ours to say, not the token's: `none`, and HS256 with the public key as the secret, end here.
    """
    if token.alg != "RS256":
        raise Refusal("step-token-signature-invalid", "the step token is not signed with `RS256`")


def verify(
    token: UnverifiedStepToken,
    key: RSAPublicKey,
    *,
    issuer: str,
    workspace_uuid: str,
    audience: str,
    now: int,
    trace: Trace,
) -> StepIdentity:
    """Verify a token whose issuer and algorithm were compared, under the issuer's key. `now` is unix seconds."""
    if not jws.rs256_verifies(token.unverified, key):
        raise Refusal("step-token-signature-invalid", "the step token is not signed by the issuer's key of that `kid`")
    trace.passed("signature", "RS256")
    trace.passed("iss", issuer)
    claims = token.unverified.claims
    _require_times(claims, now, trace)
    _require_audience(claims, audience, trace)
    attested = _attested(claims, trace)
    if attested["workspaceUuid"] != workspace_uuid:
        # A workspace's slug can be given up and taken by another workspace; its UUID cannot.
        raise trace.refuse(
            "workspaceUuid",
            workspace_uuid,
            attested["workspaceUuid"],
            "issuer-unknown",
            "the step token comes from another workspace than the policy's",
        )
    trace.passed("workspaceUuid", workspace_uuid)
    trace.disclosed = True
    digest = sha256(token.unverified.signing_input).hexdigest()
    sub = attested.pop("sub")
    return StepIdentity(sub, attested, issuer, digest, claims["exp"])


def _require_times(claims: dict[str, Any], now: int, trace: Trace) -> None:
    for name in ("exp", "iat"):
        if name not in claims:
            raise trace.refuse(name, "present", None, "claims-missing", f"the step token has no `{name}`")
    if now > claims["exp"] + LEEWAY:
        raise trace.refuse(
            "exp",
            f"≥ {now - LEEWAY}",
            claims["exp"],
            "step-token-expired",
            f"the step token expired at {claims['exp']}",
        )
    trace.passed("exp", claims["exp"], expected=f"≥ {now - LEEWAY}")
    for name in ("iat", "nbf"):
        if name in claims and claims[name] > now + LEEWAY:
            raise trace.refuse(
                name,
                f"≤ {now + LEEWAY}",
                claims[name],
                "step-token-not-yet-valid",
                f"the step token's `{name}` is in the future: compare the clocks",
            )


def _require_audience(claims: dict[str, Any], audience: str, trace: Trace) -> None:
    aud = claims.get("aud")
    audiences = [aud] if isinstance(aud, str) else aud or []
    if audience not in audiences:
        raise trace.refuse(
            "aud",
            audience,
            " ".join(audiences) or None,
            "audience-mismatch",
            f"the step token is not meant for `{audience}`: add it to the step's `oidc: audiences`",
        )
    trace.passed("aud", audience)


def _attested(claims: dict[str, Any], trace: Trace) -> dict[str, str]:
    attested = {}
    for name in REQUIRED_CLAIMS + OPTIONAL_CLAIMS:
        value = claims.get(name)
        if name in OPTIONAL_CLAIMS and (value is None or value == ""):
            continue
        if not isinstance(value, str) or not value:
            raise trace.refuse(
                name, "text", value, "claims-missing", f"the step token has no `{name}`, or one that is not text"
            )
        attested[name] = value
    return attested
