"""What only a real server shows: sizes on the wire, chunks, headers that no client library would send."""

import json
import socket

import httpx
import pytest

from helpers.pipe import event, event_id
from helpers.receiver_app import URL, Receiver
from helpers.served import Served


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def receiver(policy_file, store_url, issuer) -> Receiver:
    return Receiver(policy_file, store_url, issuer)


@pytest.fixture
def served(receiver):
    with Served(receiver.app) as server:
        yield server


def request(*lines: str, body: bytes = b"") -> bytes:
    head = "\r\n".join((*lines, "Host: x", "Connection: close", "", "")).encode("latin-1")
    return head + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def code(answer: bytes) -> str:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["code"]


@pytest.mark.parametrize(("route", "limit"), [("token", 65536), ("events", 262144)])
def test_chunked_body_is_cut_at_the_limit(served, route: str, limit: int) -> None:
    """The client never ends its body: the answer comes when the limit is passed, not when the body ends."""
    head = request(f"POST /handoff/{route} HTTP/1.1", "Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head)
        for _ in range(limit // 65536):
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        connection.sendall(b"1\r\nx\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert (status(answer), code(answer)) == (413, "payload-too-large")


def test_stated_length_over_the_limit_is_refused_before_a_byte_of_the_body(served) -> None:
    answer = served.exchange(request("POST /handoff/events HTTP/1.1", "Content-Length: 262145"))
    assert (status(answer), code(answer)) == (413, "payload-too-large")


def test_header_over_the_limit_is_refused(served) -> None:
    answer = served.exchange(request("POST /handoff/events HTTP/1.1", "Content-Length: 0", f"X-Filler: {'x' * 16385}"))
    assert (status(answer), code(answer)) == (413, "payload-too-large")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Authorization: DPoP a", "authorization: DPoP b"], "token-invalid"),
        (["Authorization: DPoP \xff\xfe"], "token-invalid"),
        (["Handoff-Authorization: DPoP a", "Handoff-Authorization: DPoP a"], "token-invalid"),
        (["Handoff-Authorization: DPoP a", "Authorization: DPoP a"], "token-invalid"),
        (["Handoff-Authorization: DPoP a", "Authorization: dpop"], "token-invalid"),
        (["Handoff-Authorization: Bearer a", "Authorization: DPoP a"], "token-invalid"),
        (["Handoff-Authorization: "], "token-invalid"),
        (["Authorization: DPoP a\tb"], "token-invalid"),
        (["DPoP: a", "DPoP: b"], "token-missing"),
    ],
)
def test_odd_headers_are_refused(served, lines: list[str], expected: str) -> None:
    answer = served.exchange(request("POST /handoff/events HTTP/1.1", "Content-Length: 0", *lines))
    assert (status(answer), code(answer)) == (401, expected)


@pytest.mark.parametrize("line", ["X: a\nDPoP: b", "X: a\rDPoP: b", "X: a\x00b", "X\x00: a", "Content-Length: 1"])
def test_header_injection_does_not_reach_the_app(served, line: str) -> None:
    answer = served.exchange(request("POST /handoff/events HTTP/1.1", "Content-Length: 0", line))
    assert status(answer) in {400, 401}


def test_client_that_goes_away_in_its_body_leaves_nothing_but_a_refusal(served, records) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(request("POST /handoff/events HTTP/1.1", "Content-Length: 100", body=b"x"))
    served.exchange(request("GET /handoff/health HTTP/1.1"))
    assert {record["decision"] for record in records()} <= {"refused"}


@pytest.mark.parametrize("route", ["token", "events"])
def test_body_that_never_comes_to_its_end_is_refused_in_time(served, monkeypatch, route: str) -> None:
    monkeypatch.setattr("fastapi_handoff.web.body.BODY_SECONDS", 0.2)
    answer = served.exchange(request(f"POST /handoff/{route} HTTP/1.1", "Content-Length: 100", body=b"half"))
    assert (status(answer), code(answer)) == (408, "body-timeout")


async def test_event_over_the_wire(served, receiver) -> None:
    async with httpx.AsyncClient(base_url=served.origin, timeout=20) as client:
        proof = receiver.pipe.proof("POST", f"{URL}/token")
        form = receiver.pipe.form(receiver.step_token())
        token = (await client.post("/handoff/token", data=form, headers={"DPoP": proof})).json()["access_token"]
        content = event(event_id())
        body = json.dumps(content).encode()

        async def chunks():
            for position in range(0, len(body), 100):
                yield body[position : position + 100]

        headers = receiver.pipe.event_headers(token, body, content["id"])
        response = await client.post("/handoff/events", content=chunks(), headers=headers)
    assert response.json()["state"] == "succeeded"
