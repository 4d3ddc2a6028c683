"""What an attack is: a request, and the code it must be refused with."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from helpers.pipe import Key, Pipe, event, event_id
from helpers.provider import RsaKey, encode_part
from helpers.receiver_app import ORIGIN, URL, Receiver

Act = Callable[["Stage"], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Attack:
    """`act` makes the hostile request; everything before it (an honest exchange) has been done by the stage."""

    name: str
    code: str
    act: Act
    status: int | None = None
    """Where it is not the one that the code stands for everywhere."""
    options: dict[str, Any] = field(default_factory=dict)
    """The receiver's."""


@dataclass
class Stage:
    """A receiver, an honest pipe with its access token, and shorthands for requests that differ in one thing."""

    receiver: Receiver
    token: str
    content: dict[str, Any]

    @property
    def pipe(self) -> Pipe:
        return self.receiver.pipe

    @property
    def client(self) -> httpx.AsyncClient:
        return self.receiver.client

    @property
    def key(self) -> RsaKey:
        return self.receiver.issuer.keys[0]

    @property
    def now(self) -> int:
        return int(self.receiver.clock())

    # The token endpoint

    async def exchange(self, step_token: str, **form: str | None) -> httpx.Response:
        return await self.pipe.exchange(self.client, step_token, **form)

    async def with_claims(self, **changes: Any) -> httpx.Response:
        return await self.exchange(self.receiver.step_token(**changes))

    async def with_header(self, **header: Any) -> httpx.Response:
        return await self.exchange(self.key.sign(self.receiver.claims(), **header))

    async def post_form(self, content: bytes, **headers: str) -> httpx.Response:
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "dpop": self.pipe.proof("POST", f"{URL}/token"),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.client.post(f"{URL}/token", content=content, headers=headers)

    async def exchange_with(self, proof: str | bytes) -> httpx.Response:
        return await self.client.post(
            f"{URL}/token", data=self.pipe.form(self.receiver.step_token()), headers={"DPoP": proof}
        )

    # Events

    async def deliver(self, content: Any = None, **headers: str | None) -> httpx.Response:
        return await self.pipe.deliver(self.client, self.token, self.content if content is None else content, **headers)

    async def deliver_json(self, text: str) -> httpx.Response:
        """An event whose body is `text`, everything around it honest."""
        return await self.deliver(text.encode(), identifier=self.content["id"])

    async def deliver_changed(self, change: Callable[[dict[str, Any]], Any]) -> httpx.Response:
        content = json.loads(json.dumps(self.content))
        change(content)
        return await self.deliver(json.dumps(content).encode(), identifier=self.content["id"])

    async def deliver_with_proof(self, **changes: Any) -> httpx.Response:
        body = json.dumps(self.content).encode()
        return await self.deliver(dpop=self.pipe.proof("POST", f"{URL}/events", self.token, body, **changes))

    async def deliver_with_headers(self, *more: tuple[str, str | bytes], **changes: str | None) -> httpx.Response:
        """An honest event with headers added, not replaced."""
        body = json.dumps(self.content).encode()
        headers: list[tuple[Any, Any]] = list(self.pipe.event_headers(self.token, body, self.content["id"], **changes))
        return await self.client.post(f"{URL}/events", content=body, headers=[*headers, *more])

    def forged_token(self, change: Callable[[dict[str, Any], dict[str, Any]], Any], key: Key | None = None) -> str:
        """The access token with header and claims changed, signed with a key of the attacker's."""
        header, claims = (json.loads(_decode(part)) for part in self.token.split(".")[:2])
        change(header, claims)
        return (key or Key()).sign_parts(encode_part(header), encode_part(claims))

    async def deliver_with_token(self, token: str) -> httpx.Response:
        return await self.pipe.deliver(self.client, token, self.content)

    # Custom routes

    async def call(self, token: str | None = None, *, path: str = "/config/sync", **proof: Any) -> httpx.Response:
        token = token or self.token
        dpop = self.pipe.proof("POST", f"{ORIGIN}{path}", token, **proof)
        return await self.client.post(path, headers={"Authorization": f"DPoP {token}", "DPoP": dpop})


def _decode(part: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def stage(receiver: Receiver) -> Stage:
    """An honest exchange, and an event that would be accepted."""
    return Stage(receiver, await receiver.access_token(), event(event_id()))
