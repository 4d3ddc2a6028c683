"""Hostile tokens for every kind of issuer: each is refused with its code, recorded, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fastapi_handoff.request.refusal import CODES
from helpers.other_issuers import (
    AWS,
    AWS_EC,
    AWS_RSA,
    OIDC_EC,
    OIDC_KEY,
    OKTA_KEY,
    ROLE,
    TOKENS,
    EcKey,
    aws_claims,
    exchange,
    oidc_claims,
    okta_claims,
    without_type,
)
from helpers.provider import OTHER_UUID, RsaKey, hs256
from helpers.receiver_app import URL, Receiver

STATE = ("subject_token_bindings", "proof_ids", "receipts", "public_keys")
MINE = RsaKey("oidc-1")
"""The attacker's, under the honest key's name."""
MY_EC = EcKey("EC384_0", ec.SECP384R1())
P256 = EcKey("EC384_0", ec.SECP256R1())

Token = tuple[str, str]
Make = Callable[[Receiver], Token]


def okta(**changes: Any) -> Make:
    return lambda receiver: TOKENS["okta"](receiver, **changes)


def aws(**changes: Any) -> Make:
    return lambda receiver: TOKENS["aws"](receiver, **changes)


def oidc(**changes: Any) -> Make:
    return lambda receiver: TOKENS["oidc"](receiver, **changes)


def lives(kind: str, seconds: int) -> Make:
    return lambda receiver: TOKENS[kind](receiver, exp=int(receiver.clock()) + seconds)


def issued_as(kind: str, change: Callable[[str], Any]) -> Make:
    """The token of a kind whose `iss` is spelled in another way."""

    def make(receiver: Receiver) -> Token:
        claims = {"okta": okta_claims, "aws": aws_claims, "oidc": oidc_claims}[kind](receiver)
        return TOKENS[kind](receiver, iss=change(claims["iss"]))

    return make


def okta_header(**header: Any) -> Make:
    return lambda receiver: (without_type(OKTA_KEY, okta_claims(receiver), **header), "access_token")


def oidc_header(**header: Any) -> Make:
    return lambda receiver: (OIDC_KEY.sign(oidc_claims(receiver), **header), "id_token")


def exchanged_as(kind: str, token_type: str) -> Make:
    return lambda receiver: (TOKENS[kind](receiver)[0], token_type)


def own_access_token(receiver: Receiver) -> Token:
    """Made by `test_access_token_of_ours_is_no_subject_token`; here only its claims, signed by a trusted provider."""
    claims = oidc_claims(receiver, iss=URL)
    return OIDC_KEY.sign(claims, typ="at+jwt"), "access_token"


HOSTILE: dict[str, tuple[str, Make]] = {
    # Issuers meet nowhere
    "okta: an issuer with a slash": ("issuer-unknown", issued_as("okta", lambda url: f"{url}/")),
    "okta: an issuer in upper case": ("issuer-unknown", issued_as("okta", str.upper)),
    "okta: an issuer that is a list": ("issuer-unknown", issued_as("okta", lambda url: [url])),
    "oidc: an issuer without its slash": ("issuer-unknown", issued_as("oidc", lambda url: url.rstrip("/"))),
    "oidc: an issuer with its port spelled out": ("issuer-unknown", issued_as("oidc", lambda url: f"{url}?")),
    "aws: keys of oidc": (
        "step-token-signature-invalid",
        lambda receiver: (OIDC_KEY.sign(aws_claims(receiver), kid="RSA_0"), "jwt"),
    ),
    "aws: keys of oidc under their own name": (
        "step-token-signature-invalid",
        lambda receiver: (OIDC_KEY.sign(aws_claims(receiver)), "jwt"),
    ),
    "okta: keys of bitbucket": (
        "step-token-signature-invalid",
        lambda receiver: (
            without_type(receiver.issuer.keys[0], okta_claims(receiver), kid="okta-1"),
            "access_token",
        ),
    ),
    "bitbucket: keys of oidc": (
        "step-token-signature-invalid",
        lambda receiver: (OIDC_KEY.sign(receiver.claims(), kid="key-1"), "id_token"),
    ),
    "oidc: the claims of a bitbucket step": (
        "claims-missing",
        lambda receiver: TOKENS["oidc"](
            receiver,
            **{name: value for name, value in receiver.claims().items() if name not in {"iss", "aud", "iat", "exp"}},
            repository_id=None,
        ),
    ),
    "okta: the subject of aws": ("no-grant-matches", okta(sub=ROLE, cid=ROLE)),
    "oidc: what okta's grant asks for": ("no-grant-matches", oidc(cid="0oa1", scp=["deploy"], event_name="pull")),
    # Algorithms and keys
    "oidc: an algorithm that is not pinned": (
        "step-token-signature-invalid",
        lambda receiver: (OIDC_EC.sign(oidc_claims(receiver)), "id_token"),
    ),
    "oidc: a pinned algorithm with a key of another": (
        "step-token-signature-invalid",
        oidc_header(kid="oidc-ec"),
    ),
    "oidc: RS384": ("step-token-signature-invalid", oidc_header(alg="RS384")),
    "oidc: none": ("step-token-signature-invalid", oidc_header(alg="none")),
    "oidc: HS256 with the public key": (
        "step-token-signature-invalid",
        lambda receiver: (hs256(OIDC_KEY.public_pem(), oidc_claims(receiver), "oidc-1"), "id_token"),
    ),
    "oidc: another's key of that name": (
        "step-token-signature-invalid",
        lambda receiver: (MINE.sign(oidc_claims(receiver)), "id_token"),
    ),
    "oidc: a key in the header": ("step-token-malformed", oidc_header(jwk=MINE.jwk())),
    "okta: ES384": ("step-token-signature-invalid", okta_header(alg="ES384")),
    "aws: another's key of that name": (
        "step-token-signature-invalid",
        lambda receiver: (MY_EC.sign(aws_claims(receiver)), "jwt"),
    ),
    "aws: ES256": ("step-token-signature-invalid", lambda receiver: (P256.sign(aws_claims(receiver)), "jwt")),
    "aws: ES384 by a key of P-256": (
        "step-token-signature-invalid",
        lambda receiver: (P256.sign(aws_claims(receiver), alg="ES384"), "jwt"),
    ),
    "aws: ES384 with the name of the RSA key": (
        "step-token-signature-invalid",
        lambda receiver: (AWS_EC.sign(aws_claims(receiver), kid="RSA_0"), "jwt"),
    ),
    "aws: RS256 with the name of the EC key": (
        "step-token-signature-invalid",
        lambda receiver: (AWS_RSA.sign(aws_claims(receiver), kid="EC384_0"), "jwt"),
    ),
    # What a token is for
    "okta: an ID token's typ": ("step-token-malformed", okta_header(typ="JWT")),
    "okta: a typ of RFC 9068": ("step-token-malformed", okta_header(typ="at+jwt")),
    "oidc: an access token of the same provider": ("step-token-malformed", oidc_header(typ="at+jwt")),
    "oidc: the same in its long form": ("step-token-malformed", oidc_header(typ="application/AT+JWT")),
    "oidc: a logout token": ("step-token-malformed", oidc_header(typ="logout+jwt")),
    "oidc: no typ": (
        "step-token-malformed",
        lambda receiver: (without_type(OIDC_KEY, oidc_claims(receiver)), "id_token"),
    ),
    "oidc: a typ that is a list": ("step-token-malformed", oidc_header(typ=["JWT"])),
    "aws: a proof": ("step-token-malformed", lambda r: (AWS_EC.sign(aws_claims(r), typ="dpop+jwt"), "jwt")),
    "bitbucket: an access token": (
        "step-token-malformed",
        lambda receiver: (receiver.issuer.keys[0].sign(receiver.claims(), typ="at+jwt"), "id_token"),
    ),
    "okta: said to be an ID token": ("token-request-malformed", exchanged_as("okta", "id_token")),
    "oidc: said to be an access token": ("token-request-malformed", exchanged_as("oidc", "access_token")),
    "aws: said to be an ID token": ("token-request-malformed", exchanged_as("aws", "id_token")),
    "bitbucket: said to be any JWT": ("token-request-malformed", lambda r: (r.step_token(), "jwt")),
    "oidc: said to be SAML": ("token-request-malformed", exchanged_as("oidc", "saml2")),
    "one like ours, by a trusted provider": ("issuer-unknown", own_access_token),
    # Audiences
    "okta: the receiver's URL, where the policy names another": ("audience-mismatch", okta(aud=URL)),
    "okta: no audience": ("audience-mismatch", okta(aud=None)),
    "oidc: okta's audience": ("audience-mismatch", oidc(aud="https://api.acme.dev/okta")),
    "oidc: the owner's URL": ("audience-mismatch", oidc(aud="https://github.com/acme")),
    "aws: several, none of them ours": ("audience-mismatch", aws(aud=["https://a.example", f"{URL}/"])),
    "aws: ours inside another": ("audience-mismatch", aws(aud=f"{URL} https://a.example")),
    "oidc: a list in a list": ("step-token-malformed", oidc(aud=[[URL]])),
    "oidc: bitbucket's default audience": (
        "audience-mismatch",
        oidc(aud="ari:cloud:bitbucket::workspace/11111111-1111-4111-8111-111111111111"),
    ),
    # Lifetimes
    "aws: a second more than an hour": ("step-token-lifetime-exceeded", lives("aws", 3601)),
    "okta: a second more than an hour": ("step-token-lifetime-exceeded", lives("okta", 3601)),
    "oidc: a second more than the policy's": ("step-token-lifetime-exceeded", lives("oidc", 901)),
    "oidc: for years": ("step-token-lifetime-exceeded", lives("oidc", 10**9)),
    "aws: long ended": ("step-token-expired", lives("aws", -61)),
    # Claims
    "aws: no nested claims": ("claims-missing", aws(**{AWS: None})),
    "aws: nested claims that are a list": ("claims-missing", aws(nested=[{"aws_account": "123456789012"}])),
    "aws: nested claims that are text": ("claims-missing", aws(nested="aws_account")),
    "aws: the account outside": ("claims-missing", aws(nested={"aws_account": None}, aws_account="123456789012")),
    "aws: an account that is a number": ("claims-missing", aws(nested={"aws_account": 123456789012})),
    "aws: an account in a list": ("claims-missing", aws(nested={"aws_account": ["123456789012"]})),
    "aws: another account": ("no-grant-matches", aws(nested={"aws_account": "999999999999"})),
    "aws: the role inside only": ("claims-missing", aws(nested={"sub": ROLE}, sub=None)),
    "aws: another role": ("no-grant-matches", aws(sub=f"{ROLE}2")),
    "aws: a session of the role": (
        "no-grant-matches",
        aws(sub="arn:aws:sts::123456789012:assumed-role/deployer/session"),
    ),
    "aws: the tag as a request tag": (
        "no-grant-matches",
        aws(nested={"principal_tags": {}, "request_tags": {"team": "platform", "principal_tags.team": "platform"}}),
    ),
    "aws: a tag that is a number": ("claims-missing", aws(nested={"principal_tags": {"team": 7}})),
    "aws: tags that are a list": ("no-grant-matches", aws(nested={"principal_tags": ["team"]})),
    "aws: a region that is a list": ("claims-missing", aws(nested={"source_region": ["eu-central-1"]})),
    "aws: no id": ("claims-missing", aws(jti=None)),
    "aws: the id inside only": ("claims-missing", aws(nested={"jti": "x"}, jti=None)),
    "aws: an id of 8 kB": ("claims-missing", aws(jti="x" * 4000)),
    "okta: a person": ("user-token-not-taken", okta(uid="00u1", sub="jane@acme.dev")),
    "okta: a person without a name": ("claims-missing", okta(uid=["00u1"])),
    "okta: another application": ("no-grant-matches", okta(cid="0oa2")),
    "okta: no application": ("claims-missing", okta(cid=None)),
    "okta: an application that is a list": ("claims-missing", okta(cid=["0oa1"])),
    "okta: without the scope": ("no-grant-matches", okta(scp=["other"])),
    "okta: without any scope": ("no-grant-matches", okta(scp=None)),
    "okta: an empty list of scopes": ("no-grant-matches", okta(scp=[])),
    "okta: scopes as text": ("claims-missing", okta(scp="other deploy")),
    "okta: two scopes in one": ("claims-missing", okta(scp=["other deploy"])),
    "okta: scopes in an object": ("claims-missing", okta(scp={"deploy": True})),
    "okta: a scope that begins alike": ("no-grant-matches", okta(scp=["deploy:all"])),
    "oidc: another repository": ("no-grant-matches", oidc(repository_id="43")),
    "oidc: another owner": ("no-grant-matches", oidc(repository_owner_id="8")),
    "oidc: no owner": ("claims-missing", oidc(repository_owner_id=None)),
    "oidc: a repository that is a number": ("claims-missing", oidc(repository_id=42)),
    "oidc: an empty repository": ("claims-missing", oidc(repository_id="")),
    "oidc: an event that is true": ("claims-missing", oidc(event_name=True)),
    "oidc: an event that a stranger can start": ("no-grant-matches", oidc(event_name="pull_request_target")),
    "oidc: no event": ("no-grant-matches", oidc(event_name=None)),
    "oidc: another tenant": ("issuer-unknown", oidc(enterprise="evil")),
    "oidc: no tenant": ("issuer-unknown", oidc(enterprise=None)),
    "oidc: no subject": ("claims-missing", oidc(sub=None)),
    "oidc: no id": ("claims-missing", oidc(jti=None)),
    "oidc: a source too long for a row's key": ("claims-missing", oidc(repository_id="4" * 501)),
    # Bound to a key
    "oidc: bound to another key": ("key-mismatch", oidc(cnf={"jkt": OTHER_UUID})),
    "okta: bound to a certificate": (
        "key-mismatch",
        okta(cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5"}),
    ),
    "aws: bound to a list": ("key-mismatch", aws(cnf=["jkt"])),
    "oidc: bound to an empty key": ("key-mismatch", oidc(cnf={"jkt": ""})),
    "bitbucket: bound to another key": (
        "key-mismatch",
        lambda receiver: (receiver.step_token(cnf={"jkt": "x"}), "id_token"),
    ),
}


@pytest.mark.parametrize(("code", "make"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_token_is_refused_recorded_and_harmless(
    code: str, make: Make, receiver: Receiver, records, sql
) -> None:
    response = await exchange(receiver, *make(receiver))

    body = response.json()
    assert (body["code"], response.status_code) == (code, CODES[code].status), body
    assert not any(sql(f"SELECT * FROM {table}") for table in STATE)
    [record] = records()
    assert (record["decision"], record["code"], record["trace_id"]) == ("refused", code, body["trace_id"])
    if record["actor"] is None:
        # A stranger learns a code.
        assert body["trace"] == []
    else:
        assert {row["check"] for row in body["trace"]} >= {"signature", "iss", "aud"}
        assert any(not row["ok"] for row in body["trace"])


async def test_access_token_of_ours_is_no_subject_token(receiver: Receiver) -> None:
    ours = (await exchange(receiver, *TOKENS["oidc"](receiver))).json()["access_token"]
    for token_type in ("access_token", "id_token", "jwt"):
        assert (await exchange(receiver, ours, token_type)).json()["code"] == "issuer-unknown"
