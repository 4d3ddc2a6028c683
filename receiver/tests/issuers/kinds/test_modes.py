"""An issuer on trial, one that is off, people, and the audience that all services of a workspace share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.other_issuers import TOKENS, exchange, oidc_token, okta_token, policy
from helpers.pipe import event, event_id
from helpers.provider import OTHER_UUID, WORKSPACE_UUID, IssuerServer
from helpers.receiver_app import URL, Receiver

DEFAULT_AUDIENCE = f"ari:cloud:bitbucket::workspace/{WORKSPACE_UUID.strip('{}')}"


def change(path: Path, issuer: IssuerServer, **lines: str) -> None:
    path.write_text(policy(issuer.url, **lines))


def let_default_audience(path: Path) -> None:
    """The first grant takes it, the one for previews does not."""
    path.write_text(path.read_text().replace('branch = "main"', 'branch = "main"\ndefault_audience = true'))


async def test_issuer_on_trial_is_judged_and_recorded_and_gets_nothing(
    receivers, policy_file, issuer, records, sql
) -> None:
    change(policy_file, issuer, ci='mode = "audit"')
    receiver = await receivers()
    would = await exchange(receiver, *oidc_token(receiver))
    would_not = await exchange(receiver, *oidc_token(receiver, repository_id="43"))
    hostile = await exchange(receiver, *oidc_token(receiver, aud="https://other.example"))

    assert (would.status_code, would.json()["code"]) == (403, "issuer-audit-only")
    assert "`config:sync deployments:write` would be granted" in would.json()["error_description"]
    assert [answer.json()["code"] for answer in (would_not, hostile)] == ["no-grant-matches", "audience-mismatch"]
    assert [(record["code"], record["grant"]) for record in records()] == [
        ("issuer-audit-only", "the workflow"),
        ("no-grant-matches", None),
        ("audience-mismatch", None),
    ]
    assert records()[0]["actor"]["repository_id"] == "42"
    assert not sql("SELECT * FROM subject_token_bindings") + sql("SELECT * FROM proof_ids")
    # The others are let in as before.
    assert (await exchange(receiver, *okta_token(receiver))).status_code == 200


@pytest.mark.parametrize("mode", ["audit", "off"])
async def test_token_that_was_made_before_the_mode_is_void(mode: str, receivers, policy_file, issuer) -> None:
    old = await receivers()
    token = (await exchange(old, *oidc_token(old))).json()["access_token"]
    change(policy_file, issuer, ci=f'mode = "{mode}"')
    new = await receivers()
    answer = await old.pipe.deliver(new.client, token, event(event_id()))
    assert (answer.status_code, answer.json()["code"]) == (401, "token-invalid")


async def test_issuer_that_is_off_is_unknown_and_its_keys_are_not_fetched(receivers, policy_file, issuer) -> None:
    change(policy_file, issuer, ci='mode = "off"')
    receiver = await receivers()
    response = await exchange(receiver, *oidc_token(receiver))
    assert (response.status_code, response.json()["code"], response.json()["trace"]) == (401, "issuer-unknown", [])
    assert issuer.fetches == 0


@pytest.mark.parametrize(("mode", "word"), [("enforce", "warning"), ("audit", "ok"), ("off", "ok")])
async def test_issuer_without_keys_is_its_own_callers_outage_and_told_where_it_is_enforced(
    mode: str, word: str, receivers, policy_file, issuer: IssuerServer
) -> None:
    change(policy_file, issuer, ci=f'mode = "{mode}"')
    receiver = await receivers()
    answer = issuer.respond
    issuer.respond = lambda request: (
        issuer.send(request, b"", 500) if request.path.startswith("/oidc") else answer(request)
    )
    health = await receiver.client.get(f"{URL}/health")
    assert (health.status_code, health.json()["checks"]["issuer_keys"]) == (200, word)


async def test_person_is_let_in_where_the_policy_says_so(receivers, policy_file, issuer) -> None:
    change(policy_file, issuer, okta="users = true")
    receiver = await receivers(lint="warn")  # The lint would have the grant name the person.
    token = await exchange(receiver, *okta_token(receiver, uid="00u1", sub="jane@acme.dev"))
    assert token.status_code == 200, token.text
    answer = await receiver.pipe.deliver(receiver.client, token.json()["access_token"], event(event_id()))
    assert answer.json()["identity"]["uid"] == "00u1"
    assert receiver.calls[0][1].okta.uid == "00u1"


async def test_grant_may_ask_for_one_person(receivers, policy_file, issuer) -> None:
    change(policy_file, issuer, okta="users = true")
    policy_file.write_text(policy_file.read_text().replace('scp = "deploy" }', 'scp = "deploy", uid = "00u1" }'))
    receiver = await receivers()
    for uid, code in (("00u1", None), ("00u2", "no-grant-matches"), (None, "no-grant-matches")):
        response = await exchange(receiver, *okta_token(receiver, uid=uid))
        assert response.json().get("code") == code


@pytest.mark.parametrize("aud", [DEFAULT_AUDIENCE, [DEFAULT_AUDIENCE]])
async def test_default_audience_is_taken_by_a_grant_that_says_so(aud: Any, receivers, policy_file) -> None:
    let_default_audience(policy_file)
    receiver = await receivers()
    assert (await exchange(receiver, receiver.step_token(aud=aud), "id_token")).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"branchName": "feature/x"}, "audience-mismatch"),
        ({"repositoryUuid": OTHER_UUID}, "no-grant-matches"),
        ({"aud": "ari:cloud:bitbucket::workspace/99999999-9999-4999-8999-999999999999"}, "audience-mismatch"),
        ({"aud": f"{DEFAULT_AUDIENCE}/"}, "audience-mismatch"),
    ],
)
async def test_default_audience_is_for_that_grant_and_workspace_only(
    changes: dict[str, Any], code: str, receivers, policy_file
) -> None:
    let_default_audience(policy_file)
    receiver = await receivers()
    claims = {"aud": DEFAULT_AUDIENCE, **changes}
    assert (await exchange(receiver, receiver.step_token(**claims), "id_token")).json()["code"] == code


async def test_default_audience_is_refused_where_no_grant_takes_it(receiver: Receiver) -> None:
    response = await exchange(receiver, receiver.step_token(aud=DEFAULT_AUDIENCE), "id_token")
    assert (response.json()["code"], response.json()["trace"]) == ("audience-mismatch", [])


async def test_token_for_both_audiences_is_for_every_grant(receivers, policy_file) -> None:
    let_default_audience(policy_file)
    receiver = await receivers()
    token = receiver.step_token(aud=[DEFAULT_AUDIENCE, URL], branchName="feature/x")
    assert (await exchange(receiver, token, "id_token")).status_code == 200


async def test_token_by_the_default_audience_is_void_once_the_grant_does_not_take_it(receivers, policy_file) -> None:
    let_default_audience(policy_file)
    old = await receivers()
    tokens = [
        (await exchange(old, old.step_token(aud=aud), "id_token")).json()["access_token"]
        for aud in (DEFAULT_AUDIENCE, URL)
    ]
    policy_file.write_text(policy_file.read_text().replace("default_audience = true", ""))
    new = await receivers()
    answers = [await old.pipe.deliver(new.client, token, event(event_id())) for token in tokens]
    assert [answer.json().get("code") for answer in answers] == ["token-invalid", None]


@pytest.mark.parametrize("kind", TOKENS)
async def test_audience_of_an_issuer_replaces_the_receivers(kind: str, receivers, policy_file, issuer) -> None:
    lines = dict.fromkeys(("aws", "ci"), 'audience = "https://api.acme.dev/own"')
    change(policy_file, issuer, **lines)
    receiver = await receivers()
    own = "https://api.acme.dev/okta" if kind == "okta" else "https://api.acme.dev/own"
    assert (await exchange(receiver, *TOKENS[kind](receiver, aud=own))).status_code == 200
    assert (await exchange(receiver, *TOKENS[kind](receiver, aud=URL))).json()["code"] == "audience-mismatch"
