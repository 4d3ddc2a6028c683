"""The faults that befall a request on a `FaultyLink`: before the server got it, after, or instead."""

import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from itertools import count
from typing import Any

from .faulty_link import Answer, Fault, Hop

JSON = "application/json"
PROBLEM = "application/problem+json"


def reset_unforwarded(hop: Hop) -> None:
    """Read whole, then lost: the server never sees it."""
    hop.reset()


def lose_answer(hop: Hop) -> None:
    """The server handles it, and the pipe never learns how."""
    hop.forward()
    hop.reset()


def cut_answer(hop: Hop) -> None:
    """Half of the answer's body."""
    whole = hop.forward()
    hop.write(whole.encoded()[: -(len(whole.body) // 2)])
    hop.hang_up()


def cut_head(hop: Hop) -> None:
    """Half of the answer's head."""
    hop.forward()
    hop.write(b"HTTP/1.1 200 O")
    hop.hang_up()


def hang_up_after(hop: Hop) -> None:
    """A good answer, and a connection that is gone when the next request wants it."""
    hop.answer(hop.forward())
    hop.hang_up()


def close_after(hop: Hop) -> None:
    """A good answer that says the connection is not for another request."""
    answer = hop.forward()
    hop.answer(replace(answer, headers={**answer.headers, "connection": "close"}))
    hop.hang_up()


def silence(hop: Hop) -> None:
    """The server handles it; then nothing more comes."""
    hop.forward()
    hop.wait_for_hangup()


def silence_unforwarded(hop: Hop) -> None:
    """It gets stuck on the way there."""
    hop.wait_for_hangup()


def endless(hop: Hop) -> None:
    """The server handles it; the answer never ends."""
    hop.forward()
    hop.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
    hop.hang_up()
    while True:
        hop.write(b" " * 65536)


def huge_headers(hop: Hop) -> None:
    """The server handles it; the answer's head is larger than any program should read."""
    answer = hop.forward()
    hop.answer(replace(answer, headers={**answer.headers, "x-padding": "x" * 2_000_000}))
    hop.hang_up()


def compressed(hop: Hop) -> None:
    """A good answer, in a coding that nobody asked for."""
    answer = hop.forward()
    headers = {**answer.headers, "content-encoding": "gzip"}
    hop.answer(replace(answer, headers=headers, body=gzip.compress(answer.body)))


def http2(hop: Hop) -> None:
    """A server that speaks HTTP/2 only begins with its settings."""
    hop.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    hop.hang_up()


def duplicated(hop: Hop) -> None:
    """The server gets it twice, and the pipe gets the second answer."""
    hop.forward()
    hop.answer(hop.forward())


def instead(status: int, body: Any = None, media_type: str = JSON, **headers: str) -> Fault:
    """An answer of something in between; `body` is text, or what becomes JSON."""
    answer = _answer(status, body, media_type, headers)
    return lambda hop: hop.answer(answer)


def afterwards(status: int, body: Any = None, media_type: str = JSON, **headers: str) -> Fault:
    """As `instead`, but the server handled the request before."""
    answer = _answer(status, body, media_type, headers)

    def fault(hop: Hop) -> None:
        hop.forward()
        hop.answer(answer)

    return fault


def changed(status: int | None = None, headers: Mapping[str, str] | None = None, **members: Any) -> Fault:
    """The server's answer with another status, other headers, or other members of its JSON."""

    def fault(hop: Hop) -> None:
        answer = hop.forward()
        body = json.dumps({**json.loads(answer.body), **members}).encode() if members else answer.body
        hop.answer(Answer(status or answer.status, {**answer.headers, **(headers or {})}, body))

    return fault


def still_runs() -> Fault:
    """A receipt of a handler that has not ended, though it has."""
    return changed(202, {"retry-after": "0"}, state="running", result=None)


def retry_later(status: int, wait: str | None = None) -> Fault:
    """An answer of something in between that asks for another try."""
    return instead(status, "try later", "text/plain", **({} if wait is None else {"retry-after": wait}))


def retry_at(status: int, seconds: float) -> Fault:
    """As `retry_later`, with the date that is so far away."""
    return lambda hop: retry_later(status, formatdate(time.time() + seconds, usegmt=True))(hop)


def clock_off_by(seconds: float) -> Fault:
    """The server's answer, as if its clock were another."""

    def fault(hop: Hop) -> None:
        answer = hop.forward()
        date = formatdate(time.time() + seconds, usegmt=True)
        hop.answer(replace(answer, headers={**answer.headers, "date": date}))

    return fault


def refusal(status: int, code: str) -> Fault:
    """A receiver's own refusal: the event is not handled."""
    body = {"title": "a fault", "status": status, "detail": "made up by the link", "code": code, "trace": []}
    return instead(status, body, PROBLEM)


def nonce_challenge(new_each_time: bool = True, after_bearer: bool = False) -> Fault:
    """RFC 9449, section 8 (in the body) and section 9 (in the header): the proof must name this nonce.

    `after_bearer`: another scheme's challenge comes before, in a header of its own.
    """
    numbers = count() if new_each_time else iter(lambda: 0, 1)

    def fault(hop: Hop) -> None:
        headers = {"dpop-nonce": f"nonce-{next(numbers)}", "www-authenticate": 'DPoP error="use_dpop_nonce"'}
        if after_bearer:
            headers = {"WWW-Authenticate": 'Bearer realm="app"', **headers}
        if hop.request.target.endswith("/token"):
            del headers["www-authenticate"]
            hop.answer(_answer(400, {"error": "use_dpop_nonce"}, JSON, headers))
        else:
            hop.answer(_answer(401, {"title": "a nonce is wanted", "status": 401}, PROBLEM, headers))

    return fault


def _answer(status: int, body: Any, media_type: str, headers: Mapping[str, str]) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": media_type, **named}, b"" if body is None else text.encode())
