"""A kind of issuer is a table: what stands in it holds, for a kind that is not Bitbucket too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastapi_handoff.issuers import Claim, Issuer, IssuerSettings, subject_token
from fastapi_handoff.jose import import_rsa
from fastapi_handoff.request import Checks, Refusal
from helpers.provider import RsaKey

NOW = 1_795_489_275
URL = "https://api.acme.dev/handoff"
KEY = RsaKey()


class Cloud(Issuer):
    """A provider whose claims are nested, whose tokens have a `jti` and live ten minutes."""

    kind = "cloud"
    claims = (
        Claim(claim="account", name="account", description="The account.", match="account", pinned=True),
        Claim(claim="region", name="region", description="The region.", required=False),
    )
    source = "account"
    algorithms = frozenset({"RS256"})
    replay_claim = "jti"
    max_lifetime = 600
    subject_token_type = "jwt"

    def flat(self, claims: Any) -> Any:
        return {**claims, **claims.get("https://cloud.example/", {})}


ISSUER = Cloud(
    IssuerSettings(name="cloud", kind="cloud"),
    "https://issuer.example",
    "https://issuer.example/keys",
    expected={"tenant": "t1"},
)


def claims(**changes: Any) -> dict[str, Any]:
    usual = {
        "iss": ISSUER.url,
        "aud": URL,
        "sub": "role",
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "id-1",
        "tenant": "t1",
        "https://cloud.example/": {"account": "42", "secret": "not in the table"},
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def attested(content: dict[str, Any], **header: Any) -> subject_token.Attested:
    token = subject_token.parse(KEY.sign(json.dumps(content).encode(), **header))
    issuer = subject_token.issuer_of(token, [ISSUER])
    return subject_token.verify(token, import_rsa(KEY.jwk()), issuer, audience=URL, now=NOW, checks=Checks())


def test_what_is_in_the_table_is_attested_and_nothing_else() -> None:
    found = attested(claims())
    assert (found.subject, found.claims, found.replay_key) == ("role", {"account": "42"}, "id-1")


def test_two_tokens_of_one_id_have_one_replay_key() -> None:
    assert attested(claims(exp=NOW + 60)).replay_key == attested(claims()).replay_key


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"https://cloud.example/": {}}, "claims-missing"),
        ({"https://cloud.example/": {"account": 42}}, "claims-missing"),
        ({"jti": None}, "claims-missing"),
        ({"jti": ["id-1"]}, "claims-missing"),
        ({"tenant": "t2"}, "issuer-unknown"),
        ({"tenant": None}, "issuer-unknown"),
        ({"exp": NOW + 601}, "step-token-lifetime-exceeded"),
        ({"iss": f"{ISSUER.url}/"}, "issuer-unknown"),
        ({"iss": ISSUER.url.upper()}, "issuer-unknown"),
        ({"iss": [ISSUER.url]}, "issuer-unknown"),
    ],
)
def test_token_that_does_not_fit_its_kind_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        attested(claims(**changes))
    assert caught.value.code == code


def test_algorithm_that_is_not_the_kinds_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        attested(claims(), alg="RS384")
    assert caught.value.code == "step-token-signature-invalid"
