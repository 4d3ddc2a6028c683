"""Schemathesis against the app's own OpenAPI page, honest credentials and all: no 500, whatever it sends."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from helpers.fuzzing import examples
from helpers.pipe import content_digest
from helpers.receiver_app import ORIGIN, URL, Receiver
from helpers.served import Served

pytestmark = pytest.mark.fuzz
KNOWN_ARGUMENTS = ("params", "content", "data", "json", "files")


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def receiver(policy_file, store_url, issuer) -> Receiver:
    return Receiver(policy_file, store_url, issuer)


@pytest.mark.parametrize("authenticated", [False, True], ids=["stranger", "step"])
def test_no_request_of_the_page_is_a_500(receiver, authenticated: bool) -> None:
    statuses: dict[str, list[int]] = {}
    with Served(receiver.app) as served, httpx.Client(base_url=served.origin, timeout=20) as client:
        token = _token(receiver, client) if authenticated else None
        for result in schemathesis.openapi.from_dict(receiver.app.openapi()).get_all_operations():
            _fuzz(result.ok(), lambda case: _send(receiver, client, case, token), statuses)

    assert len(statuses) == 7
    assert sum(len(found) for found in statuses.values()) > 100
    if authenticated:
        # Its events got past the gate, the digest and the timestamp, to where they are parsed.
        assert set(statuses["POST /handoff/events"]) & {200, 400, 403}


def _token(receiver: Receiver, client: httpx.Client) -> str:
    proof = receiver.pipe.proof("POST", f"{URL}/token")
    form = receiver.pipe.form(receiver.step_token())
    token: str = client.post("/handoff/token", data=form, headers={"DPoP": proof}).json()["access_token"]
    return token


def _fuzz(operation, send, statuses: dict[str, list[int]]) -> None:
    @settings(max_examples=examples(40), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def send_one(case) -> None:
        response = send(case)
        statuses.setdefault(operation.label, []).append(response.status_code)
        assert response.status_code < 500, response.text
        if response.status_code >= 400 and response.status_code not in {404, 405}:
            assert response.json()["code"]

    send_one()


def _send(receiver: Receiver, client: httpx.Client, case, token: str | None) -> httpx.Response:
    arguments = case.as_transport_kwargs(base_url=ORIGIN)
    path = arguments["url"].removeprefix(ORIGIN)
    known = {name: arguments[name] for name in KNOWN_ARGUMENTS if arguments.get(name) is not None}
    if isinstance(known.get("data"), bytes | str):
        known["content"] = known.pop("data")
    headers = {name.lower(): str(value) for name, value in (arguments.get("headers") or {}).items()}
    request = client.build_request(case.method, path, **known)
    body = request.read()
    if token is not None:
        headers["authorization"] = f"DPoP {token}"
        headers["dpop"] = receiver.pipe.proof(case.method, f"{ORIGIN}{path.partition('?')[0]}", token, body)
        headers["content-digest"] = content_digest(body)
        headers["webhook-timestamp"] = str(int(receiver.clock()))
    replaced = [(n, v) for n, v in request.headers.raw if n.decode("latin-1").lower() not in headers]
    added = [(n.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for n, v in headers.items()]
    request.headers = httpx.Headers([*replaced, *added])
    return client.send(request)
