"""JSON and JOSE, each with one reading.

Here belongs how bytes become JSON, how text becomes a JWS, how a JWK becomes a key, and whether a signature verifies.
Nothing here decides whom to trust, and nothing knows of a request: malformed input is an exception of this room's own,
which the caller turns into a refusal.
"""

from fastapi_handoff.jose.jws import Jws, MalformedJws, decode, encode, is_time, parse
from fastapi_handoff.jose.keys import (
    ECKey,
    RSAKey,
    generate_p256,
    import_jwk,
    import_p256,
    import_rsa,
    sign,
    thumbprint,
    verifies,
)
from fastapi_handoff.jose.strict_json import NotStrictJson, parse_json, parse_json_object

__all__ = [
    "ECKey",
    "Jws",
    "MalformedJws",
    "NotStrictJson",
    "RSAKey",
    "decode",
    "encode",
    "generate_p256",
    "import_jwk",
    "import_p256",
    "import_rsa",
    "is_time",
    "parse",
    "parse_json",
    "parse_json_object",
    "sign",
    "thumbprint",
    "verifies",
]
