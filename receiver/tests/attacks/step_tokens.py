"""Hostile step tokens."""

from __future__ import annotations

import base64
import json

import httpx

from attacks.attack import Attack, Stage
from helpers.pipe import Key
from helpers.provider import OTHER_UUID, RsaKey, base64url, encode_part, hs256
from helpers.receiver_app import URL

OTHER_KEY = RsaKey()
"""Of the attacker's own, with the honest key's `kid`."""


async def tampered(stage: Stage) -> httpx.Response:
    header, _, signature = stage.receiver.step_token().split(".")
    claims = {**stage.receiver.claims(), "branchName": "main", "repositoryUuid": OTHER_UUID}
    return await stage.exchange(f"{header}.{encode_part(claims)}.{signature}")


async def unsigned(stage: Stage) -> httpx.Response:
    header = {"alg": "none", "kid": stage.key.kid}
    return await stage.exchange(f"{encode_part(header)}.{encode_part(stage.receiver.claims())}.")


async def none_but_signed(stage: Stage) -> httpx.Response:
    return await stage.with_header(alg="none")


async def confused(stage: Stage) -> httpx.Response:
    return await stage.exchange(hs256(stage.key.public_pem(), stage.receiver.claims(), stage.key.kid))


async def with_slack(stage: Stage) -> httpx.Response:
    """The same token in another spelling: the last character's unused bits are set."""
    token = stage.receiver.step_token()
    assert (await stage.exchange(token)).status_code == 200
    stage.pipe.key = Key()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return await stage.exchange(token[:-1] + alphabet[alphabet.index(token[-1]) | 1])


async def padded(stage: Stage) -> httpx.Response:
    return await stage.exchange(stage.receiver.step_token() + "==")


async def second_key(stage: Stage) -> httpx.Response:
    token = stage.receiver.step_token()
    assert (await stage.exchange(token)).status_code == 200
    stage.pipe.key = Key()
    return await stage.exchange(token)


async def signature_stripped(stage: Stage) -> httpx.Response:
    return await stage.exchange(stage.receiver.step_token().rpartition(".")[0] + ".")


def repeated(stage: Stage, member: str) -> bytes:
    """The claims as JSON, with a member before the last one of the same name."""
    return b"{" + member.encode() + b"," + json.dumps(stage.receiver.claims()).encode()[1:]


async def repeated_claim(stage: Stage) -> httpx.Response:
    claims = repeated(stage, f'"repositoryUuid":"{OTHER_UUID}"')
    return await stage.exchange(stage.key.sign(claims))


async def repeated_header(stage: Stage) -> httpx.Response:
    header = b'{"alg":"none","alg":"RS256","kid":"key-1"}'
    signature = stage.receiver.step_token().rpartition(".")[2]
    return await stage.exchange(f"{encode_part(header)}.{encode_part(stage.receiver.claims())}.{signature}")


async def deep(stage: Stage) -> httpx.Response:
    return await stage.exchange(stage.key.sign(b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"))


async def five_parts(stage: Stage) -> httpx.Response:
    return await stage.exchange(stage.receiver.step_token() + ".e30.e30")


async def utf16(stage: Stage) -> httpx.Response:
    return await stage.exchange(stage.key.sign(json.dumps(stage.receiver.claims()).encode("utf-16")))


def claims(**changes: object):
    return lambda stage: stage.with_claims(**changes)


def header(**members: object):
    return lambda stage: stage.with_header(**members)


def times(**offsets: int):
    """Claims in seconds from the receiver's clock."""
    return lambda stage: stage.with_claims(**{name: stage.now + offset for name, offset in offsets.items()})


def payload(text: str):
    return lambda stage: stage.exchange(stage.key.sign(text.encode()))


def raw(token: str):
    return lambda stage: stage.exchange(token)


ATTACKS = [
    Attack("another repository", "no-grant-matches", claims(repositoryUuid=OTHER_UUID)),
    Attack("another branch", "no-grant-matches", claims(branchName="feature/x/y")),
    Attack("a branch that only begins like one", "no-grant-matches", claims(branchName="main-2")),
    Attack("a branch in another case", "no-grant-matches", claims(branchName="Main")),
    Attack("a branch with a line break", "no-grant-matches", claims(branchName="main\n")),
    Attack("no branch", "no-grant-matches", claims(branchName=None)),
    Attack("another environment", "no-grant-matches", claims(deploymentEnvironmentUuid=OTHER_UUID)),
    Attack("no environment", "no-grant-matches", claims(deploymentEnvironmentUuid=None)),
    Attack("another audience", "audience-mismatch", claims(aud=["https://other.example"])),
    Attack("the default audience", "audience-mismatch", claims(aud="ari:cloud:bitbucket::workspace/1111")),
    Attack("an audience that begins like ours", "audience-mismatch", claims(aud=f"{URL}/token")),
    Attack("our audience with a slash", "audience-mismatch", claims(aud=[f"{URL}/"])),
    Attack("no audience", "audience-mismatch", claims(aud=None)),
    Attack("an empty audience", "audience-mismatch", claims(aud=[])),
    Attack("an audience that is an object", "step-token-malformed", claims(aud={URL: True})),
    Attack("an audience with a number", "step-token-malformed", claims(aud=[URL, 7])),
    Attack("another issuer", "issuer-unknown", claims(iss="https://evil.example/oidc")),
    Attack("an issuer with a slash", "issuer-unknown", lambda s: s.with_claims(iss=s.receiver.issuer.issuer + "/")),
    Attack("no issuer", "issuer-unknown", claims(iss=None)),
    Attack("an issuer that is a list", "issuer-unknown", lambda s: s.with_claims(iss=[s.receiver.issuer.issuer])),
    Attack("another workspace of that slug", "issuer-unknown", claims(workspaceUuid=OTHER_UUID)),
    Attack("another key", "step-token-signature-invalid", lambda s: s.exchange(OTHER_KEY.sign(s.receiver.claims()))),
    Attack("an unknown kid", "step-token-signature-invalid", header(kid="key-2")),
    Attack("a kid that is a path", "step-token-signature-invalid", header(kid="../../../../dev/null")),
    Attack("a kid that is SQL", "step-token-signature-invalid", header(kid="' OR 1=1 --")),
    Attack("no kid", "step-token-malformed", header(kid=None)),
    Attack("a kid that is a list", "step-token-malformed", header(kid=["key-1"])),
    Attack("a jku", "step-token-malformed", header(jku="https://evil.example/keys.json")),
    Attack("an x5u", "step-token-malformed", header(x5u="https://evil.example/chain.pem")),
    Attack("an x5c", "step-token-malformed", header(x5c=["MIIB"])),
    Attack("an embedded key", "step-token-malformed", header(jwk=OTHER_KEY.jwk())),
    Attack("a crit", "step-token-malformed", header(crit=["exp"])),
    Attack("an unencoded payload", "step-token-malformed", header(b64=False)),
    Attack("alg none", "step-token-signature-invalid", unsigned),
    Attack("alg none with a signature", "step-token-signature-invalid", none_but_signed),
    Attack("alg None", "step-token-signature-invalid", header(alg="None")),
    Attack("alg PS256", "step-token-signature-invalid", header(alg="PS256")),
    Attack("alg RS512", "step-token-signature-invalid", header(alg="RS512")),
    Attack("alg in lower case", "step-token-signature-invalid", header(alg="rs256")),
    Attack("no alg", "step-token-malformed", header(alg=None)),
    Attack("HS256 with the public key", "step-token-signature-invalid", confused),
    Attack("a tampered payload", "step-token-signature-invalid", tampered),
    Attack("no signature", "step-token-signature-invalid", signature_stripped),
    Attack("expired, a second past the leeway", "step-token-expired", times(exp=-61)),
    Attack("not yet valid, a second past the leeway", "step-token-not-yet-valid", times(iat=61)),
    Attack("nbf a second past the leeway", "step-token-not-yet-valid", times(nbf=61)),
    Attack("exp a float", "step-token-malformed", lambda s: s.with_claims(exp=s.now + 60.5)),
    Attack("exp true", "step-token-malformed", claims(exp=True)),
    Attack("exp text", "step-token-malformed", claims(exp="9999999999")),
    Attack("exp beyond every clock", "step-token-malformed", claims(exp=10**30)),
    Attack("exp with more digits than Python reads", "step-token-malformed", payload('{"exp":' + "9" * 5000 + "}")),
    Attack("exp negative", "step-token-malformed", claims(exp=-1)),
    Attack("exp infinite", "step-token-malformed", payload('{"exp":Infinity}')),
    Attack("exp 1e999", "step-token-malformed", payload('{"exp":1e999}')),
    Attack("no exp", "claims-missing", claims(exp=None)),
    Attack("no iat", "claims-missing", claims(iat=None)),
    Attack("no sub", "claims-missing", claims(sub=None)),
    Attack("no stepUuid", "claims-missing", claims(stepUuid=None)),
    Attack("a repository that is a number", "claims-missing", claims(repositoryUuid=7)),
    Attack("a branch that is a list", "claims-missing", claims(branchName=["main"])),
    Attack("a repeated claim", "step-token-malformed", repeated_claim),
    Attack("a repeated header member", "step-token-malformed", repeated_header),
    Attack("claims nested deep", "step-token-malformed", deep),
    Attack("claims in UTF-16", "step-token-malformed", utf16),
    Attack("claims not UTF-8", "step-token-malformed", lambda s: s.exchange(s.key.sign(b'{"iss":"\xff"}'))),
    Attack("half a surrogate pair", "step-token-malformed", payload('{"branchName":"\\ud800"}')),
    Attack("a NUL character", "step-token-malformed", payload('{"branchName":"main\\u0000"}')),
    Attack("claims that are a list", "step-token-malformed", payload("[]")),
    Attack("claims that are not JSON", "step-token-malformed", payload("{")),
    Attack("a spelling with slack", "step-token-malformed", with_slack),
    Attack("padding", "step-token-malformed", padded),
    Attack("five parts", "step-token-malformed", five_parts),
    Attack("two parts", "step-token-malformed", raw("e30.e30")),
    Attack("dots only", "step-token-malformed", raw("..")),
    Attack("not base64url", "step-token-malformed", raw("a+/=.b.c")),
    Attack("base64url of a length there is not", "step-token-malformed", raw(f"{base64url(b'{}')}.aaaaa.")),
    Attack("other scripts' letters", "step-token-malformed", raw("é.é.é")),
    Attack("longer than a token may be", "step-token-malformed", lambda s: s.with_claims(filler="x" * 8200)),
    Attack("standard base64", "step-token-malformed", raw(base64.b64encode(b'{"a":"??>>~~"}').decode() + ".e30.e30")),
    Attack("a second key", "step-token-already-bound", second_key),
    Attack("a scope of no grant", "scope-not-granted", lambda s: s.exchange(s.receiver.step_token(), scope="admin")),
    Attack(
        "a scope of another grant",
        "scope-not-granted",
        lambda s: s.exchange(s.receiver.step_token(), scope="deployments:write previews:write"),
    ),
]
