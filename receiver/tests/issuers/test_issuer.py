"""The issuer's keys: rotation, outages, slow, oversize and hostile answers, floods."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from http.server import BaseHTTPRequestHandler

import pytest

from fastapi_handoff.issuers import Bitbucket, BitbucketSettings
from fastapi_handoff.issuers import jwks as issuer_module
from fastapi_handoff.issuers.jwks import IssuerKeys, IssuerUnavailable, read_keys
from fastapi_handoff.request import Refusal, require_transport
from helpers.provider import WORKSPACE_UUID, IssuerServer, RsaKey

NEW_KEY = RsaKey("key-2")


class Monotonic:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
async def keys(issuer: IssuerServer, monotonic: Monotonic):
    settings = BitbucketSettings(workspace="acme", workspace_uuid=WORKSPACE_UUID)
    subject = IssuerKeys(Bitbucket.from_settings(settings, issuer.url), monotonic=monotonic)
    yield subject
    await subject.close()


async def code(keys: IssuerKeys, kid: str) -> str:
    with pytest.raises(Refusal) as caught:
        await keys.key(kid)
    return caught.value.code


async def test_keys_are_fetched_once_for_many(keys, issuer) -> None:
    found = await asyncio.gather(*(keys.key("key-1") for _ in range(50)))
    assert len({id(key) for key in found}) == 1
    assert issuer.fetches == 1


async def test_rotated_key_is_found_after_the_cooldown(keys, issuer, monotonic) -> None:
    await keys.key("key-1")
    issuer.keys.append(NEW_KEY)
    assert await code(keys, "key-2") == "step-token-signature-invalid"
    monotonic.now += 60
    assert await keys.key("key-2")
    assert issuer.fetches == 2


async def test_withdrawn_key_is_forgotten_within_the_hour(keys, issuer, monotonic) -> None:
    await keys.key("key-1")
    issuer.keys[:] = [NEW_KEY]
    monotonic.now += 3600
    assert await code(keys, "key-1") == "step-token-signature-invalid"


async def test_endless_unknown_kids_cost_one_fetch_a_cooldown(keys, issuer, monotonic) -> None:
    await keys.key("key-1")
    for number in range(500):
        assert await code(keys, f"unknown-{number}") == "step-token-signature-invalid"
        monotonic.now += 0.5
    assert issuer.fetches == 1 + 4
    assert await keys.key("key-1")


async def test_outage_keeps_the_old_keys(keys, issuer, monotonic) -> None:
    await keys.key("key-1")
    issuer.respond = lambda request: issuer.send(request, b"", 503)
    monotonic.now += 4000
    assert await keys.key("key-1")
    assert await code(keys, "key-2") == "issuer-unavailable"


async def test_no_keys_at_all_is_unavailable_and_tried_again_soon(keys, issuer, monotonic) -> None:
    issuer.respond = lambda request: issuer.send(request, b"", 500)
    assert not await keys.ready()
    assert await code(keys, "key-1") == "issuer-unavailable"
    assert issuer.fetches == 1
    issuer.respond = issuer.answer
    monotonic.now += 5
    assert await keys.key("key-1")
    assert await keys.ready()


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    try:
        for _ in range(100):
            request.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        pass


def oversize(request: BaseHTTPRequestHandler) -> None:
    IssuerServer.send(request, b" " * (1024 * 1024 + 1))


def bomb(request: BaseHTTPRequestHandler) -> None:
    """A megabyte of zeros in a kilobyte, to a client that asked for no compression."""
    IssuerServer.send(request, gzip.compress(b" " * 2**20), content_encoding="gzip")


def redirect(request: BaseHTTPRequestHandler) -> None:
    IssuerServer.send(request, b"", 302, location="https://evil.example/keys.json")


@pytest.mark.parametrize("fault", [drip, oversize, bomb, redirect])
async def test_hostile_answer_gives_no_keys(keys, issuer, monkeypatch, fault) -> None:
    monkeypatch.setattr(issuer_module, "FETCH_SECONDS", 0.3)
    issuer.respond = fault
    assert await code(keys, "key-1") == "issuer-unavailable"


async def test_environments_proxy_is_not_asked(keys, monkeypatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await keys.key("key-1")


@pytest.mark.parametrize(
    "jwk",
    [
        RsaKey(bits=1024).jwk(),
        NEW_KEY.jwk(kid=None),
        NEW_KEY.jwk(kid=7),
        NEW_KEY.jwk(kid=""),
        NEW_KEY.jwk(use="enc"),
        NEW_KEY.jwk(alg="RS512"),
        NEW_KEY.jwk(kty="oct", k="AA"),
        NEW_KEY.jwk(kty="EC", crv="P-256", x="AA", y="AA"),
        NEW_KEY.jwk(e="AA"),
        NEW_KEY.jwk(e="AQ"),
        NEW_KEY.jwk(n="AA"),
        NEW_KEY.jwk(n=None),
        NEW_KEY.jwk(n=7),
        NEW_KEY.jwk(n=NEW_KEY.jwk()["n"] + "="),
        "a key",
        None,
    ],
)
def test_unsound_key_is_passed_over(jwk: object) -> None:
    assert list(read_keys(json.dumps({"keys": [jwk, RsaKey("sound").jwk()]}).encode())) == ["sound"]
    with pytest.raises(IssuerUnavailable):
        read_keys(json.dumps({"keys": [jwk]}).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"\xff", b'{"keys":[],"keys":[]}'])
def test_answer_without_keys_is_a_failed_fetch(body: bytes) -> None:
    with pytest.raises(IssuerUnavailable):
        read_keys(body)


def test_first_of_two_keys_of_one_name_stays() -> None:
    first, second = RsaKey("same"), RsaKey("same")
    keys = read_keys(json.dumps({"keys": [first.jwk(), second.jwk()]}).encode())
    assert keys["same"].as_dict(private=False)["n"] == first.jwk()["n"]


@pytest.mark.parametrize(
    "url", ["https://api.bitbucket.org", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
)
def test_transport_is_https_or_this_machine(url: str) -> None:
    require_transport(url, "`url`")


@pytest.mark.parametrize(
    "url", ["http://api.bitbucket.org", "http://127.0.0.1.evil.example", "ftp://localhost", "x", ""]
)
def test_other_transport_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be `https`"):
        require_transport(url, "`url`")


async def test_refused_for_want_of_keys_is_503_with_retry_after(receiver, issuer, records) -> None:
    issuer.respond = lambda request: issuer.send(request, b"", 500)
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token())
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert 1 <= int(response.headers["retry-after"]) <= 6
    assert records()[-1]["code"] == "issuer-unavailable"
