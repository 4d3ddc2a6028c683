"""An identity provider of the tests' own: real keys, real step tokens, a real server for its `keys.json`."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

WORKSPACE = "acme"
WORKSPACE_UUID = "{11111111-1111-4111-8111-111111111111}"
REPOSITORY_UUID = "{22222222-2222-4222-8222-222222222222}"
PIPELINE_UUID = "{33333333-3333-4333-8333-333333333333}"
STEP_UUID = "{44444444-4444-4444-8444-444444444444}"
ENVIRONMENT_UUID = "{55555555-5555-4555-8555-555555555555}"
OTHER_UUID = "{99999999-9999-4999-8999-999999999999}"
PATH = f"/2.0/workspaces/{WORKSPACE}/pipelines-config/identity/oidc"


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode_part(part: Any) -> str:
    """A JWS part: of a value as JSON, or of bytes as they are."""
    return base64url(part if isinstance(part, bytes) else json.dumps(part).encode())


class RsaKey:
    """A key of an identity provider."""

    def __init__(self, kid: str = "key-1", bits: int = 2048) -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(65537, bits)

    def jwk(self, **members: Any) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        n, e = (base64url(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": e, **members}

    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, claims: Any, **header: Any) -> str:
        """A step token of `claims` (JSON, or bytes as they are); `header` members replace the usual ones."""
        parts = {"alg": "RS256", "kid": self.kid, "typ": "JWT", **header}
        signing_input = f"{encode_part(parts)}.{encode_part(claims)}"
        signature = self.private.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{base64url(signature)}"


def hs256(secret: bytes, claims: Any, kid: str) -> str:
    """The algorithm confusion: a token signed with the public key as an HMAC secret."""
    signing_input = f"{encode_part({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{encode_part(claims)}"
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(signing_input.encode())
    return f"{signing_input}.{base64url(mac.finalize())}"


class IssuerServer:
    """Serves `keys.json` on loopback; `respond` may be replaced by a fault."""

    def __init__(self, *keys: RsaKey) -> None:
        self.keys = list(keys)
        self.fetches = 0
        self.respond: Callable[[BaseHTTPRequestHandler], None] = self.answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.fetches += 1
                server.respond(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.issuer = self.url + PATH
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        found = request.path == f"{PATH}/keys.json"
        self.send(request, json.dumps({"keys": [key.jwk() for key in self.keys]}).encode(), 200 if found else 404)

    @staticmethod
    def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def step_claims(issuer: str, audience: str | list[str], *, now: float | None = None, **changes: Any) -> dict[str, Any]:
    """The full claims of a step's token; a change to `None` leaves the claim out."""
    issued_at = int(time.time() if now is None else now)
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": f"{REPOSITORY_UUID}:{ENVIRONMENT_UUID}:{STEP_UUID}",
        "iat": issued_at,
        "exp": issued_at + 3600,
        "workspaceUuid": WORKSPACE_UUID,
        "repositoryUuid": REPOSITORY_UUID,
        "pipelineUuid": PIPELINE_UUID,
        "stepUuid": STEP_UUID,
        "branchName": "main",
        "deploymentEnvironmentUuid": ENVIRONMENT_UUID,
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}
