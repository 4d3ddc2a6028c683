"""Keys and signatures, by joserfc behind a strict reading of what is imported.

The algorithm is always the caller's to say, never the token's: a token that chooses `none`, or HS256 with the public
key as its secret, meets no code that would listen to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jwk import ECKey as ECKey
from joserfc.jwk import RSAKey as RSAKey
from joserfc.jws import JWSRegistry

from fastapi_handoff.jose.jws import MalformedJws, decode

if TYPE_CHECKING:
    from fastapi_handoff.jose.jws import Jws

_ALGORITHMS: Final = JWSRegistry(algorithms=["ES256", "ES384", "RS256"])
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384"}
_COORDINATE_BYTES: Final = {"P-256": 32, "P-384": 48}
_RSA_BITS: Final = range(2048, 8193)


def verifies(jws: Jws, key: ECKey | RSAKey, algorithm: str) -> bool:
    """Return whether `jws` is signed by `key` with `algorithm` (`ES256`, `ES384`, `RS256`).

    The caller has compared the header's `alg` with `algorithm`. A key of another type or curve verifies nothing.
    """
    if isinstance(key, RSAKey) != (algorithm == "RS256"):
        return False
    if isinstance(key, ECKey) and key.curve_name != _CURVES[algorithm]:
        return False
    return _ALGORITHMS.get_alg(algorithm).verify(jws.signing_input, jws.signature, key)


def sign(signing_input: bytes, key: ECKey) -> bytes:
    """Return the ES256 signature: the 64 bytes of RFC 7518, section 3.4."""
    return _ALGORITHMS.get_alg("ES256").sign(signing_input, key)


def generate_p256() -> ECKey:
    """Return a new private P-256 key. It is in memory only."""
    return ECKey.generate_key("P-256")


@lru_cache(maxsize=1024)
def import_p256(x: str, y: str) -> ECKey:
    """Return the public P-256 key of a JWK's coordinates. Raises `MalformedJws` where they are no point of P-256."""
    return _import_ec("P-256", x, y)


def import_jwk(entry: dict[str, Any]) -> tuple[str, ECKey | RSAKey]:
    """Return the algorithm that a public JWK is for, by its type and curve, and its key.

    Raises `MalformedJws` for an unsound key, and for one of a type or curve that is not used here.
    """
    if entry.get("kty") == "RSA":
        return "RS256", import_rsa(entry)
    for algorithm, curve in _CURVES.items():
        if (entry.get("kty"), entry.get("crv")) == ("EC", curve):
            x, y = entry.get("x"), entry.get("y")
            if not isinstance(x, str) or not isinstance(y, str):
                raise MalformedJws("`x` or `y` is missing")
            return algorithm, _import_ec(curve, x, y)
    raise MalformedJws("it is neither RSA nor of P-256 or P-384")


def _import_ec(curve: str, x: str, y: str) -> ECKey:
    size = _COORDINATE_BYTES[curve]
    if any(len(decode(coordinate)) != size for coordinate in (x, y)):
        raise MalformedJws(f"a coordinate does not have {size} bytes")
    try:
        key = ECKey.import_key({"kty": "EC", "crv": curve, "x": x, "y": y})
        key.get_op_key("verify")
    except (JoseError, ValueError):
        raise MalformedJws(f"the coordinates are not a point of {curve}") from None
    return key


def import_rsa(entry: dict[str, Any]) -> RSAKey:
    """Return the public RSA key of a JWK's `n` and `e`. Raises `MalformedJws` for an unsound one.

    Private members of the entry are not read, and a modulus below 2,048 or above 8,192 bits is refused: a short one can
    be factored, and verifying under a huge one is a lever for whoever can publish it.
    """
    n, e = entry.get("n"), entry.get("e")
    if not isinstance(n, str) or not isinstance(e, str):
        raise MalformedJws("`n` or `e` is missing")
    if int.from_bytes(decode(n)).bit_length() not in _RSA_BITS:
        raise MalformedJws("it does not have 2048 to 8192 bits")
    decode(e)
    try:
        key = RSAKey.import_key({"kty": "RSA", "n": n, "e": e})
        key.get_op_key("verify")
    except (JoseError, ValueError):
        raise MalformedJws("it is not a sound RSA key") from None
    return key


def thumbprint(x: str, y: str) -> str:
    """Return the RFC 7638 thumbprint of a P-256 key: base64url of a SHA-256."""
    return jwk.thumbprint({"crv": "P-256", "kty": "EC", "x": x, "y": y})
