"""What tells one subject token from another, at its longest, on both databases."""

from __future__ import annotations

import json
import random

import pytest

from helpers.other_issuers import OIDC_KEY, exchange, oidc_claims, oidc_token, policy
from helpers.pipe import Key, event, event_id

LONGEST = "".join(random.Random(7).choices([chr(code) for code in range(0x20000, 0x2A6DF)], k=500))
"""500 characters of four bytes each, which no database can compress into its index."""


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_longest_ids_fit_into_the_keys_of_rows(receivers, policy_file) -> None:
    policy_file.write_text(policy_file.read_text().replace('repository_id = "42"', f'repository_id = "{LONGEST}"'))
    receiver = await receivers()
    claims = json.dumps(oidc_claims(receiver, repository_id=LONGEST, jti=LONGEST), ensure_ascii=False).encode()
    token = await exchange(receiver, OIDC_KEY.sign(claims), "id_token")
    assert token.status_code == 200, token.text
    answer = await receiver.pipe.deliver(receiver.client, token.json()["access_token"], event(event_id()))
    assert answer.json().get("state") == "succeeded", answer.text[:600]
    receiver.pipe.key = Key()
    again = await exchange(receiver, OIDC_KEY.sign(claims), "id_token")
    assert again.json()["code"] == "step-token-already-bound"


async def test_claims_too_long_for_an_access_token_are_refused_at_the_exchange(receivers, policy_file, sql) -> None:
    """The caller would get a token that no receiver reads."""
    policy_file.write_text(policy_file.read_text().replace('repository_id = "42"', f'repository_id = "{LONGEST}"'))
    receiver = await receivers()
    claims = json.dumps(oidc_claims(receiver, repository_id=LONGEST, ref=LONGEST), ensure_ascii=False).encode()
    response = await exchange(receiver, OIDC_KEY.sign(claims), "id_token")
    assert (response.status_code, response.json()["code"]) == (413, "payload-too-large")
    assert not sql("SELECT * FROM subject_token_bindings")


async def test_token_without_an_id_is_known_by_what_was_signed(receivers, policy_file, issuer) -> None:
    policy_file.write_text(policy(issuer.url).replace('jti = "jti"', ""))
    receiver = await receivers()
    token, other = (oidc_token(receiver, jti="the-same", nbf=int(receiver.clock()) - age) for age in (0, 1))
    assert (await exchange(receiver, *token)).status_code == 200
    receiver.pipe.key = Key()
    # No promise was made that two tokens have not the same `jti`.
    assert (await exchange(receiver, *other)).status_code == 200
    assert (await exchange(receiver, *token)).json()["code"] == "step-token-already-bound"
