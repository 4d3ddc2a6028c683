"""The proof: the DPoP JWT of one request (RFC 9449)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.jose import jws
from fastapi_handoff.request.limits import LEEWAY, PROOF_BYTES, REPLAY_MEMORY

if TYPE_CHECKING:
    from fastapi_handoff.request.checks import Trace

_JTI: Final = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
"""At least 128 random bits: 22 characters of base64url, 32 of hex."""
_URL: Final = re.compile(
    r"(https?)://([^/?#@\\\s:]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE
)
_DEFAULT_PORT: Final = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Proof:
    """What a verified proof says. Its `jti` is not claimed yet: that is the last thing to happen to a request."""

    jkt: str
    """RFC 7638 thumbprint of the key."""
    jti: str
    expires_at: int
    """Unix seconds until which the `jti` must be remembered."""
    content_digest: str | None


def normal_url(url: str) -> str | None:
    """Scheme and host in lower case, the default port left out, nothing else changed; `None` for no absolute URL.

    Paths keep their dots, their case and their percent signs: two spellings of a path may be two resources.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port, path = match.groups()
    scheme = scheme.lower()
    authority = host.lower() if port in {None, _DEFAULT_PORT[scheme]} else f"{host.lower()}:{port}"
    return f"{scheme}://{authority}{path or '/'}"


def verify(
    value: str | None, *, method: str, url: str, now: int, trace: Trace, access_token: str | None = None
) -> Proof:
    """Verify the value of the one `DPoP` header of a request, its replay excepted.

    `url` is where the request was meant to go, in normal form and never from its `Host` header; `now` is unix
    seconds. With an `access_token` the proof must have been made for it (`ath`). Raises `Refusal`: `proof-missing` or
    `proof-invalid`.
    """
    if not value:
        raise trace.refuse("proof", "present", None, "proof-missing", "the request has no `DPoP` header")
    try:
        unverified = jws.parse(value, max_bytes=PROOF_BYTES)
        jkt, key = _key(unverified.header)
    except jws.MalformedJws as error:
        raise trace.refuse(
            "proof", "a JWS", "malformed", "proof-invalid", f"the proof cannot be read: {error}"
        ) from None
    if not jws.es256_verifies(unverified, key):
        raise trace.refuse(
            "proof signature",
            "ES256",
            "does not verify",
            "proof-invalid",
            "the proof is not signed by the key it names",
        )
    trace.passed("proof signature", "ES256")
    claims = unverified.claims
    _require(claims, "htm", method, trace)
    _require_url(claims, url, trace)
    _require_time(claims, now, trace)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise trace.refuse(
            "jti", "22 to 128 characters of `[A-Za-z0-9_-]`", jti, "proof-invalid", "the proof's `jti` is not usable"
        )
    if access_token is not None:
        _require(claims, "ath", jws.encode(sha256(access_token.encode("ascii")).digest()), trace)
    content_digest = claims.get("content_digest")
    if content_digest is not None and not isinstance(content_digest, str):
        raise trace.refuse("content_digest", "text", content_digest, "proof-invalid", "`content_digest` is not text")
    return Proof(jkt, jti, claims["iat"] + REPLAY_MEMORY, content_digest)


def _key(header: dict[str, Any]) -> tuple[str, Any]:
    # Exactly these members: `crit`, `jku`, `x5u` and whatever comes next have no meaning here, so they have no place.
    if header.keys() != {"typ", "alg", "jwk"} or header["typ"] != "dpop+jwt" or header["alg"] != "ES256":
        raise jws.MalformedJws("its header is not `typ` `dpop+jwt`, `alg` `ES256` and a `jwk`")
    jwk = header["jwk"]
    if (
        not isinstance(jwk, dict)
        or jwk.keys() != {"kty", "crv", "x", "y"}
        or jwk["kty"] != "EC"
        or jwk["crv"] != "P-256"
        or not isinstance(jwk["x"], str)
        or not isinstance(jwk["y"], str)
    ):
        raise jws.MalformedJws("its `jwk` is not a public P-256 key of `kty`, `crv`, `x` and `y`")
    return jws.p256_thumbprint(jwk["x"], jwk["y"]), jws.p256_key(jwk["x"], jwk["y"])


def _require(claims: dict[str, Any], name: str, expected: str, trace: Trace) -> None:
    got = claims.get(name)
    if not isinstance(got, str) or not compare_digest(got.encode(), expected.encode()):
        raise trace.refuse(name, expected, got, "proof-invalid", f"the proof's `{name}` is not this request's")
    trace.passed(name, got)


def _require_url(claims: dict[str, Any], url: str, trace: Trace) -> None:
    htu = claims.get("htu")
    if not isinstance(htu, str) or normal_url(htu) != url:
        raise trace.refuse("htu", url, htu, "proof-invalid", "the proof was made for another URL")
    trace.passed("htu", htu)


def _require_time(claims: dict[str, Any], now: int, trace: Trace) -> None:
    iat = claims.get("iat")
    expected = f"{now} ± {LEEWAY} s"
    if not jws.is_time(iat) or abs(claims["iat"] - now) > LEEWAY:
        raise trace.refuse(
            "proof iat", expected, iat, "proof-invalid", "the proof's `iat` is too far from the receiver's clock"
        )
    trace.passed("proof iat", iat, expected=expected)
