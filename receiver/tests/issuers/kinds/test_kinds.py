"""What a caller of each kind of issuer gets, and how it is told from callers of other kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastapi_handoff import Handoff, PolicyError
from helpers.other_issuers import AWS_RSA, ROLE, TOKENS, aws_claims, exchange, okta_token, serve
from helpers.pipe import Key, event, event_id
from helpers.receiver_app import URL, Receiver

SOURCES = {"okta": "0oa1", "aws": ROLE, "oidc": "42"}
CLAIMS = {
    "okta": {"cid": "0oa1", "scp": "other deploy"},
    "aws": {
        "aws_account": "123456789012",
        "sub": ROLE,
        "org_id": "o-abc1234567",
        "ou_path": "o-abc1234567/r-ab12/ou-ab12-11111111/",
        "source_region": "eu-central-1",
        "principal_tags.team": "platform",
    },
    "oidc": {"repository_id": "42", "repository_owner_id": "7", "event_name": "push", "ref": "refs/heads/main"},
}


def strangers_event(**members: Any) -> dict[str, Any]:
    """An event of a caller that is no Bitbucket step: it names no pipeline."""
    content = event(event_id())
    content["data"]["customData"] = members
    return content


async def access_token(receiver: Receiver, kind: str) -> str:
    response = await exchange(receiver, *TOKENS[kind](receiver))
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


@pytest.mark.parametrize("kind", TOKENS)
async def test_caller_is_known_by_what_its_issuer_attests(kind: str, receiver: Receiver, records) -> None:
    token = await access_token(receiver, kind)
    answer = await receiver.pipe.deliver(receiver.client, token, strangers_event(custom={"ticket": "OPS-1"}))

    receipt = answer.json()
    assert (answer.status_code, receipt["state"]) == (200, "succeeded"), receipt
    [(_, identity)] = receiver.calls
    assert (identity.kind, identity.source, dict(identity.claims)) == (kind, SOURCES[kind], CLAIMS[kind])
    assert receipt["identity"].items() >= {"kind": kind, "issuer": identity.issuer_url, **CLAIMS[kind]}.items()
    for record in records():
        shown = {name: value for name, value in record["actor"].items() if value is not None}
        expected = {"issuer": identity.issuer_url, "kind": kind, "source": SOURCES[kind], "sub": identity.subject}
        assert shown == expected | CLAIMS[kind]


async def test_typed_view_is_of_the_kind_only(receiver: Receiver) -> None:
    for kind in ("okta", "aws"):
        await receiver.pipe.deliver(receiver.client, await access_token(receiver, kind), strangers_event())
    okta, aws = (identity for _, identity in receiver.calls)
    assert (okta.okta.cid, okta.okta.uid, aws.aws.sub, aws.aws.org_id) == ("0oa1", None, ROLE, "o-abc1234567")
    for identity, view in ((okta, "aws"), (aws, "bitbucket"), (aws, "okta")):
        with pytest.raises(AttributeError, match=f"of kind `{identity.kind}`"):
            getattr(identity, view)


async def test_request_tags_of_aws_are_recorded_as_asserted(receiver: Receiver, records) -> None:
    await access_token(receiver, "aws")
    await access_token(receiver, "okta")
    aws, okta = records()
    assert (aws["asserted"], okta["asserted"]) == ({"request_tags": {"ticket": "OPS-1"}}, None)
    assert "OPS-1" not in json.dumps(aws["actor"])


async def test_aws_signs_with_either_algorithm(receiver: Receiver) -> None:
    response = await exchange(receiver, AWS_RSA.sign(aws_claims(receiver)), "jwt")
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", TOKENS)
async def test_audience_may_be_one_of_several(kind: str, receiver: Receiver) -> None:
    own = "https://api.acme.dev/okta" if kind == "okta" else URL
    response = await exchange(receiver, *TOKENS[kind](receiver, aud=["https://other.example/userinfo", own]))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", TOKENS)
async def test_one_token_serves_one_key_by_its_id(kind: str, receiver: Receiver) -> None:
    first = TOKENS[kind](receiver, jti="the-same")
    assert (await exchange(receiver, *first)).status_code == 200
    assert (await exchange(receiver, *first)).status_code == 200
    receiver.pipe.key = Key()
    # Other bytes, the same id: an issuer makes an id once.
    response = await exchange(receiver, *TOKENS[kind](receiver, jti="the-same", nbf=int(receiver.clock())))
    assert response.json()["code"] == "step-token-already-bound"


async def test_same_token_id_of_two_issuers_is_two_tokens(receiver: Receiver) -> None:
    for kind in TOKENS:
        receiver.pipe.key = Key()
        response = await exchange(receiver, *TOKENS[kind](receiver, jti="the-same"))
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", TOKENS)
async def test_bound_token_is_good_with_its_own_key_only(kind: str, receiver: Receiver) -> None:
    bound = TOKENS[kind](receiver, cnf={"jkt": receiver.pipe.key.thumbprint})
    owner, receiver.pipe.key = receiver.pipe.key, Key()
    refused = await exchange(receiver, *bound)
    assert (refused.status_code, refused.json()["code"]) == (401, "key-mismatch")
    assert refused.json()["trace"][-1]["expected"] == owner.thumbprint
    receiver.pipe.key = owner
    assert (await exchange(receiver, *bound)).status_code == 200


async def test_same_event_id_of_two_sources_is_two_receipts(receiver: Receiver, sql) -> None:
    content = strangers_event()
    for kind in TOKENS:
        receiver.pipe.key = Key()
        answer = await receiver.pipe.deliver(receiver.client, await access_token(receiver, kind), content)
        assert answer.json()["state"] == "succeeded"
    assert len(receiver.calls) == len(sql("SELECT * FROM receipts")) == 3


async def test_repository_in_a_strangers_event_is_asserted_and_shown_so(receiver: Receiver, records) -> None:
    answer = await receiver.pipe.deliver(receiver.client, await access_token(receiver, "oidc"), event(event_id()))
    receipt = answer.json()
    assert receipt["asserted"]["repository"] == "acme/api"
    assert "acme/api" not in json.dumps(receipt["identity"])
    assert "repository_uuid" not in receipt["identity"]
    accepted = next(record for record in records() if record["action"] == "event.accept")
    assert accepted["asserted"]["repository"] == "acme/api"
    assert not {"repository", "repository_uuid", "workspace"} & accepted["actor"].keys()


async def test_event_of_a_bitbucket_step_must_name_its_pipeline(receiver: Receiver) -> None:
    answer = await receiver.pipe.deliver(receiver.client, await receiver.access_token(), strangers_event())
    assert (answer.status_code, answer.json()["code"]) == (400, "event-malformed")


async def test_grant_bounds_the_service_of_every_kind_of_caller(receiver: Receiver) -> None:
    content = strangers_event()
    content["subject"] = content["data"]["subject"]["id"] = "billing"
    answer = await receiver.pipe.deliver(receiver.client, await access_token(receiver, "oidc"), content)
    assert (answer.json()["code"], answer.json()["trace"][-1]["check"]) == ("identity-mismatch", "service")


async def test_refusal_names_issuer_claim_expected_and_got(receiver: Receiver) -> None:
    response = await exchange(receiver, *okta_token(receiver, cid="0oa2"))
    body = response.json()
    assert body["code"] == "no-grant-matches"
    rows = {row["check"]: (row["expected"], row["got"]) for row in body["trace"]}
    assert rows["iss"][1] == f"{receiver.issuer.url}/oauth2/aus1"
    assert rows["cid"] == ("0oa1", "0oa2")


@pytest.mark.parametrize(
    ("changes", "is_shown"),
    [
        ({"repository_id": "43"}, False),
        ({"repository_owner_id": "8"}, False),
        ({"event_name": "pull_request"}, True),
    ],
)
async def test_stranger_at_a_shared_issuer_learns_nothing_of_the_policy(
    changes: dict[str, str], is_shown: bool, receivers, policy_file, records
) -> None:
    """Anybody can have a token of a public provider, for this audience."""
    text = policy_file.read_text()
    policy_file.write_text(text.replace('expected = { enterprise = "acme" }', ""))
    receiver = await receivers()
    body = (await exchange(receiver, *TOKENS["oidc"](receiver, **changes))).json()
    assert (body["code"], bool(body["trace"]), "audit" in body) == ("no-grant-matches", is_shown, is_shown)
    assert "the workflow" not in body["error_description"]
    # The record has who it was all the same.
    assert records()[-1]["actor"]["repository_id"] == changes.get("repository_id", "42")


async def test_outage_of_one_issuer_is_not_anothers(receiver: Receiver) -> None:
    issuer = receiver.issuer
    answer = issuer.respond
    issuer.respond = lambda request: (
        issuer.send(request, b"", 500) if request.path.startswith("/oauth2") else answer(request)
    )
    assert (await exchange(receiver, *TOKENS["okta"](receiver))).json()["code"] == "issuer-unavailable"
    assert (await exchange(receiver, *TOKENS["aws"](receiver))).status_code == 200
    assert (await exchange(receiver, *TOKENS["oidc"](receiver))).status_code == 200
    serve(issuer)


def test_receiver_is_not_its_own_issuer(policy_file, store_url) -> None:
    policy_file.write_text(policy_file.read_text().replace(f'issuer = "{_oidc_url(policy_file)}"', f'issuer = "{URL}"'))
    with pytest.raises(PolicyError, match="one is this receiver"):
        Handoff(policy_file, store_url, URL)


def _oidc_url(policy_file) -> str:
    return next(line for line in policy_file.read_text().splitlines() if line.endswith('/oidc/"')).split('"')[1]
