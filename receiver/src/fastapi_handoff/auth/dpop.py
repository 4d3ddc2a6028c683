"""The proof: the DPoP JWT of one request (RFC 9449)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.auth.replay import ProofId
from fastapi_handoff.jose import MalformedJws, encode, import_p256, is_time, thumbprint, verifies
from fastapi_handoff.jose import parse as parse_jws
from fastapi_handoff.request import LEEWAY, PROOF_BYTES, REPLAY_MEMORY, normal_url

if TYPE_CHECKING:
    from fastapi_handoff.request import Checks

_JTI: Final = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
"""At least 128 random bits: 22 characters of base64url, 32 of hex."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a verified proof says. Its id is not claimed yet: claiming it is the last thing to happen to a request."""

    id: ProofId
    content_digest: str | None
    """The `Content-Digest` that the proof covers, if it covers one."""


def verify(
    value: str | None, *, method: str, url: str, now: int, checks: Checks, access_token: str | None = None
) -> Proof:
    """Verify the value of the one `DPoP` header of a request, its replay excepted.

    `url` is where the request was meant to go, in normal form and never from its `Host` header; `now` is unix
    seconds. With an `access_token` the proof must have been made for it (`ath`). Raises `Refusal`: `proof-missing` or
    `proof-invalid`.
    """
    if not value:
        raise checks.refuse("proof", "present", None, "proof-missing", "the request has no `DPoP` header")
    try:
        unverified = parse_jws(value, max_bytes=PROOF_BYTES)
        jwk = _jwk(unverified.header)
        key = import_p256(jwk["x"], jwk["y"])
    except MalformedJws as error:
        raise checks.refuse(
            "proof", "a JWS", "malformed", "proof-invalid", f"the proof cannot be read: {error}"
        ) from None
    if not verifies(unverified, key, "ES256"):
        raise checks.refuse(
            "proof signature",
            "ES256",
            "does not verify",
            "proof-invalid",
            "the proof is not signed by the key it names",
        )
    checks.passed("proof signature", "ES256")
    claims = unverified.claims
    _require(claims, "htm", method, checks)
    _require_url(claims, url, checks)
    _require_time(claims, now, checks)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise checks.refuse(
            "jti", "22 to 128 characters of `[A-Za-z0-9_-]`", jti, "proof-invalid", "the proof's `jti` is not usable"
        )
    if access_token is not None:
        _require(claims, "ath", encode(sha256(access_token.encode("ascii")).digest()), checks)
    content_digest = claims.get("content_digest")
    if content_digest is not None and not isinstance(content_digest, str):
        raise checks.refuse("content_digest", "text", content_digest, "proof-invalid", "`content_digest` is not text")
    return Proof(ProofId(thumbprint(jwk["x"], jwk["y"]), jti, claims["iat"] + REPLAY_MEMORY), content_digest)


def _jwk(header: dict[str, Any]) -> dict[str, str]:
    # Exactly these members. `jku` or `x5u` would name a key of the sender's choice, `crit` would ask for a meaning that
    # is not implemented here, and what comes next is not known to be harmless.
    if header.keys() != {"typ", "alg", "jwk"} or header["typ"] != "dpop+jwt" or header["alg"] != "ES256":
        raise MalformedJws("its header is not `typ` `dpop+jwt`, `alg` `ES256` and a `jwk`")
    jwk = header["jwk"]
    if (
        not isinstance(jwk, dict)
        or jwk.keys() != {"kty", "crv", "x", "y"}
        or jwk["kty"] != "EC"
        or jwk["crv"] != "P-256"
        or not isinstance(jwk["x"], str)
        or not isinstance(jwk["y"], str)
    ):
        raise MalformedJws("its `jwk` is not a public P-256 key of `kty`, `crv`, `x` and `y`")
    return jwk


def _require(claims: dict[str, Any], name: str, expected: str, checks: Checks) -> None:
    got = claims.get(name)
    if not isinstance(got, str) or not compare_digest(got.encode(), expected.encode()):
        raise checks.refuse(name, expected, got, "proof-invalid", f"the proof's `{name}` is not this request's")
    checks.passed(name, got)


def _require_url(claims: dict[str, Any], url: str, checks: Checks) -> None:
    htu = claims.get("htu")
    if not isinstance(htu, str) or normal_url(htu) != url:
        raise checks.refuse("htu", url, htu, "proof-invalid", "the proof was made for another URL")
    checks.passed("htu", htu)


def _require_time(claims: dict[str, Any], now: int, checks: Checks) -> None:
    iat = claims.get("iat")
    expected = f"{now} ± {LEEWAY} s"
    if not is_time(iat) or abs(claims["iat"] - now) > LEEWAY:
        raise checks.refuse(
            "proof iat", expected, iat, "proof-invalid", "the proof's `iat` is too far from the receiver's clock"
        )
    checks.passed("proof iat", iat, expected=expected)
