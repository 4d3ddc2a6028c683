"""Two issuers in one policy: what one attests never meets what the other does, in a token, a row or a record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastapi_handoff import Handoff, PolicyError
from helpers.pipe import Pipe, event, event_id
from helpers.provider import PATH, WORKSPACE_UUID, IssuerServer, RsaKey
from helpers.receiver_app import POLICY, URL, Receiver

SECOND_UUID = "{77777777-7777-4777-8777-777777777777}"
SECOND_KEY = RsaKey("key-1")
"""Of the same name as the first issuer's."""


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def policy_file(tmp_path):
    grant = (
        POLICY.split("[[grants]]")[1].replace("api, production, from main", "the other's").replace("acme", "umbrella")
    )
    path = tmp_path / "handoff.toml"
    path.write_text(
        f'{POLICY}\n[[issuers]]\nname = "second"\nkind = "bitbucket"\nworkspace = "umbrella"\n'
        f'workspace_uuid = "{SECOND_UUID}"\n\n'
        "# handoff: allow foreign-workspace, because these tests give two issuers one repository on purpose\n"
        f'[[grants]]{grant}issuer = "second"\n'
    )
    return path


@pytest.fixture
def issuer(issuer: IssuerServer) -> IssuerServer:
    """The server of both workspaces' keys."""

    def answer(request: Any) -> None:
        if request.path == f"{PATH.replace('acme', 'umbrella')}/keys.json":
            issuer.send(request, json.dumps({"keys": [SECOND_KEY.jwk()]}).encode())
        else:
            issuer.answer(request)

    issuer.respond = answer
    return issuer


def second_claims(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    return receiver.claims(iss=receiver.issuer.issuer.replace("acme", "umbrella"), workspaceUuid=SECOND_UUID, **changes)


async def test_same_repository_and_event_id_of_two_issuers_are_two_receipts(receiver: Receiver, records, sql) -> None:
    second = Pipe(URL, clock=receiver.clock)
    tokens = [
        await receiver.access_token(),
        await second.access_token(receiver.client, SECOND_KEY.sign(second_claims(receiver))),
    ]
    content = event(event_id())
    theirs = event(content["id"], workspace="umbrella", workspace_uuid=SECOND_UUID)
    answers = [
        await receiver.pipe.deliver(receiver.client, tokens[0], content),
        await second.deliver(receiver.client, tokens[1], theirs),
    ]

    assert [answer.json()["state"] for answer in answers] == ["succeeded", "succeeded"]
    assert [answer.json()["identity"]["grant"] for answer in answers] == ["api, production, from main", "the other's"]
    assert len(receiver.calls) == 2
    assert [identity.issuer for _, identity in receiver.calls] == ["bitbucket", "second"]
    assert len(sql("SELECT * FROM receipts")) == 2
    issuers = {record["actor"]["issuer"] for record in records()}
    assert issuers == {receiver.issuer.issuer, receiver.issuer.issuer.replace("acme", "umbrella")}


@pytest.mark.parametrize(
    ("claims", "key", "code"),
    [
        # Keys of one under the other's name of the key.
        (lambda receiver: second_claims(receiver), "first", "step-token-signature-invalid"),
        (lambda receiver: receiver.claims(), "second", "step-token-signature-invalid"),
        (lambda receiver: second_claims(receiver) | {"workspaceUuid": WORKSPACE_UUID}, "second", "issuer-unknown"),
        # Both grants are for production from main; the branch that only the first issuer's are let in from is not.
        (lambda receiver: second_claims(receiver, branchName="feature/x"), "second", "no-grant-matches"),
    ],
)
async def test_token_of_one_issuer_gets_nothing_of_the_others(receiver: Receiver, claims, key: str, code: str) -> None:
    signer = SECOND_KEY if key == "second" else receiver.issuer.keys[0]
    response = await receiver.pipe.exchange(receiver.client, signer.sign(claims(receiver)))
    assert response.json()["code"] == code


async def test_token_of_an_issuer_that_the_policy_dropped_is_void(receivers, policy_file) -> None:
    old = await receivers()
    second = Pipe(URL, clock=old.clock)
    token = await second.access_token(old.client, SECOND_KEY.sign(second_claims(old)))
    policy_file.write_text(policy_file.read_text().replace('workspace = "umbrella"', 'workspace = "elsewhere"'))
    new = await receivers()
    content = event(event_id(), workspace="umbrella", workspace_uuid=SECOND_UUID)
    response = await second.deliver(new.client, token, content)
    assert (response.status_code, response.json()["code"]) == (401, "token-invalid")


@pytest.mark.parametrize(
    ("before", "after"),
    [('workspace = "umbrella"', 'workspace = "elsewhere"'), (SECOND_UUID, WORKSPACE_UUID.replace("1", "7"))],
)
async def test_token_of_an_issuer_that_the_policy_corrected_is_void(receivers, policy_file, before, after) -> None:
    old = await receivers()
    second = Pipe(URL, clock=old.clock)
    token = await second.access_token(old.client, SECOND_KEY.sign(second_claims(old)))
    policy_file.write_text(policy_file.read_text().replace(before, after.replace("{7777", "{8888")))
    new = await receivers()
    content = event(event_id(), workspace="umbrella", workspace_uuid=SECOND_UUID)
    response = await second.deliver(new.client, token, content)
    assert (response.status_code, response.json()["code"]) == (401, "token-invalid")


def test_one_issuer_under_two_names_does_not_start(policy_file, store_url) -> None:
    policy_file.write_text(policy_file.read_text().replace('workspace = "umbrella"', 'workspace = "acme"'))
    with pytest.raises(PolicyError, match="the same one"):
        Handoff(policy_file, store_url, URL)
