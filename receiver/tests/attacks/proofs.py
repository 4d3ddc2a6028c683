"""Hostile proofs, at the token endpoint and with events."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import httpx

from attacks.attack import Attack, Stage
from helpers.pipe import Key
from helpers.provider import base64url, encode_part
from helpers.receiver_app import URL

TOKEN_URL = f"{URL}/token"
EVENTS_URL = f"{URL}/events"


def at_token(**changes: Any):
    """The proof of an exchange with claims changed."""
    return lambda stage: stage.exchange_with(stage.pipe.proof("POST", TOKEN_URL, **changes))


def at_token_in(**offsets: int):
    return lambda stage: stage.exchange_with(
        stage.pipe.proof("POST", TOKEN_URL, **{name: stage.now + offset for name, offset in offsets.items()})
    )


def header(**members: Any):
    """The proof of an exchange with header members changed."""
    return lambda stage: stage.exchange_with(stage.pipe.key.sign(stage.pipe.proof_claims("POST", TOKEN_URL), **members))


def jwk(**members: Any):
    return lambda stage: stage.exchange_with(
        stage.pipe.key.sign(
            stage.pipe.proof_claims("POST", TOKEN_URL),
            jwk={name: value for name, value in {**stage.pipe.key.jwk, **members}.items() if value is not None},
        )
    )


def at_events(**changes: Any):
    return lambda stage: stage.deliver_with_proof(**changes)


def raw(value: str | bytes):
    return lambda stage: stage.exchange_with(value)


async def no_proof(stage: Stage) -> httpx.Response:
    return await stage.client.post(TOKEN_URL, data=stage.pipe.form(stage.receiver.step_token()))


async def two_proofs(stage: Stage) -> httpx.Response:
    proofs = [("DPoP", stage.pipe.proof("POST", TOKEN_URL)) for _ in range(2)]
    return await stage.client.post(TOKEN_URL, data=stage.pipe.form(stage.receiver.step_token()), headers=proofs)


async def two_proofs_in_one(stage: Stage) -> httpx.Response:
    return await stage.exchange_with(", ".join(stage.pipe.proof("POST", TOKEN_URL) for _ in range(2)))


async def replayed_exchange(stage: Stage) -> httpx.Response:
    proof = stage.pipe.proof("POST", TOKEN_URL)
    assert (await stage.exchange_with(proof)).status_code == 200
    return await stage.exchange_with(proof)


async def replayed_event(stage: Stage) -> httpx.Response:
    body = json.dumps(stage.content).encode()
    headers = stage.pipe.event_headers(stage.token, body, stage.content["id"])
    assert (await stage.client.post(EVENTS_URL, content=body, headers=headers)).status_code == 200
    return await stage.client.post(EVENTS_URL, content=body, headers=headers)


async def replayed_jti(stage: Stage) -> httpx.Response:
    """Another proof of the same id: what is remembered is the id, not the text."""
    jti = "a" * 22
    assert (await stage.exchange_with(stage.pipe.proof("POST", TOKEN_URL, jti=jti))).status_code == 200
    return await stage.deliver_with_proof(jti=jti)


async def replayed_with_negated_signature(stage: Stage) -> httpx.Response:
    """ECDSA has two signatures for each: (r, s) and (r, n - s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    proof = stage.pipe.proof("POST", TOKEN_URL)
    assert (await stage.exchange_with(proof)).status_code == 200
    signing_input, _, signature = proof.rpartition(".")
    r_s = base64.urlsafe_b64decode(signature + "==")
    s = order - int.from_bytes(r_s[32:], "big")
    return await stage.exchange_with(f"{signing_input}.{base64url(r_s[:32] + s.to_bytes(32, 'big'))}")


async def signed_by_another(stage: Stage) -> httpx.Response:
    return await stage.exchange_with(Key().sign(stage.pipe.proof_claims("POST", TOKEN_URL), jwk=stage.pipe.key.jwk))


async def hmac_with_the_public_key(stage: Stage) -> httpx.Response:
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": stage.pipe.key.jwk}
    parts = f"{encode_part(header)}.{encode_part(stage.pipe.proof_claims('POST', TOKEN_URL))}"
    return await stage.exchange_with(f"{parts}.{base64url(hashlib.sha256(parts.encode()).digest())}")


async def zero_signature(stage: Stage) -> httpx.Response:
    parts = stage.pipe.proof("POST", TOKEN_URL).rpartition(".")[0]
    return await stage.exchange_with(f"{parts}.{base64url(bytes(64))}")


async def der_signature(stage: Stage) -> httpx.Response:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    parts = stage.pipe.proof("POST", TOKEN_URL).rpartition(".")[0]
    signature = stage.pipe.key.private.sign(parts.encode(), ec.ECDSA(hashes.SHA256()))
    return await stage.exchange_with(f"{parts}.{base64url(signature)}")


async def repeated_claim(stage: Stage) -> httpx.Response:
    claims = b'{"htm":"GET",' + json.dumps(stage.pipe.proof_claims("POST", TOKEN_URL)).encode()[1:]
    return await stage.exchange_with(stage.pipe.key.sign(claims))


async def of_another_token(stage: Stage) -> httpx.Response:
    other = await stage.receiver.access_token()
    return await stage.deliver_with_proof(ath=base64url(hashlib.sha256(other.encode()).digest()))


async def of_another_key(stage: Stage) -> httpx.Response:
    """A stolen access token, with a proof of the thief's own key."""
    stage.pipe.key = Key()
    return await stage.deliver()


ATTACKS = [
    Attack("no proof", "proof-missing", no_proof, 400),
    Attack("an empty proof", "proof-missing", raw(""), 400),
    Attack("two proofs", "proof-invalid", two_proofs, 400),
    Attack("two proofs in one header", "proof-invalid", two_proofs_in_one, 400),
    Attack("a proof that is no JWS", "proof-invalid", raw("x"), 400),
    Attack("a proof not ASCII", "proof-invalid", raw(b"\xff\xfe.\xff.\xff"), 400),
    Attack("a proof over its limit", "proof-invalid", at_token(filler="x" * 4096), 400),
    Attack("a replayed exchange", "proof-replayed", replayed_exchange, 400),
    Attack("a replayed event", "proof-replayed", replayed_event),
    Attack("a jti used twice", "proof-replayed", replayed_jti),
    Attack("a replay with the other signature", "proof-replayed", replayed_with_negated_signature, 400),
    Attack("signed by another key than it names", "proof-invalid", signed_by_another, 400),
    Attack("HMAC with the public key", "proof-invalid", hmac_with_the_public_key, 400),
    Attack("a signature of zeros", "proof-invalid", zero_signature, 400),
    Attack("a signature in DER", "proof-invalid", der_signature, 400),
    Attack("alg none", "proof-invalid", header(alg="none"), 400),
    Attack("alg ES384", "proof-invalid", header(alg="ES384"), 400),
    Attack("typ JWT", "proof-invalid", header(typ="JWT"), 400),
    Attack("typ of an access token", "proof-invalid", header(typ="at+jwt"), 400),
    Attack("no typ", "proof-invalid", header(typ=None), 400),
    Attack("a kid beside the key", "proof-invalid", header(kid="x"), 400),
    Attack("a jku beside the key", "proof-invalid", header(jku="https://evil.example"), 400),
    Attack("a crit", "proof-invalid", header(crit=["htm"]), 400),
    Attack("no key", "proof-invalid", header(jwk=None), 400),
    Attack("a key that is text", "proof-invalid", header(jwk="x"), 400),
    Attack("a private key", "proof-invalid", jwk(d="AA"), 400),
    Attack("an RSA key", "proof-invalid", jwk(kty="RSA"), 400),
    Attack("another curve", "proof-invalid", jwk(crv="P-384"), 400),
    Attack("a symmetric key", "proof-invalid", jwk(kty="oct", k="AA", x=None, y=None, crv=None), 400),
    Attack("a point off the curve", "proof-invalid", jwk(x=base64url(b"\x01" * 32)), 400),
    Attack("the point at infinity", "proof-invalid", jwk(x=base64url(bytes(32)), y=base64url(bytes(32))), 400),
    Attack("a short coordinate", "proof-invalid", jwk(x="AA"), 400),
    Attack("a coordinate that is a number", "proof-invalid", jwk(x=7), 400),
    Attack("a repeated claim", "proof-invalid", repeated_claim, 400),
    Attack("another method", "proof-invalid", at_token(htm="GET"), 400),
    Attack("the method in lower case", "proof-invalid", at_token(htm="post"), 400),
    Attack("no method", "proof-invalid", at_token(htm=None), 400),
    Attack("a method that is a list", "proof-invalid", at_token(htm=["POST"]), 400),
    Attack("htu of another route", "proof-invalid", at_token(htu=EVENTS_URL), 400),
    Attack("htu of another host", "proof-invalid", at_token(htu="https://evil.example/handoff/token"), 400),
    Attack("htu with a query", "proof-invalid", at_token(htu=f"{TOKEN_URL}?a=1"), 400),
    Attack("htu with a fragment", "proof-invalid", at_token(htu=f"{TOKEN_URL}#a"), 400),
    Attack("htu with dots", "proof-invalid", at_token(htu=f"{URL}/x/../token"), 400),
    Attack("htu with another port", "proof-invalid", at_token(htu="https://api.acme.dev:8443/handoff/token"), 400),
    Attack(
        "htu with the other scheme's port", "proof-invalid", at_token(htu="https://api.acme.dev:80/handoff/token"), 400
    ),
    Attack("htu over http", "proof-invalid", at_token(htu="http://api.acme.dev/handoff/token"), 400),
    Attack("htu with a path in another case", "proof-invalid", at_token(htu=f"{URL}/Token"), 400),
    Attack("htu with a percent sign", "proof-invalid", at_token(htu=f"{URL}/%74oken"), 400),
    Attack("htu with a user", "proof-invalid", at_token(htu="https://api.acme.dev@evil.example/handoff/token"), 400),
    Attack("htu with our host as the user", "proof-invalid", at_token(htu="https://x@api.acme.dev/handoff/token"), 400),
    Attack("htu with a slash at its end", "proof-invalid", at_token(htu=f"{TOKEN_URL}/"), 400),
    Attack("htu with a backslash", "proof-invalid", at_token(htu="https://api.acme.dev\\handoff/token"), 400),
    Attack("htu without a host", "proof-invalid", at_token(htu="/handoff/token"), 400),
    Attack("htu that is a list", "proof-invalid", at_token(htu=[TOKEN_URL]), 400),
    Attack("iat a second too old", "proof-invalid", at_token_in(iat=-61), 400),
    Attack("iat a second too new", "proof-invalid", at_token_in(iat=61), 400),
    Attack("iat a float", "proof-invalid", lambda s: at_token(iat=float(s.now))(s), 400),
    Attack("iat true", "proof-invalid", at_token(iat=True), 400),
    Attack("iat text", "proof-invalid", lambda s: at_token(iat=str(s.now))(s), 400),
    Attack("iat huge", "proof-invalid", at_token(iat=10**400), 400),
    Attack("no iat", "proof-invalid", at_token(iat=None), 400),
    Attack("no jti", "proof-invalid", at_token(jti=None), 400),
    Attack("a short jti", "proof-invalid", at_token(jti="a" * 21), 400),
    Attack("a long jti", "proof-invalid", at_token(jti="a" * 129), 400),
    Attack("a jti with a blank", "proof-invalid", at_token(jti="a" * 21 + " "), 400),
    Attack("a jti with a line break", "proof-invalid", at_token(jti="a" * 22 + "\n"), 400),
    Attack("a jti that is a number", "proof-invalid", at_token(jti=10**30), 400),
    Attack("ath of another token", "proof-invalid", of_another_token),
    Attack("no ath", "proof-invalid", at_events(ath=None)),
    Attack("ath in hex", "proof-invalid", lambda s: at_events(ath=hashlib.sha256(s.token.encode()).hexdigest())(s)),
    Attack("ath not ASCII", "proof-invalid", at_events(ath="é")),
    Attack("a proof of another key", "key-mismatch", of_another_key),
    Attack("content_digest of another body", "digest-mismatch", at_events(content_digest="sha-256=:AAAA:")),
    Attack("no content_digest", "digest-mismatch", at_events(content_digest=None)),
    Attack("content_digest that is a list", "proof-invalid", at_events(content_digest=["x"])),
    Attack("an event with the proof of an exchange", "proof-invalid", at_events(htu=TOKEN_URL)),
]
