"""The access token beside a gateway's own credential: `Handoff-Authorization`."""

from __future__ import annotations

import json

import pytest

from helpers.pipe import event, event_id
from helpers.receiver_app import ORIGIN, URL, Receiver


@pytest.fixture
def backend() -> str:
    return "sqlite"


def moved(headers: list[tuple[str, str]], gateway: str | None) -> list[tuple[str, str]]:
    """The same headers, the token where a gateway does not look, and the gateway's own credential."""
    kept = [(name if name.lower() != "authorization" else "Handoff-Authorization", value) for name, value in headers]
    return kept if gateway is None else [*kept, ("Authorization", gateway)]


@pytest.mark.parametrize("gateway", [None, "AWS4-HMAC-SHA256 Credential=x", "Bearer of-the-gateway", "DPo p", ""])
async def test_token_beside_a_gateways_credential_is_accepted(receiver: Receiver, gateway: str | None) -> None:
    token, content = await receiver.access_token(), event(event_id())
    body = json.dumps(content).encode()
    headers = moved(receiver.pipe.event_headers(token, body, content["id"]), gateway)
    response = await receiver.client.post(f"{URL}/events", content=body, headers=headers)
    assert response.json()["state"] == "succeeded"


async def test_two_access_tokens_are_refused(receiver: Receiver) -> None:
    token, content = await receiver.access_token(), event(event_id())
    body = json.dumps(content).encode()
    headers = moved(receiver.pipe.event_headers(token, body, content["id"]), f"DPoP {token}")
    response = await receiver.client.post(f"{URL}/events", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "token-invalid")


async def test_own_route_takes_the_token_beside_a_gateways_credential(receiver: Receiver) -> None:
    token = await receiver.access_token()
    proof = receiver.pipe.proof("POST", f"{ORIGIN}/config/sync", token)
    headers = {"Handoff-Authorization": f"DPoP {token}", "DPoP": proof, "Authorization": "Bearer x"}
    assert (await receiver.client.post("/config/sync", headers=headers)).status_code == 200
