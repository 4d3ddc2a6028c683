"""A pipe of the tests' own: it says what the protocol says, and, where a test asks for it, something else."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from standardwebhooks import Webhook

from helpers.provider import (
    ENVIRONMENT_UUID,
    PIPELINE_UUID,
    REPOSITORY_UUID,
    STEP_UUID,
    WORKSPACE,
    WORKSPACE_UUID,
    base64url,
    encode_part,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = "https://bitbucket.org/acme/api"
Headers = list[tuple[str, str]]


def content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def event_id() -> str:
    return f"evt_{secrets.token_hex(16)}"


def event(identifier: str, predicate: str = "deployed", **bitbucket: Any) -> dict[str, Any]:
    """A full event; `bitbucket` members replace the usual ones."""
    kind = f"dev.cdevents.service.{predicate}.0.3.0"
    moment = "2026-11-24T09:30:00.000Z"
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": SOURCE,
        "type": kind,
        "subject": "api",
        "time": moment,
        "datacontenttype": "application/json",
        "data": {
            "context": {
                "specversion": "0.5.0",
                "id": identifier,
                "source": SOURCE,
                "type": kind,
                "timestamp": moment,
            },
            "subject": {
                "id": "api",
                "source": SOURCE,
                "content": {
                    "environment": {"id": "production", "source": SOURCE},
                    "artifactId": f"pkg:bitbucket/acme/api@{COMMIT}",
                },
            },
            "customData": {
                "bitbucket": {
                    "workspace": WORKSPACE,
                    "workspace_uuid": WORKSPACE_UUID,
                    "repository": "acme/api",
                    "repository_uuid": REPOSITORY_UUID,
                    "pipeline_uuid": PIPELINE_UUID,
                    "step_uuid": STEP_UUID,
                    "branch": "main",
                    "environment_uuid": ENVIRONMENT_UUID,
                    "commit": COMMIT,
                    "tag": None,
                    "build_number": 42,
                    "step_run_number": 1,
                    "pull_request": None,
                    **bitbucket,
                },
                "custom": {"ticket": "OPS-1"},
            },
        },
    }


class Key:
    """A step's key: it signs proofs."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        x, y = (base64url(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        members = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return base64url(hashlib.sha256(members.encode()).digest())

    def sign(self, claims: Any, **header: Any) -> str:
        """A proof of `claims` (JSON, or bytes as they are); `header` members replace the usual ones, `None` drops."""
        parts = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk, **header}
        parts = {name: value for name, value in parts.items() if value is not None}
        return self.sign_parts(encode_part(parts), encode_part(claims))

    def sign_parts(self, header: str, payload: str) -> str:
        signing_input = f"{header}.{payload}"
        r, s = decode_dss_signature(self.private.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signing_input}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class Pipe:
    """What a step sends to a receiver at `url`."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time, secret: str | None = None) -> None:
        self.url = url
        self.key = Key()
        self.clock = clock
        self.secret = secret

    def proof_claims(
        self, method: str, url: str, token: str | None = None, body: bytes | None = None
    ) -> dict[str, Any]:
        claims: dict[str, Any] = {
            "htm": method,
            "htu": url,
            "iat": int(self.clock()),
            "jti": secrets.token_urlsafe(16),
        }
        if token is not None:
            claims["ath"] = base64url(hashlib.sha256(token.encode()).digest())
        if body is not None:
            claims["content_digest"] = content_digest(body)
        return claims

    def proof(self, method: str, url: str, token: str | None = None, body: bytes | None = None, **changes: Any) -> str:
        claims = {**self.proof_claims(method, url, token, body), **changes}
        return self.key.sign({name: value for name, value in claims.items() if value is not None})

    def form(self, step_token: str, **changes: str | None) -> dict[str, str]:
        form: dict[str, str | None] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": step_token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "resource": self.url,
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    async def exchange(self, client: httpx.AsyncClient, step_token: str, **changes: str | None) -> httpx.Response:
        return await client.post(
            f"{self.url}/token",
            data=self.form(step_token, **changes),
            headers={"DPoP": self.proof("POST", f"{self.url}/token")},
        )

    async def access_token(self, client: httpx.AsyncClient, step_token: str, **changes: str | None) -> str:
        response = await self.exchange(client, step_token, **changes)
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token

    def event_headers(self, token: str, body: bytes, identifier: str, **changes: str | None) -> Headers:
        """The headers of an event; `changes` (with `_` for `-`) replace the usual ones, `None` drops one."""
        timestamp = int(self.clock())
        headers: dict[str, str | None] = {
            "authorization": f"DPoP {token}",
            "dpop": self.proof("POST", f"{self.url}/events", token, body),
            "content-digest": content_digest(body),
            "content-type": "application/cloudevents+json",
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
        }
        if self.secret is not None:
            headers["webhook-signature"] = self.signature(identifier, timestamp, body)
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        return [(name, value) for name, value in headers.items() if value is not None]

    def signature(self, identifier: str, timestamp: int, body: bytes) -> str:
        """Made with the public reference library, not with the code under test."""
        from datetime import UTC, datetime

        assert self.secret is not None
        return Webhook(self.secret).sign(identifier, datetime.fromtimestamp(timestamp, UTC), body.decode())

    async def deliver(
        self, client: httpx.AsyncClient, token: str, content: dict[str, Any] | bytes, **changes: str | None
    ) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        identifier = "evt_x" if isinstance(content, bytes) else content["id"]
        headers = self.event_headers(token, body, changes.pop("identifier", None) or identifier, **changes)
        # As bytes: a test may send what is not ASCII.
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return await client.post(f"{self.url}/events", content=body, headers=raw)

    async def poll(self, client: httpx.AsyncClient, token: str, identifier: str, **changes: Any) -> httpx.Response:
        url = f"{self.url}/events/{identifier}"
        headers = {"authorization": f"DPoP {token}", "dpop": self.proof("GET", url, token, **changes)}
        return await client.get(url, headers=headers)
