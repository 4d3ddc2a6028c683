"""A receiver in a FastAPI app, as a user writes it, and a clock that a test moves."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import FastAPI, Security

from fastapi_handoff import AuditMiddleware, DeploymentEvent, Handoff, Identity
from helpers.pipe import Pipe
from helpers.provider import ENVIRONMENT_UUID, REPOSITORY_UUID, WORKSPACE, WORKSPACE_UUID, IssuerServer, step_claims

ORIGIN = "https://api.acme.dev"
URL = f"{ORIGIN}/handoff"
POLICY = f"""
[bitbucket]
workspace = "{WORKSPACE}"
workspace_uuid = "{WORKSPACE_UUID}"

[[grants]]
name = "api, production, from main"
repository = "{REPOSITORY_UUID}"
environment = "{ENVIRONMENT_UUID}"
branch = "main"
scopes = ["deployments:write", "config:sync"]
environment_name = "production"
services = ["api", "worker"]

[[grants]]
name = "api, previews"
repository = "{REPOSITORY_UUID}"
branch = "feature/*"
scopes = ["previews:write"]
"""


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


class Receiver:
    """A FastAPI app with a handoff in it, and a client that talks to it."""

    def __init__(self, policy: Path, store_url: str, issuer: IssuerServer, **options: Any) -> None:
        self.issuer = issuer
        self.store_url = store_url
        self.clock = Clock()
        self.calls: list[tuple[DeploymentEvent, Identity]] = []
        self.behave: Callable[[DeploymentEvent], Any] = lambda _: {"release": 7}
        self.handoff = Handoff(
            policy=policy, store=store_url, url=URL, bitbucket_url=issuer.url, clock=self.clock, **options
        )
        self.app = FastAPI(lifespan=self.handoff.lifespan)
        self.app.include_router(self.handoff.router, prefix="/handoff")
        self.app.add_middleware(AuditMiddleware, handoff=self.handoff)
        self._declare()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=ORIGIN)
        self.pipe = Pipe(URL, clock=self.clock)

    def _declare(self) -> None:
        handoff = self.handoff

        @handoff.on("service.deployed", scope="deployments:write")
        async def deployed(event: DeploymentEvent, identity: Identity) -> Any:
            self.calls.append((event, identity))
            result = self.behave(event)
            return await result if hasattr(result, "__await__") else result

        @handoff.on("service.removed", scope="deployments:remove")
        def removed(event: DeploymentEvent, identity: Identity) -> None:
            raise AssertionError("no grant of the tests gives its scope")

        @self.app.post("/config/sync")
        async def sync(
            identity: Annotated[Identity, Security(handoff.identity, scopes=["config:sync"])],
        ) -> dict[str, str]:
            return {"grant": identity.grant}

        @self.app.post("/open")
        async def anybody() -> dict[str, str]:
            return {}

    def claims(self, **changes: Any) -> dict[str, Any]:
        return step_claims(self.issuer.issuer, [URL], now=self.clock(), **changes)

    def step_token(self, **changes: Any) -> str:
        return self.issuer.keys[0].sign(self.claims(**changes))

    async def access_token(self, **changes: Any) -> str:
        return await self.pipe.access_token(self.client, self.step_token(**changes))
