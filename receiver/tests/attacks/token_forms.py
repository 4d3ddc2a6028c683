"""Hostile forms at the token endpoint."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx

from attacks.attack import Attack, Stage
from helpers.receiver_app import URL


def form(**changes: str | None):
    return lambda stage: stage.exchange(stage.receiver.step_token(), **changes)


def body(content: bytes, **headers: str):
    return lambda stage: stage.post_form(content, **headers)


def honest(stage: Stage) -> bytes:
    return urlencode(stage.pipe.form(stage.receiver.step_token())).encode()


async def chunked(stage: Stage) -> httpx.Response:
    """A body that does not say its length."""

    async def chunks():
        yield honest(stage) + b"&filler="
        for _ in range(9):
            yield b"x" * 8192

    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "dpop": stage.pipe.proof("POST", f"{URL}/token"),
    }
    return await stage.client.post(f"{URL}/token", content=chunks(), headers=headers)


ATTACKS = [
    Attack("another grant type", "token-request-malformed", form(grant_type="client_credentials")),
    Attack("no grant type", "token-request-malformed", form(grant_type=None)),
    Attack("another subject token type", "token-request-malformed", form(subject_token_type="urn:x")),
    Attack("another requested token type", "token-request-malformed", form(requested_token_type="urn:x")),
    Attack("no subject token", "token-request-malformed", form(subject_token=None)),
    Attack("an empty subject token", "token-request-malformed", form(subject_token="")),
    Attack("an actor token", "token-request-malformed", form(actor_token="x")),
    Attack("an audience parameter", "token-request-malformed", form(audience="https://other.example")),
    Attack("another resource", "resource-mismatch", form(resource="https://other.example")),
    Attack("a resource with a slash", "resource-mismatch", form(resource=f"{URL}/")),
    Attack("no resource", "resource-mismatch", form(resource=None)),
    Attack("two spaces in a scope", "token-request-malformed", form(scope="a  b")),
    Attack("an empty scope", "token-request-malformed", form(scope="")),
    Attack("a line break in a scope", "token-request-malformed", form(scope="a\nb")),
    Attack("a scope that is too long", "token-request-malformed", form(scope="x" * 1025)),
    Attack("a quote in a scope", "token-request-malformed", form(scope='a"b')),
    Attack(
        "a parameter twice", "token-request-malformed", lambda s: s.post_form(honest(s) + f"&resource={URL}".encode())
    ),
    Attack("a JSON body", "token-request-malformed", body(b"{}", content_type="application/json")),
    Attack("no content type", "token-request-malformed", lambda s: s.post_form(honest(s), content_type="")),
    Attack(
        "a multipart body",
        "token-request-malformed",
        body(b"--x\r\n\r\n--x--", content_type="multipart/form-data; boundary=x"),
    ),
    Attack("an empty body", "token-request-malformed", body(b"")),
    Attack("a body not UTF-8", "token-request-malformed", body(b"grant_type=\xff\xfe")),
    Attack("a percent sign not UTF-8", "token-request-malformed", body(b"grant_type=%ff%fe")),
    Attack("a broken percent sign", "token-request-malformed", body(b"grant_type=%zz")),
    Attack("a parameter without a value", "token-request-malformed", body(b"grant_type")),
    Attack("hundreds of parameters", "token-request-malformed", body("&".join(f"p{n}=1" for n in range(500)).encode())),
    Attack("a body over the limit", "payload-too-large", body(b"x" * 65537)),
    Attack("a chunked body over the limit", "payload-too-large", chunked),
    Attack("a header over the limit", "payload-too-large", body(b"x=1", x_filler="y" * 16385)),
]
