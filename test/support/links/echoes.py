"""Faults of a server that says back whatever it was sent, in every encoding in which a log's masking could miss it."""

import base64
import html
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

from .faulty_link import Answer, Fault, Hop, Request

Encoding = Callable[[str], str]


def _base64(text: str, before: int = 0) -> str:
    return base64.b64encode(b"?" * before + text.encode()).decode()


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _halved(mark: str) -> Encoding:
    return lambda text: text[: len(text) // 2] + mark + text[len(text) // 2 :]


ENCODINGS: Mapping[str, tuple[Encoding, ...]] = {
    "as text": (
        str,
        lambda text: json.dumps(text)[1:-1],
        lambda text: text.replace("/", "\\/"),
        lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
        html.escape,
        lambda text: "".join(f"&#{ord(c)};" for c in text),
        _halved("\n"),
        _halved("\r\n    "),
        _halved("\\n"),
    ),
    "for URLs": (
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="").lower() if "%" in quote(text, safe="") else text,
        lambda text: quote(quote(text, safe=""), safe=""),
        quote_plus,
        lambda text: "".join(f"%{ord(c):02X}" for c in text),
    ),
    "as digits": (
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        _base64,
        lambda text: _base64(text, 1),
        lambda text: _base64(text, 2),
        _base64url,
        lambda text: _halved("\n")(_base64(text)),
        lambda text: _base64(_base64(text)),
    ),
}


def credentials_in(request: Request) -> Iterator[str]:
    """What a request proves itself with: header values, without their schemes, and the tokens of a form."""
    for name in ("authorization", "dpop"):
        if name in request.headers:
            yield request.headers[name].split(" ")[-1]
    if request.headers.get("content-type") == "application/x-www-form-urlencoded":
        yield from (value for name, value in parse_qsl(request.body.decode()) if name == "subject_token")


def echoes_of(request: Request, group: str) -> list[str]:
    """A request's credentials, and a header with one in it, in every encoding of a group."""
    texts = list(credentials_in(request))
    texts += [f"{name}: {request.headers[name]}" for name in ("authorization",) if name in request.headers]
    # The report through the proxy of Pipelines proves itself with nothing.
    return [encode(text) for encode in ENCODINGS[group] for text in texts or ["nothing"]]


def echoing(status: int, group: str, **members: Any) -> Fault:
    """An answer full of echoes: in the members and headers that the pipe reads, and in those it may show at `DEBUG`."""

    def fault(hop: Hop) -> None:
        echoes = echoes_of(hop.request, group)
        one = cycle(echoes)
        row = {"check": next(one), "expected": next(one), "got": next(one), "ok": False, "grant": next(one)}
        told = {
            "detail": " | ".join(echoes),
            **{name: next(one) for name in ("title", "trace_id")},
            "trace": [row, {**row, "check": next(one), "ok": True, "grant": None}],
            "error_description": " | ".join(echoes),
            "error": {"message": " | ".join(echoes), "detail": next(one), "fields": {"state": [next(one)]}},
            "audit": {"seq": 1, "hash": next(one)},
        }
        hop.answer(Answer(status, _headers(echoes), json.dumps({**told, **members}).encode()))

    return fault


def receipt_with_echoes(group: str, **members: Any) -> Fault:
    """The receiver's own receipt, with echoes in all that is text."""

    def fault(hop: Hop) -> None:
        answer = hop.forward()
        echoes = echoes_of(hop.request, group)
        one = cycle(echoes)
        receipt = json.loads(answer.body)
        receipt |= {"detail": " | ".join(echoes), "result": {"echo": echoes, next(one): 1}, "trace_id": next(one)}
        receipt["identity"] |= {"grant": next(one), "branch": next(one)}
        receipt["asserted"]["environment"] = next(one)
        receipt["audit"]["hash"] = next(one)
        hop.answer(Answer(answer.status, _headers(echoes), json.dumps({**receipt, **members}).encode()))

    return fault


def token_with_echoes(group: str) -> Fault:
    """A good access token, and echoes beside it."""

    def fault(hop: Hop) -> None:
        answer = hop.forward()
        echoes = echoes_of(hop.request, group)
        body = json.dumps({**json.loads(answer.body), "scope": " | ".join(echoes)}).encode()
        hop.answer(Answer(answer.status, _headers(echoes), body))

    return fault


def _headers(echoes: list[str]) -> dict[str, str]:
    one = cycle(echo.replace("\r", "").replace("\n", "") for echo in echoes)
    return {
        "content-type": "application/json",
        "retry-after": "0",
        "location": f"/{next(one)}",
        "www-authenticate": f'DPoP error="{next(one)}"',
        "date": next(one),
    }
