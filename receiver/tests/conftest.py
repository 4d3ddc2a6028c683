"""What the tests share: receivers, the identity provider they trust, and what their audit says."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from helpers.provider import IssuerServer, RsaKey
from helpers.receiver_app import POLICY, Receiver

pytest_plugins = ["helpers.fixtures_store"]


@pytest.fixture(scope="session")
def provider_key() -> RsaKey:
    return RsaKey()


@pytest.fixture
def issuer(provider_key: RsaKey) -> Iterator[IssuerServer]:
    server = IssuerServer(provider_key)
    yield server
    server.close()


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "handoff.toml"
    path.write_text(POLICY)
    return path


@pytest_asyncio.fixture
async def receivers(policy_file: Path, store_url: str, issuer: IssuerServer) -> AsyncIterator[Callable[..., Any]]:
    """Starts receivers, each with a lifespan, that share the store: replicas."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Receiver:
            receiver = Receiver(policy_file, store_url, issuer, **options)
            await stack.enter_async_context(receiver.handoff.lifespan(receiver.app))
            stack.push_async_callback(receiver.client.aclose)
            return receiver

        yield start


@pytest_asyncio.fixture
async def receiver(receivers: Callable[..., Any]) -> Receiver:
    started: Receiver = await receivers()
    return started


@pytest.fixture
def records(sql: Callable[..., list[tuple[Any, ...]]]) -> Callable[[], list[dict[str, Any]]]:
    """Everything the audit says, oldest first."""

    def read() -> list[dict[str, Any]]:
        return [json.loads(row[0]) for row in sql("SELECT record FROM audit_records ORDER BY seq")]

    return read
