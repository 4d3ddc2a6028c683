"""A new kind of issuer is one file beside the others and its name in `KINDS`: policy, tokens, receipts follow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastapi_handoff

KIND = '''
"""Buildkite."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi_handoff.issuers.base import Claim, Issuer, IssuerSettings, IssuerUrl, Text, claims_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildkiteJob:
    pipeline: Annotated[str, Claim(claim="pipeline_id", description="It.", match="pipeline", value=Text, pinned=True)]


class BuildkiteSettings(IssuerSettings):
    kind: Literal["buildkite"]
    issuer: IssuerUrl


class Buildkite(Issuer):
    kind = "buildkite"
    claims = claims_of(BuildkiteJob)
    view = BuildkiteJob
    source = "pipeline"
    algorithms = frozenset({"RS256"})
    subject_token_type = "id_token"
    max_lifetime = 600
    settings = BuildkiteSettings

    @classmethod
    def from_settings(cls, settings, bitbucket_url):
        return cls(settings, settings.issuer, f"{settings.issuer}/keys", expected={})
'''
CALL = '''
import asyncio, json, sys
from pathlib import Path

from helpers.pipe import event, event_id
from helpers.provider import IssuerServer, RsaKey
from helpers.other_issuers import exchange
from helpers.receiver_app import URL, Receiver

key, folder = RsaKey(), Path(sys.argv[1])
server = IssuerServer(key)
server.respond = lambda request: server.send(request, json.dumps({"keys": [key.jwk()]}).encode())
policy = folder / "handoff.toml"
policy.write_text(f"""
[[issuers]]
name = "ci"
kind = "buildkite"
issuer = "{server.url}"

[[grants]]
name = "the pipeline"
match = {{ pipeline = "p1" }}
scopes = ["deployments:write"]
""")


async def main():
    receiver = Receiver(policy, f"sqlite:///{folder}/handoff.db", server)
    async with receiver.handoff.lifespan(receiver.app):
        now = int(receiver.clock())
        claims = {"iss": server.url, "aud": URL, "sub": "s", "iat": now, "exp": now + 300, "pipeline_id": "p1"}
        refused = await exchange(receiver, key.sign({**claims, "pipeline_id": "p2"}), "id_token")
        token = (await exchange(receiver, key.sign(claims), "id_token")).json()["access_token"]
        receipt = (await receiver.pipe.deliver(receiver.client, token, event(event_id()))).json()
        page = (await receiver.client.get("/openapi.json")).text
    await receiver.client.aclose()
    server.close()
    print(json.dumps([refused.json()["code"], receipt["state"], receipt["identity"], "buildkite" in page]))


asyncio.run(main())
'''


def test_kind_is_added_by_one_file_and_its_name(tmp_path: Path) -> None:
    package = Path(fastapi_handoff.__file__).parent
    copy = tmp_path / "src/fastapi_handoff"
    shutil.copytree(package, copy)
    (copy / "issuers/buildkite.py").write_text(KIND)
    door = (copy / "issuers/__init__.py").read_text()
    oidc = "from fastapi_handoff.issuers.oidc"
    named = door.replace("Okta, Oidc)", "Okta, Oidc, Buildkite)").replace(
        oidc, f"from fastapi_handoff.issuers.buildkite import Buildkite\n{oidc}", 1
    )
    assert named.count("Buildkite") == 2
    (copy / "issuers/__init__.py").write_text(named)

    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{copy.parent}:{tests}"}
    run = subprocess.run(
        [sys.executable, "-c", CALL, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    code, state, identity, is_on_the_page = json.loads(run.stdout)
    assert (code, state, is_on_the_page) == ("no-grant-matches", "succeeded", True)
    assert (identity["kind"], identity["pipeline"]) == ("buildkite", "p1")
