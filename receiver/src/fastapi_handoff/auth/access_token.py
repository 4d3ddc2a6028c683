"""The access token (RFC 9068): minting and verifying. Where its keys come from is for `signing_keys` to say."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.issuers.bitbucket import OPTIONAL_CLAIMS, REQUIRED_CLAIMS
from fastapi_handoff.jose import jws
from fastapi_handoff.request.limits import ACCESS_TOKEN_LIFETIME, LEEWAY, TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from fastapi_handoff.auth.signing_keys import SigningKey
    from fastapi_handoff.issuers.bitbucket import StepIdentity
    from fastapi_handoff.request.checks import Trace

_TEXT_CLAIMS: Final = ("sub", "jti", "scope", "grant", "policy")
_ATTESTED_CLAIMS: Final = frozenset(REQUIRED_CLAIMS + OPTIONAL_CLAIMS) - {"sub"}


@dataclass(frozen=True, slots=True)
class UnverifiedAccessToken:
    """An access token that has the right form. Nothing it says is known to be true."""

    unverified: jws.Jws
    kid: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a verified access token says. Whoever presents it has yet to prove that the key `jkt` is theirs."""

    sub: str
    jkt: str
    scopes: frozenset[str]
    grant: str
    policy: str
    attested: Mapping[str, str]
    """The attested claims under Bitbucket's own names."""


def mint(
    step: StepIdentity,
    *,
    url: str,
    jkt: str,
    scopes: tuple[str, ...],
    grant: str,
    policy: str,
    key: SigningKey,
    now: int,
) -> tuple[str, int]:
    """Make an access token for a step, bound to the key `jkt`; give it and the seconds it lives."""
    # A step token that is accepted within the leeway after its `exp` gives a token that is accepted within it too.
    expires_at = min(now + ACCESS_TOKEN_LIFETIME, step.expires_at)
    header = {"typ": "at+jwt", "alg": "ES256", "kid": key.kid}
    claims = {
        "iss": url,
        "aud": url,
        "client_id": url,
        "sub": step.sub,
        "iat": now,
        "exp": expires_at,
        "jti": secrets.token_urlsafe(16),
        "scope": " ".join(scopes),
        "cnf": {"jkt": jkt},
        "grant": grant,
        "policy": policy,
        "bitbucket": dict(step.attested),
    }
    signing_input = ".".join(jws.encode(json.dumps(part).encode()) for part in (header, claims))
    signature = jws.es256_sign(signing_input.encode("ascii"), key.private)
    return f"{signing_input}.{jws.encode(signature)}", max(expires_at - now, 0)


def parse(text: str, trace: Trace) -> UnverifiedAccessToken:
    """Read the form of an access token. Raises `Refusal`: `token-invalid`."""
    try:
        unverified = jws.parse(text, max_bytes=TOKEN_BYTES)
    except jws.MalformedJws as error:
        raise trace.refuse(
            "access token", "a JWS", "malformed", "token-invalid", f"the access token cannot be read: {error}"
        ) from None
    header = unverified.header
    if (
        header.keys() != {"typ", "alg", "kid"}
        or header["typ"] != "at+jwt"
        or header["alg"] != "ES256"
        or not isinstance(header["kid"], str)
    ):
        raise trace.refuse(
            "access token header", "at+jwt, ES256", None, "token-invalid", "this receiver did not make the access token"
        )
    return UnverifiedAccessToken(unverified, header["kid"])


def verify(
    token: UnverifiedAccessToken, key: EllipticCurvePublicKey, *, url: str, now: int, trace: Trace
) -> AccessToken:
    """Verify an access token under the key of its `kid`. Raises `Refusal`: `token-invalid` or `token-expired`."""
    if not jws.es256_verifies(token.unverified, key):
        raise trace.refuse(
            "access token signature", "ES256", "does not verify", "token-invalid", "the access token does not verify"
        )
    trace.passed("access token signature", "ES256")
    claims = token.unverified.claims
    _require_times(claims, now, trace)
    for name in ("iss", "aud", "client_id"):
        if claims.get(name) != url:
            raise trace.refuse(
                name, url, claims.get(name), "token-invalid", f"the access token's `{name}` is not this receiver"
            )
    trace.passed("aud", url)
    return _facts(claims, trace)


def require_key(token: AccessToken, jkt: str, trace: Trace) -> None:
    """Compare the key of the proof with the one the token is bound to. Raises `Refusal`: `key-mismatch`."""
    if not compare_digest(token.jkt.encode(), jkt.encode()):
        raise trace.refuse(
            "cnf.jkt", token.jkt, jkt, "key-mismatch", "the access token is bound to another key than the proof's"
        )
    trace.passed("cnf.jkt", jkt)


def _require_times(claims: dict[str, Any], now: int, trace: Trace) -> None:
    exp, iat = claims.get("exp"), claims.get("iat")
    if not jws.is_time(exp) or not jws.is_time(iat) or claims["iat"] > now + LEEWAY:
        raise trace.refuse(
            "access token times",
            f"iat ≤ {now + LEEWAY}",
            iat,
            "token-invalid",
            "the access token's times are not usable",
        )
    if now > claims["exp"] + LEEWAY:
        raise trace.refuse(
            "access token exp",
            f"≥ {now - LEEWAY}",
            exp,
            "token-expired",
            f"the access token expired at {exp}: exchange the step token again",
        )
    trace.passed("access token exp", exp, expected=f"≥ {now - LEEWAY}")


def _facts(claims: dict[str, Any], trace: Trace) -> AccessToken:
    # Signed by a receiver of this URL, but perhaps of another version: its form is not taken for granted.
    cnf, attested = claims.get("cnf"), claims.get("bitbucket")
    if (
        all(isinstance(claims.get(name), str) for name in _TEXT_CLAIMS)
        and isinstance(cnf, dict)
        and isinstance(cnf.get("jkt"), str)
        and isinstance(attested, dict)
        and attested.keys() <= _ATTESTED_CLAIMS
        and attested.keys() >= _ATTESTED_CLAIMS - set(OPTIONAL_CLAIMS)
        and all(isinstance(value, str) for value in attested.values())
    ):
        return AccessToken(
            sub=claims["sub"],
            jkt=cnf["jkt"],
            scopes=frozenset(claims["scope"].split()),
            grant=claims["grant"],
            policy=claims["policy"],
            attested=attested,
        )
    raise trace.refuse(
        "access token claims", "those of RFC 9068", None, "token-invalid", "the access token lacks a claim"
    )
