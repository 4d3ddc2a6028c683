"""Which keys of an issuer's set are taken: sound ones, for the algorithms that its tokens may have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fastapi_handoff.issuers.jwks import IssuerUnavailable, read_keys
from fastapi_handoff.jose import MalformedJws, import_jwk, parse, verifies
from helpers.other_issuers import AWS_EC, AWS_RSA, OIDC_EC, EcKey

SETS = {"keys": [AWS_RSA.jwk(), AWS_EC.jwk(), OIDC_EC.jwk()]}
P521 = EcKey("p521", ec.SECP521R1())


@pytest.mark.parametrize(
    ("algorithms", "kids"),
    [
        (["RS256"], ["RSA_0"]),
        (["ES384"], ["EC384_0"]),
        (["ES256"], ["oidc-ec"]),
        (["RS256", "ES384"], ["RSA_0", "EC384_0"]),
    ],
)
def test_keys_are_those_of_the_issuers_algorithms(algorithms: list[str], kids: list[str]) -> None:
    assert list(read_keys(json.dumps(SETS).encode(), algorithms)) == kids


@pytest.mark.parametrize(
    "jwk",
    [
        AWS_EC.jwk(crv="P-256"),
        AWS_EC.jwk(crv="P-521"),
        AWS_EC.jwk(crv="secp256k1"),
        AWS_EC.jwk(crv=None),
        AWS_EC.jwk(kty="OKP"),
        AWS_EC.jwk(x=AWS_EC.jwk()["y"]),
        AWS_EC.jwk(x=None),
        AWS_EC.jwk(x=7),
        AWS_EC.jwk(y=AWS_EC.jwk()["y"] + "="),
        AWS_EC.jwk(y="AA"),
        AWS_EC.jwk(x=OIDC_EC.jwk()["x"], y=OIDC_EC.jwk()["y"]),
        AWS_EC.jwk(alg="ES256"),
        AWS_EC.jwk(alg="ES512"),
        AWS_EC.jwk(use="enc"),
        AWS_EC.jwk(kid=None),
        P521.jwk(),
        {"kty": "oct", "kid": "k", "k": "AA"},
    ],
)
def test_unsound_ec_key_is_passed_over(jwk: dict[str, Any]) -> None:
    sound = EcKey("sound", ec.SECP384R1())
    body = {"keys": [jwk, sound.jwk(alg="ES384")]}
    assert list(read_keys(json.dumps(body).encode(), ["RS256", "ES384"])) == ["sound"]
    with pytest.raises(IssuerUnavailable, match="no sound key for ES384 or RS256"):
        read_keys(json.dumps({"keys": [jwk]}).encode(), ["RS256", "ES384"])


@pytest.mark.parametrize("key", [AWS_EC, OIDC_EC, AWS_RSA])
def test_key_verifies_its_own_algorithm_only(key: Any) -> None:
    token = parse(key.sign({}), max_bytes=8192)
    own, public = import_jwk(key.jwk())
    assert verifies(token, public, own)
    for algorithm in {"ES256", "ES384", "RS256"} - {own}:
        assert not verifies(token, public, algorithm)


def test_private_part_of_a_key_is_not_read() -> None:
    _, key = import_jwk(AWS_EC.jwk(d="AA"))
    assert not key.is_private
    with pytest.raises(MalformedJws):
        import_jwk({"kty": "EC", "crv": "P-384", "d": "AA"})
