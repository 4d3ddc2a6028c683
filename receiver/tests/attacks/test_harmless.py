"""Odd requests that are what they say: refusing them would break an honest pipe."""

from __future__ import annotations

import pytest

from attacks.attack import stage
from helpers.pipe import event, event_id
from helpers.provider import OTHER_UUID
from helpers.receiver_app import URL


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize("htu", ["HTTPS://API.ACME.DEV/handoff/token", "https://api.acme.dev:443/handoff/token"])
async def test_htu_is_compared_without_case_of_host_and_default_port(receiver, htu: str) -> None:
    prepared = await stage(receiver)
    response = await prepared.exchange_with(receiver.pipe.proof("POST", f"{URL}/token", htu=htu))
    assert response.status_code == 200


@pytest.mark.parametrize("offset", [-60, 60])
async def test_proof_is_accepted_at_each_edge_of_the_leeway(receiver, offset: int) -> None:
    prepared = await stage(receiver)
    proof = receiver.pipe.proof("POST", f"{URL}/token", iat=prepared.now + offset)
    assert (await prepared.exchange_with(proof)).status_code == 200


@pytest.mark.parametrize("times", [{"exp": -60}, {"iat": 60}, {"nbf": 60}])
async def test_step_token_is_accepted_at_each_edge_of_the_leeway(receiver, times: dict[str, int]) -> None:
    prepared = await stage(receiver)
    response = await prepared.with_claims(**{name: prepared.now + offset for name, offset in times.items()})
    assert response.status_code == 200


@pytest.mark.parametrize("offset", [-60, 60])
async def test_timestamp_is_accepted_at_each_edge_of_the_leeway(receiver, offset: int) -> None:
    prepared = await stage(receiver)
    assert (await prepared.deliver(webhook_timestamp=str(prepared.now + offset))).status_code == 200


async def test_access_token_is_accepted_to_the_end_of_the_leeway(receiver) -> None:
    prepared = await stage(receiver)
    receiver.clock.now += 360
    assert (await prepared.deliver()).status_code == 200


async def test_proof_is_remembered_for_longer_than_it_is_acceptable(receiver, sql) -> None:
    """One constant for both: at the last moment a proof is acceptable, a purge has not forgotten it."""
    prepared = await stage(receiver)
    proof = receiver.pipe.proof("POST", f"{URL}/token", iat=prepared.now + 60)
    assert (await prepared.exchange_with(proof)).status_code == 200
    receiver.clock.now += 120
    await receiver.handoff.recorder.store.purge(int(receiver.clock()))
    response = await prepared.exchange_with(proof)
    assert response.json()["code"] == "proof-replayed"


async def test_binding_outlives_its_step_token(receiver) -> None:
    """At the last moment a step token is acceptable, a purge has not forgotten whose it is."""
    prepared = await stage(receiver)
    token = receiver.step_token(exp=prepared.now + 10)
    assert (await prepared.exchange(token)).status_code == 200
    receiver.clock.now += 70
    await receiver.handoff.recorder.store.purge(int(receiver.clock()))
    thief = type(receiver.pipe)(URL, clock=receiver.clock)
    assert (await thief.exchange(receiver.client, token)).json()["code"] == "step-token-already-bound"


async def test_same_key_may_exchange_its_step_token_again(receiver) -> None:
    token = receiver.step_token()
    for _ in range(2):
        assert (await receiver.pipe.exchange(receiver.client, token)).status_code == 200


async def test_refused_exchange_binds_nothing(receiver) -> None:
    token = receiver.step_token()
    thief = type(receiver.pipe)(URL, clock=receiver.clock)
    assert (await thief.exchange(receiver.client, token, scope="admin")).status_code == 403
    assert (await receiver.pipe.exchange(receiver.client, token)).status_code == 200


async def test_unknown_form_parameters_are_passed_over(receiver) -> None:
    response = await receiver.pipe.exchange(receiver.client, receiver.step_token(), client_id="pipe")
    assert response.status_code == 200


async def test_unknown_members_of_an_event_are_passed_over(receiver) -> None:
    prepared = await stage(receiver)
    response = await prepared.deliver_changed(lambda content: content.update(extension="x"))
    assert response.json()["state"] == "succeeded"


async def test_event_may_leave_the_branch_out(receiver) -> None:
    prepared = await stage(receiver)
    assert (await prepared.deliver(event(event_id(), branch=None))).status_code == 200


async def test_scheme_of_authorization_has_no_case(receiver) -> None:
    prepared = await stage(receiver)
    assert (await prepared.deliver(authorization=f"dpop {prepared.token}")).status_code == 200


@pytest.mark.parametrize(
    "traceparent",
    ["x", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "\xff" * 55],
)
async def test_unusable_traceparent_gets_a_new_trace_id(receiver, traceparent: str) -> None:
    prepared = await stage(receiver)
    response = await prepared.deliver(traceparent=traceparent)
    assert response.status_code == 200
    assert len(response.json()["trace_id"].strip("0")) > 8


async def test_nested_32_deep_is_accepted(receiver) -> None:
    def nest(content) -> None:
        # The event, its data, customData and custom are four levels.
        value: list = []
        for _ in range(27):
            value = [value]
        content["data"]["customData"]["custom"]["x"] = value

    prepared = await stage(receiver)
    assert (await prepared.deliver_changed(nest)).status_code == 200


async def test_another_steps_event_looks_like_none(receiver) -> None:
    """What a stranger may learn of an id is the same whether it exists or not."""
    prepared = await stage(receiver)
    await prepared.deliver()
    token = await receiver.access_token(sub="another", stepUuid=OTHER_UUID)
    answers = []
    for identifier in (prepared.content["id"], "evt_unknown"):
        body = (await receiver.pipe.poll(receiver.client, token, identifier)).json()
        answers.append((body["code"], body["detail"], body["status"]))
    assert answers[0] == answers[1]
