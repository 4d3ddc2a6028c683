"""The compact form of a JWS (RFC 7515), read strictly, and the two algorithms that are accepted here.

Nothing in this file decides on trust: a `Jws` is *unverified* until one of the `…_verifies` functions said yes, under a
key that the caller had from a place it trusts.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from fastapi_handoff.jose.strict_json import NotStrictJson, parse_object

MAX_TIME: Final = 2**40
"""Beyond every clock, and small enough for every database's integers."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_ES256: Final = ec.ECDSA(SHA256())
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = SHA256()


class MalformedJws(ValueError):  # noqa: N818 - named for what the input is
    """The text is not a JWS in compact form, or one that is ambiguous; the message does not quote it."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWS in compact form, parsed and *not verified*."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Read base64url in its one canonical spelling; `MalformedJws` for another.

    Python's decoder skips characters it does not know and ignores the last character's unused bits: with it, one
    token has many spellings, and a memory of spellings is no memory of tokens.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise MalformedJws("a part is not base64url")
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(raw) != text:
        raise MalformedJws("a part is not canonical base64url")
    return raw


def parse(text: str, *, max_bytes: int) -> Jws:
    """Read the compact form: header and claims are strict JSON objects. `MalformedJws` otherwise."""
    if len(text) > max_bytes:
        raise MalformedJws(f"it is longer than {max_bytes} bytes")
    parts = text.split(".")
    if len(parts) != 3:
        raise MalformedJws("it does not have three parts")
    header, payload, signature = (decode(part) for part in parts)
    try:
        return Jws(parse_object(header), parse_object(payload), text[: text.rindex(".")].encode("ascii"), signature)
    except NotStrictJson as error:
        raise MalformedJws(f"a part cannot be read: {error}") from None


def is_time(value: object) -> bool:
    """Tell whether a claim is whole seconds since 1970: not a bool, a float, or a number that no clock will show."""
    return type(value) is int and 0 <= value < MAX_TIME


def rs256_verifies(jws: Jws, key: rsa.RSAPublicKey) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256. The caller has checked that the header's `alg` is `RS256`."""
    try:
        key.verify(jws.signature, jws.signing_input, _PKCS1, _SHA256)
    except InvalidSignature:
        return False
    return True


def es256_verifies(jws: Jws, key: ec.EllipticCurvePublicKey) -> bool:
    """ECDSA on P-256 with SHA-256. The caller has checked that the header's `alg` is `ES256`."""
    if len(jws.signature) != 64:
        return False
    r, s = int.from_bytes(jws.signature[:32], "big"), int.from_bytes(jws.signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), jws.signing_input, _ES256)
    except InvalidSignature:
        return False
    return True


def es256_sign(signing_input: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """ECDSA on P-256 with SHA-256, as the 64 bytes of RFC 7518, section 3.4."""
    r, s = decode_dss_signature(key.sign(signing_input, _ES256))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@lru_cache(maxsize=1024)
def p256_key(x: str, y: str) -> ec.EllipticCurvePublicKey:
    """Read a P-256 key from a JWK's coordinates; `MalformedJws` where they are not a point of the curve."""
    raw = decode(x), decode(y)
    if any(len(coordinate) != 32 for coordinate in raw):
        raise MalformedJws("a coordinate does not have 32 bytes")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw[0] + raw[1])
    except ValueError:
        raise MalformedJws("the coordinates are not a point of P-256") from None


def p256_thumbprint(x: str, y: str) -> str:
    """RFC 7638 thumbprint of a P-256 key."""
    return encode(sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())
