"""The main path: a step token becomes an access token, an event runs a handler, a receipt tells the end."""

from __future__ import annotations

import json

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fastapi_handoff import Rejected
from helpers.pipe import COMMIT, event, event_id
from helpers.provider import ENVIRONMENT_UUID, PIPELINE_UUID, REPOSITORY_UUID, STEP_UUID, WORKSPACE, WORKSPACE_UUID
from helpers.receiver_app import URL, Receiver


async def test_step_delivers_an_event_and_gets_its_receipt(receiver: Receiver, records) -> None:
    token = await receiver.access_token()
    content = event(event_id())

    response = await receiver.pipe.deliver(receiver.client, token, content)

    assert response.status_code == 200
    receipt = response.json()
    last = records()[-1]
    assert receipt == {
        "id": content["id"],
        "state": "succeeded",
        "detail": None,
        "result": {"release": 7},
        "identity": {
            "issuer": receiver.issuer.issuer,
            "kind": "bitbucket",
            "workspace": "acme",
            "workspace_uuid": WORKSPACE_UUID,
            "repository_uuid": REPOSITORY_UUID,
            "pipeline_uuid": PIPELINE_UUID,
            "step_uuid": STEP_UUID,
            "branch": "main",
            "environment_uuid": ENVIRONMENT_UUID,
            "grant": "api, production, from main",
            "policy": receiver.handoff.policy.digest,
        },
        "asserted": {
            "type": "dev.cdevents.service.deployed.0.3.0",
            "service": "api",
            "environment": "production",
            "artifact_id": f"pkg:bitbucket/acme/api@{COMMIT}",
            "repository": "acme/api",
            "commit": COMMIT,
            "time": "2026-11-24T09:30:00.000Z",
        },
        "trace_id": receipt["trace_id"],
        "audit": {"seq": last["seq"], "hash": receipt["audit"]["hash"]},
    }
    [(seen, identity)] = receiver.calls
    assert (seen.service, seen.environment, seen.commit, seen.custom) == (
        "api",
        "production",
        COMMIT,
        {"ticket": "OPS-1"},
    )
    assert (identity.bitbucket.branch, identity.scopes) == ("main", {"deployments:write", "config:sync"})
    assert [(r["action"], r["decision"]) for r in records()] == [
        ("token.exchange", "accepted"),
        ("event.accept", "accepted"),
        ("event.outcome", "succeeded"),
    ]


async def test_access_token_is_one_of_rfc_9068_under_a_published_key(receiver: Receiver) -> None:
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token(), scope="deployments:write")

    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert (
        answer.items()
        >= {
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "DPoP",
            "expires_in": 300,
            "scope": "deployments:write",
        }.items()
    )
    keys = (await receiver.client.get(f"{URL}/jwks.json")).json()
    token = jwt.decode(answer["access_token"], KeySet.import_key_set(keys), algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    now = int(receiver.clock())
    assert token.claims == {
        "iss": URL,
        "aud": URL,
        "client_id": URL,
        "sub": f"{REPOSITORY_UUID}:{ENVIRONMENT_UUID}:{STEP_UUID}",
        "iat": now,
        "exp": now + 300,
        "jti": token.claims["jti"],
        "scope": "deployments:write",
        "cnf": {"jkt": receiver.pipe.key.thumbprint},
        "grant": "api, production, from main",
        "policy": receiver.handoff.policy.digest,
        "issuer": {"name": "bitbucket", "iss": receiver.issuer.issuer, "kind": "bitbucket"},
        "source": REPOSITORY_UUID,
        "attested": {
            "workspace": WORKSPACE,
            "workspace_uuid": WORKSPACE_UUID,
            "repository_uuid": REPOSITORY_UUID,
            "pipeline_uuid": PIPELINE_UUID,
            "step_uuid": STEP_UUID,
            "branch": "main",
            "environment_uuid": ENVIRONMENT_UUID,
        },
    }


async def test_access_token_dies_with_its_step_token(receiver: Receiver) -> None:
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token(exp=int(receiver.clock()) + 90))

    assert response.json()["expires_in"] == 90


@pytest.mark.parametrize("audience", [URL, [URL], ["https://other.example", URL]])
async def test_audience_may_be_text_or_a_list(receiver: Receiver, audience: str | list[str]) -> None:
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token(aud=audience))

    assert response.status_code == 200


async def test_custom_route_is_called_with_an_access_token(receiver: Receiver, records) -> None:
    token = await receiver.access_token()
    proof = receiver.pipe.proof("POST", "https://api.acme.dev/config/sync", token)

    response = await receiver.client.post("/config/sync", headers={"Authorization": f"DPoP {token}", "DPoP": proof})

    assert response.json() == {"grant": "api, production, from main"}
    assert [(r["action"], r["decision"], (r["actor"] or {}).get("step_uuid")) for r in records()[1:]] == [
        ("request", "attempted", None),
        ("route.call", "accepted", STEP_UUID),
        ("request", "succeeded", STEP_UUID),
    ]


async def test_rejected_event_fails_with_the_handlers_words(receiver: Receiver) -> None:
    def reject(_: object) -> None:
        raise Rejected("the freeze lasts until Monday")

    receiver.behave = reject
    response = await receiver.pipe.deliver(receiver.client, await receiver.access_token(), event(event_id()))

    assert response.status_code == 200
    assert (response.json()["state"], response.json()["detail"]) == ("failed", "the freeze lasts until Monday")


async def test_handlers_error_stays_in_the_log(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("password=hunter2")

    receiver.behave = fail
    token = await receiver.access_token()
    response = await receiver.pipe.deliver(receiver.client, token, event(event_id()))

    assert response.json()["state"] == "failed"
    assert "hunter2" not in response.text
    assert "hunter2" in caplog.text
    assert token not in caplog.text


async def test_trace_id_of_the_request_is_kept(receiver: Receiver, records) -> None:
    token = await receiver.access_token()
    content = event(event_id())
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    response = await receiver.pipe.deliver(
        receiver.client, token, content, traceparent=f"00-{trace_id}-b7ad6b7169203331-01"
    )

    assert response.json()["trace_id"] == trace_id
    assert {record["trace_id"] for record in records() if record["event_id"] == content["id"]} == {trace_id}


async def test_no_token_is_in_any_record(receiver: Receiver, records) -> None:
    step_token = receiver.step_token()
    token = await receiver.pipe.access_token(receiver.client, step_token)
    await receiver.pipe.deliver(receiver.client, token, event(event_id()))

    text = json.dumps(records())
    for secret in (step_token, token):
        assert all(part not in text for part in secret.split("."))
