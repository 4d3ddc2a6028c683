"""The public entry point: it wires the rooms to each other, and does nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fastapi_handoff import web
from fastapi_handoff.auth import DPoPAuthenticator, SigningKeys
from fastapi_handoff.dispatch import Dispatcher, Handlers, HandlerThreads
from fastapi_handoff.events import SigningSecrets
from fastapi_handoff.issuers import KINDS
from fastapi_handoff.issuers.jwks import IssuerKeys
from fastapi_handoff.policy import Policy, PolicyError, read_file, require_clean
from fastapi_handoff.request import normal_url, require_transport
from fastapi_handoff.store import Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from os import PathLike

    from fastapi import FastAPI

    from fastapi_handoff.audit import Clock
    from fastapi_handoff.dispatch import HandlerFunction
    from fastapi_handoff.policy import LintLevel

logger = logging.getLogger(__name__)

_OPEN_AGAIN_SECONDS: Final = 5.0
_PURGE_SECONDS: Final = 300.0
_PURGE_AGE_SECONDS: Final = 60
"""Rows are purged when they expired this long ago. A request's new row could otherwise expire and be purged in the very
transaction that wrote it, and look like one that was swallowed."""
_GRACE_SECONDS: Final = 20.0
"""For the handlers that run when the app is shut down."""


class Handoff:
    """A receiver of handoffs from Bitbucket Pipelines.

    `policy` is a TOML file or a loaded `Policy`; `store` an SQLAlchemy URL (`sqlite:///handoff.db`,
    `postgresql+psycopg://…`); `url` the public URL where the app mounts `router`. `signing_secrets` are Standard
    Webhooks secrets (`whsec_…`): with them, an event without a signature under one of them is refused.
    `inline_timeout` is how many seconds an answer waits for a handler, `lease` after how many seconds without a sign
    of life a handler's process is taken for dead, `handler_threads` how many plain (not `async`) handlers run at the
    same time, `clock` unix seconds. `lint` says what becomes of a policy with lint errors or failed tests: `error`
    refuses it, `warn` logs what is wrong. `bitbucket_url` is for tests and emulators.

    Raises `PolicyError` and `ValueError`, so that a receiver that could never work does not start.
    """

    def __init__(
        self,
        policy: str | PathLike[str] | Policy,
        store: str,
        url: str,
        *,
        signing_secrets: Iterable[str] = (),
        bitbucket_url: str = "https://api.bitbucket.org",
        inline_timeout: float = 10.0,
        lease: float = 60.0,
        handler_threads: int = 16,
        lint: LintLevel = "error",
        clock: Clock = time.time,
    ) -> None:
        self.policy = policy if isinstance(policy, Policy) else Policy.parse(read_file(policy), str(policy))
        require_clean(self.policy, lint)
        self.url = _receiver_url(url)
        self._store = Store(store)
        self._clock = clock
        base = bitbucket_url.removesuffix("/")
        require_transport(base, "`bitbucket_url`")
        issuers = [KINDS[table.kind].from_settings(table, base) for table in self.policy.issuers]
        urls = {self.url, *(issuer.url for issuer in issuers)}
        if len(urls) <= len(issuers):
            # With the receiver's own URL, its own tokens would be subject tokens.
            raise PolicyError(
                "two issuers of the policy are the same one, or one is this receiver: they could not be told apart"
            )
        trusted = [IssuerKeys(each, monotonic=time.monotonic) for each in issuers if each.mode != "off"]
        enforced = [keys for keys in trusted if keys.issuer.mode == "enforce"]
        self._issuer_keys = trusted
        keys = SigningKeys(self._store, monotonic=time.monotonic)
        parts = urlsplit(self.url)
        self._handlers = Handlers()
        self._dispatcher = Dispatcher(
            self._store,
            self._handlers,
            HandlerThreads(handler_threads),
            resource=f"POST {parts.path}/events",
            clock=clock,
            inline_timeout=inline_timeout,
            lease=lease,
        )
        authenticator = DPoPAuthenticator(self.policy, self.url, keys, [each.issuer for each in enforced])
        self.recorder = web.Recorder(self._store, clock)
        self.identity = web.IdentityDependency(authenticator, self.recorder, origin=f"{parts.scheme}://{parts.netloc}")
        """For `Security(handoff.identity, scopes=[…])` in the app's own routes."""
        self.router = web.build(
            parts.path,
            recorder=self.recorder,
            tokens=web.TokenEndpoint(
                self.policy,
                self.url,
                {each.issuer.url: each for each in trusted},
                keys,
                self._store,
                clock,
            ),
            events=web.EventEndpoint(
                self.url, authenticator, SigningSecrets(signing_secrets), self._handlers, self._dispatcher, clock
            ),
            keys=keys,
            # An issuer on trial is no reason to take no requests.
            health=web.Health(self._store, enforced, clock),
        )
        """For `app.include_router(handoff.router, prefix="/handoff")`."""

    def on(
        self, event_type: str, *, scope: str, idempotent: bool = False
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Register the handler of a type of event, as `service.deployed`; the access token must have `scope`.

        The handler takes the event and the identity and returns anything that is JSON. It runs once for an event. A
        process that dies while it runs leaves the receipt `interrupted`; an `idempotent` one is run again instead.
        """
        return self._handlers.register(event_type, scope=scope, idempotent=idempotent)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG002 - FastAPI gives it
        """Open the store, look after leases and expired rows, and at the end wait for the handlers that run.

        An app with a lifespan of its own enters this one in it: `async with handoff.lifespan(app): …`.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            for keys in self._issuer_keys:
                stack.push_async_callback(keys.close)
            opened = await self._open()
            upkeep = [asyncio.create_task(work, name=name) for name, work in self._upkeep(opened=opened).items()]
            stack.push_async_callback(_cancel, upkeep)
            # Pushed last, so done first: leases are renewed while the handlers that still run are waited for.
            stack.push_async_callback(self._dispatcher.stop, _GRACE_SECONDS)
            yield

    async def _open(self) -> bool:
        try:
            await self._store.open()
        except StoreUnavailable as error:
            # Not the end: a database that comes later is found without a restart, and `/health` says so until then.
            logger.warning("the store cannot be opened, every request is refused until it can: %s", error)
            return False
        return True

    def _upkeep(self, *, opened: bool) -> dict[str, Any]:
        return {"handoff leases": self._keep(opened=opened), "handoff purge": self._purge()}

    async def _keep(self, *, opened: bool) -> None:
        while not opened:
            await asyncio.sleep(_OPEN_AGAIN_SECONDS)
            try:
                opened = await self._open()
            except Exception:
                logger.exception("the store cannot be opened; it is tried again")
        await self._dispatcher.keep()

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(_PURGE_SECONDS)
            try:
                await self._store.purge(int(self._clock()) - _PURGE_AGE_SECONDS)
            except StoreUnavailable as error:
                logger.warning("expired rows are not purged yet: %s", error)
            except Exception:
                # A trigger's own error, say. The task must outlive it, or nothing is purged until a restart.
                logger.exception("expired rows are not purged yet; it is tried again")


def _receiver_url(url: str) -> str:
    cut = url.removesuffix("/")
    require_transport(cut, "`url`")
    parts = urlsplit(cut)
    normal = normal_url(cut)
    if normal is None or normal.removesuffix("/") != cut or parts.query or parts.fragment:
        raise ValueError(
            f"`url` must be scheme and host in lower case, without default port, query and fragment, not: `{url}`"
        )
    return cut


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
