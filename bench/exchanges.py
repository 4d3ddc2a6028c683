"""Exchanges a second, 16 at a time: the receiver beside the certified npm `oidc-provider`, rounds in turn.

Both are one process; both verify an RS256 signature and a DPoP proof and mint an ES256 token that is bound to the proof's key. The
receiver claims each proof and binds each step token in SQLite, durably, and records the exchange in its audit chain; the other one
keeps all it knows in memory. Needs Node. Run: `make bench`, or alone with `PYTHONPATH=test:receiver/tests`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from helpers.pipe import Key, Pipe
from helpers.provider import OTHER_UUID, IssuerServer, RsaKey, step_claims
from helpers.receiver_app import POLICY

from load import HANDOFF, UvicornServer, encoded, send_all
from stage import BENCH, ROOT, child, install, require

WANTED, FLOOR = 1.0, 0.6
AT_A_TIME = 16
FORM = ("content-type", "application/x-www-form-urlencoded")


def node_server() -> Path:
    """Return the alternative's program in a folder with its packages, which are installed on first use."""
    source, folder = BENCH / "alternatives" / "oidc-provider", ROOT / "build" / "bench-oidc-provider"
    installed = folder / "package-lock.json"
    lock = source / "package-lock.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "package.json", folder)
        command = ["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        # The lock last: where npm fails, the next run tries again.
        with tempfile.TemporaryDirectory(dir=folder) as work:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, work)
            install(*command, cwd=Path(work))
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            (Path(work) / "node_modules").rename(folder / "node_modules")
        shutil.copy(lock, installed)
    shutil.copy(source / "server.mjs", folder)
    return folder / "server.mjs"


def handoff_requests(url: str, issuer: IssuerServer, key: RsaKey, number: int) -> list[bytes]:
    """Return exchanges of as many steps, each with its own token and its own key."""
    requests = []
    for _ in range(number):
        step = f"{{{OTHER_UUID[1:-13]}{secrets.token_hex(6)}}}"
        sub = step_claims(issuer.issuer, [url])["sub"].rpartition(":")[0]
        token = key.sign(step_claims(issuer.issuer, [url], stepUuid=step, sub=f"{sub}:{step}"))
        pipe = Pipe(url)
        headers: list[tuple[str, object]] = [FORM, ("dpop", pipe.proof("POST", f"{url}/token"))]
        requests.append(encoded(f"{url}/token", headers, urlencode(pipe.form(token)).encode()))
    return requests


def alternative_requests(origin: str, key: RsaKey, number: int) -> list[bytes]:
    """Return as many requests for a token by client credentials, each with a new assertion and a new key."""
    requests = []
    for _ in range(number):
        now = int(time.time())
        claims = {"iss": "step", "sub": "step", "aud": origin, "iat": now, "exp": now + 3600}
        form = {
            "grant_type": "client_credentials",
            "scope": "deployments:write",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": key.sign({**claims, "jti": secrets.token_hex(16)}),
        }
        proof = Key().sign({"htm": "POST", "htu": f"{origin}/token", "iat": now, "jti": secrets.token_hex(16)})
        requests.append(encoded(f"{origin}/token", [FORM, ("dpop", proof)], urlencode(form).encode()))
    return requests


@contextmanager
def receiver(folder: Path, issuer: IssuerServer) -> Iterator[UvicornServer]:
    """Serve the handoff."""
    (folder / "handoff.toml").write_text(POLICY)
    server = UvicornServer(folder, "verified", HANDOFF, {"ISSUER": issuer.url})
    try:
        yield server
    finally:
        server.stop()


async def measure(rounds: int, number: int) -> dict[str, list[float]]:
    """Return tokens a second, a number for each round."""
    key = RsaKey()
    issuer = IssuerServer(key)
    found: dict[str, list[float]] = {"receiver": [], "oidc-provider": []}
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            receiver(Path(name), issuer) as server,
            child("node", str(node_server()), json.dumps(key.jwk())) as port,
        ):
            origin = f"http://127.0.0.1:{port}"
            for at in range(rounds + 1):
                works = {
                    "receiver": (
                        server.address,
                        handoff_requests(f"{server.origin}/handoff", issuer, key, number),
                    ),
                    "oidc-provider": (("127.0.0.1", int(port)), alternative_requests(origin, key, number)),
                }
                for way, (address, requests) in works.items():
                    seconds = await send_all(address, requests, AT_A_TIME, b'"token_type":"DPoP"')
                    if at:  # the first round warms up
                        found[way].append(number / seconds)
    finally:
        issuer.close()
    return found


def main() -> None:
    """Measure, print, and fail below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    require("node", "npm")
    found = asyncio.run(measure(options.rounds, options.requests))
    print(f"exchanges a second, {AT_A_TIME} at a time; medians of {options.rounds} rounds of {options.requests}")
    for way, rates in found.items():
        print(f"  {way:<16} {statistics.median(rates):8.0f}   ({min(rates):.0f} to {max(rates):.0f})")
    ratio = statistics.median(a / b for a, b in zip(*found.values(), strict=True))
    print(f"  receiver: {ratio:.2f} times the other's rate (wanted ≥ {WANTED:.1f}, budget ≥ {FLOOR:.1f})")
    if ratio < FLOOR:
        raise SystemExit("a budget is missed")


if __name__ == "__main__":
    main()
