"""Identity providers of every kind but Bitbucket, as their tokens are: real keys, one server on loopback for all."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from helpers.provider import PATH, IssuerServer, RsaKey, base64url, encode_part
from helpers.receiver_app import POLICY, URL, Receiver

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
AWS = "https://sts.amazonaws.com/"
ROLE = "arn:aws:iam::123456789012:role/deployer"
OKTA_AUDIENCE = "https://api.acme.dev/okta"


class EcKey:
    """A key on a curve of NIST's."""

    def __init__(self, kid: str, curve: ec.EllipticCurve) -> None:
        self.kid = kid
        self.private = ec.generate_private_key(curve)
        self.name, self.alg, self.hash = {
            "secp256r1": ("P-256", "ES256", hashes.SHA256()),
            "secp384r1": ("P-384", "ES384", hashes.SHA384()),
            "secp521r1": ("P-521", "ES512", hashes.SHA512()),
        }[curve.name]
        self.size = (curve.key_size + 7) // 8

    def jwk(self, **members: Any) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(self.size, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "use": "sig", "crv": self.name, "kid": self.kid, "x": x, "y": y, **members}

    def sign(self, claims: Any, **header: Any) -> str:
        parts = {"alg": self.alg, "kid": self.kid, "typ": "JWT", **header}
        signing_input = f"{encode_part({n: v for n, v in parts.items() if v is not None})}.{encode_part(claims)}"
        r, s = decode_dss_signature(self.private.sign(signing_input.encode(), ec.ECDSA(self.hash)))
        return f"{signing_input}.{base64url(b''.join(number.to_bytes(self.size, 'big') for number in (r, s)))}"


OKTA_KEY = RsaKey("okta-1")
AWS_RSA = RsaKey("RSA_0")
AWS_EC = EcKey("EC384_0", ec.SECP384R1())
OIDC_KEY = RsaKey("oidc-1")
OIDC_EC = EcKey("oidc-ec", ec.SECP256R1())
"""Published by the provider, but the policy takes RS256 only."""


def without_type(key: RsaKey, claims: Any, **header: Any) -> str:
    """A token whose header has no `typ`, as Okta's."""
    parts = {"alg": "RS256", "kid": key.kid, **header}
    # The class always puts a `typ`; a member of another order and content needs its own signing input.
    from cryptography.hazmat.primitives.asymmetric import padding

    signing_input = f"{encode_part(parts)}.{encode_part(claims)}"
    return f"{signing_input}.{base64url(key.private.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def serve(issuer: IssuerServer) -> None:
    """Let the server of Bitbucket's keys have those of all providers."""
    keys = {
        f"{PATH}/keys.json": issuer.keys,
        "/oauth2/aus1/v1/keys": [OKTA_KEY],
        "/aws/.well-known/jwks.json": [AWS_RSA, AWS_EC],
        "/oidc/keys": [OIDC_KEY, OIDC_EC],
    }

    def answer(request: Any) -> None:
        found = keys.get(request.path)
        body = json.dumps({"keys": [key.jwk() for key in found or ()]}).encode()
        issuer.send(request, body, 404 if found is None else 200)

    issuer.respond = answer


def policy(server: str, **changes: str) -> str:
    """The policy of all kinds. Each of `changes` is a line that is added to the issuer of that name."""
    added = {name: changes.get(name, "") for name in ("okta", "aws", "ci")}
    return f"""{POLICY}
[[issuers]]
name = "okta"
kind = "okta"
issuer = "{server}/oauth2/aus1"
audience = "{OKTA_AUDIENCE}"
{added["okta"]}

[[issuers]]
name = "aws"
kind = "aws"
issuer = "{server}/aws"
principal_tags = ["team"]
{added["aws"]}

[[issuers]]
name = "ci"
kind = "oidc"
issuer = "{server}/oidc/"
jwks_uri = "{server}/oidc/keys"
algorithms = ["RS256"]
required = ["repository_id", "repository_owner_id"]
matchable = ["event_name", "ref"]
expected = {{ enterprise = "acme" }}
source = "repository_id"
jti = "jti"
max_lifetime = 900
{added["ci"]}

[[grants]]
name = "release bot"
issuer = "okta"
match = {{ cid = "0oa1", scp = "deploy" }}
scopes = ["config:sync", "deployments:write"]

[[grants]]
name = "the deployer"
issuer = "aws"
match = {{ aws_account = "123456789012", sub = "{ROLE}", "principal_tags.team" = "platform" }}
scopes = ["config:sync", "deployments:write"]

[[grants]]
name = "the workflow"
issuer = "ci"
match = {{ repository_id = "42", repository_owner_id = "7", event_name = "push" }}
scopes = ["config:sync", "deployments:write"]
services = ["api"]
"""


def times(receiver: Receiver, seconds: int) -> dict[str, int]:
    now = int(receiver.clock())
    return {"iat": now, "exp": now + seconds}


def _changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (claims | changes).items() if value is not None}


def okta_claims(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    claims = {
        "ver": 1,
        "jti": f"AT.{secrets.token_hex(8)}",
        "iss": f"{receiver.issuer.url}/oauth2/aus1",
        "aud": OKTA_AUDIENCE,
        "sub": "0oa1",
        "cid": "0oa1",
        "scp": ["other", "deploy"],
        **times(receiver, 3600),
    }
    return _changed(claims, changes)


def aws_claims(receiver: Receiver, *, nested: Any = None, **changes: Any) -> dict[str, Any]:
    """`nested` members replace what stands under AWS's name; anything but a dict stands there itself."""
    usual = {
        "aws_account": "123456789012",
        "source_region": "eu-central-1",
        "org_id": "o-abc1234567",
        "ou_path": "o-abc1234567/r-ab12/ou-ab12-11111111/",
        "principal_tags": {"team": "platform", "unread": "x"},
        "request_tags": {"ticket": "OPS-1"},
    }
    claims = {
        "iss": f"{receiver.issuer.url}/aws",
        "aud": URL,
        "sub": ROLE,
        "jti": secrets.token_hex(16),
        **times(receiver, 300),
        AWS: _changed(usual, nested or {}) if isinstance(nested, dict | None) else nested,
    }
    return _changed(claims, changes)


def oidc_claims(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    claims = {
        "iss": f"{receiver.issuer.url}/oidc/",
        "aud": URL,
        "sub": "repo:acme/api:ref:refs/heads/main",
        "jti": secrets.token_hex(16),
        "repository_id": "42",
        "repository_owner_id": "7",
        "event_name": "push",
        "ref": "refs/heads/main",
        "enterprise": "acme",
        "actor": "not in the table",
        **times(receiver, 300),
    }
    return _changed(claims, changes)


async def exchange(receiver: Receiver, token: str, token_type: str, **form: str | None) -> httpx.Response:
    changes = {"subject_token_type": f"{TOKEN_TYPE}{token_type}", **form}
    return await receiver.pipe.exchange(receiver.client, token, **changes)


def okta_token(receiver: Receiver, **changes: Any) -> tuple[str, str]:
    """A token, and what it is exchanged as."""
    return without_type(OKTA_KEY, okta_claims(receiver, **changes)), "access_token"


def aws_token(receiver: Receiver, **changes: Any) -> tuple[str, str]:
    return AWS_EC.sign(aws_claims(receiver, **changes)), "jwt"


def oidc_token(receiver: Receiver, **changes: Any) -> tuple[str, str]:
    return OIDC_KEY.sign(oidc_claims(receiver, **changes)), "id_token"


TOKENS = {"okta": okta_token, "aws": aws_token, "oidc": oidc_token}
