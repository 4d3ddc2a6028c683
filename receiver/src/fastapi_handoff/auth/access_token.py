"""The access token (RFC 9068): minted by one receiver of a URL, verified by all of them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.issuers import KINDS
from fastapi_handoff.jose import Jws, MalformedJws, encode, is_time, sign, verifies
from fastapi_handoff.jose import parse as parse_jws
from fastapi_handoff.request import ACCESS_TOKEN_LIFETIME, LEEWAY, TOKEN_BYTES, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.auth.signing_keys import SigningKey
    from fastapi_handoff.issuers import Attested
    from fastapi_handoff.jose import ECKey
    from fastapi_handoff.request import Checks

_TEXT_CLAIMS: Final = ("sub", "jti", "scope", "grant", "policy", "source")


@dataclass(frozen=True, slots=True)
class UnverifiedAccessToken:
    """An access token that has the right form. Nothing it says is known to be true."""

    unverified: Jws
    kid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a verified access token says. Whoever presents it has yet to prove that the key `jkt` is theirs."""

    issuer: str
    """The name of the issuer in the policy the token was made under."""
    issuer_url: str
    """The issuer's `iss`."""
    kind: str
    subject: str
    source: str
    """The attested id of where the caller's events come from."""
    is_for_default_audience: bool
    """Whether the subject token was meant for all services of its tenant."""
    claims: Mapping[str, str]
    """What the issuer attested, by our names."""
    jkt: str
    scopes: frozenset[str]
    grant: str
    policy: str


def mint(
    attested: Attested,
    *,
    url: str,
    jkt: str,
    scopes: tuple[str, ...],
    grant: str,
    policy: str,
    key: SigningKey,
    now: int,
) -> tuple[str, int]:
    """Return an access token for a caller, bound to the key with thumbprint `jkt`, and the seconds it lives.

    `url` is the receiver's, `now` unix seconds. Raises `Refusal`: `payload-too-large`, for claims of a subject token so
    long that no receiver would read the access token.
    """
    # A subject token that is accepted within the leeway after its `exp` yields a token that is accepted within it too.
    expires_at = min(now + ACCESS_TOKEN_LIFETIME, attested.expires_at)
    header = {"typ": "at+jwt", "alg": "ES256", "kid": key.kid}
    claims: dict[str, Any] = {
        "iss": url,
        "aud": url,
        "client_id": url,
        "sub": attested.subject,
        "iat": now,
        "exp": expires_at,
        "jti": secrets.token_urlsafe(16),
        "scope": " ".join(scopes),
        "cnf": {"jkt": jkt},
        "grant": grant,
        "policy": policy,
        "issuer": {"name": attested.issuer.name, "iss": attested.issuer.url, "kind": attested.issuer.kind},
        "source": attested.source,
        "attested": dict(attested.claims),
    }
    if attested.is_for_default_audience:
        claims["default_audience"] = True
    signing_input = ".".join(encode(json.dumps(part, ensure_ascii=False).encode()) for part in (header, claims))
    signature = sign(signing_input.encode("ascii"), key.private)
    token = f"{signing_input}.{encode(signature)}"
    if len(token) > TOKEN_BYTES:
        detail = f"what the issuer attests makes an access token of more than {TOKEN_BYTES} bytes"
        raise Refusal("payload-too-large", detail)
    return token, max(expires_at - now, 0)


def parse(text: str, checks: Checks) -> UnverifiedAccessToken:
    """Read the form of an access token. Raises `Refusal`: `token-invalid`."""
    try:
        unverified = parse_jws(text, max_bytes=TOKEN_BYTES)
    except MalformedJws as error:
        raise checks.refuse(
            "access token", "a JWS", "malformed", "token-invalid", f"the access token cannot be read: {error}"
        ) from None
    header = unverified.header
    if (
        header.keys() != {"typ", "alg", "kid"}
        or header["typ"] != "at+jwt"
        or header["alg"] != "ES256"
        or not isinstance(header["kid"], str)
    ):
        raise checks.refuse(
            "access token header", "at+jwt, ES256", None, "token-invalid", "this receiver did not make the access token"
        )
    return UnverifiedAccessToken(unverified, header["kid"])


def verify(token: UnverifiedAccessToken, key: ECKey, *, url: str, now: int, checks: Checks) -> AccessToken:
    """Verify an access token under the key of its `kid`. Raises `Refusal`: `token-invalid` or `token-expired`."""
    if not verifies(token.unverified, key, "ES256"):
        raise checks.refuse(
            "access token signature", "ES256", "does not verify", "token-invalid", "the access token does not verify"
        )
    checks.passed("access token signature", "ES256")
    claims = token.unverified.claims
    _require_times(claims, now, checks)
    for name in ("iss", "aud", "client_id"):
        if claims.get(name) != url:
            raise checks.refuse(
                name, url, claims.get(name), "token-invalid", f"the access token's `{name}` is not this receiver"
            )
    checks.passed("aud", url)
    return _facts(claims, checks)


def require_key(token: AccessToken, jkt: str, checks: Checks) -> None:
    """Compare the key of the proof with the one the token is bound to. Raises `Refusal`: `key-mismatch`."""
    if not compare_digest(token.jkt.encode(), jkt.encode()):
        raise checks.refuse(
            "cnf.jkt", token.jkt, jkt, "key-mismatch", "the access token is bound to another key than the proof's"
        )
    checks.passed("cnf.jkt", jkt)


def _require_times(claims: dict[str, Any], now: int, checks: Checks) -> None:
    exp, iat = claims.get("exp"), claims.get("iat")
    if not is_time(exp) or not is_time(iat) or claims["iat"] > now + LEEWAY:
        raise checks.refuse(
            "access token times",
            f"iat ≤ {now + LEEWAY}",
            iat,
            "token-invalid",
            "the access token's times are not usable",
        )
    if now > claims["exp"] + LEEWAY:
        raise checks.refuse(
            "access token exp",
            f"≥ {now - LEEWAY}",
            exp,
            "token-expired",
            f"the access token expired at {exp}: exchange the subject token again",
        )
    checks.passed("access token exp", exp, expected=f"≥ {now - LEEWAY}")


def _facts(claims: dict[str, Any], checks: Checks) -> AccessToken:
    # Signed by a receiver of this URL, but perhaps of another version: its form is not taken for granted.
    cnf, issuer, attested = claims.get("cnf"), claims.get("issuer"), claims.get("attested")
    if (
        all(isinstance(claims.get(name), str) for name in _TEXT_CLAIMS)
        and isinstance(cnf, dict)
        and isinstance(cnf.get("jkt"), str)
        and isinstance(issuer, dict)
        and all(isinstance(issuer.get(name), str) for name in ("name", "iss", "kind"))
        and issuer["kind"] in KINDS
        and isinstance(claims.get("default_audience", False), bool)
        and isinstance(attested, dict)
        and all(isinstance(value, str) for value in attested.values())
        and KINDS[issuer["kind"]].fits(attested)
    ):
        return AccessToken(
            issuer=issuer["name"],
            issuer_url=issuer["iss"],
            kind=issuer["kind"],
            subject=claims["sub"],
            source=claims["source"],
            is_for_default_audience=claims.get("default_audience", False),
            claims=attested,
            jkt=cnf["jkt"],
            scopes=frozenset(claims["scope"].split()),
            grant=claims["grant"],
            policy=claims["policy"],
        )
    raise checks.refuse(
        "access token claims", "those of RFC 9068", None, "token-invalid", "the access token lacks a claim"
    )
