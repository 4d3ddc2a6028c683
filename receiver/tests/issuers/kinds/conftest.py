"""A receiver that trusts an issuer of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.other_issuers import policy, serve
from helpers.provider import IssuerServer


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def issuer(issuer: IssuerServer) -> IssuerServer:
    serve(issuer)
    return issuer


@pytest.fixture
def policy_file(tmp_path: Path, issuer: IssuerServer) -> Path:
    path = tmp_path / "handoff.toml"
    path.write_text(policy(issuer.url))
    return path
