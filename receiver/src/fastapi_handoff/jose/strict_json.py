"""JSON that means one thing only (I-JSON, RFC 7493): what two parsers could read differently is refused."""

from __future__ import annotations

import json
import re
from typing import Any, Final

JSON_DEPTH: Final = 32
"""Levels of nesting."""

_SURROGATE_OR_NUL: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


class NotStrictJson(ValueError):  # noqa: N818 - named for what the input is
    """The bytes are not JSON, or JSON that is ambiguous or too deep; the text says which, without quoting them."""


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # With two members of one name, one parser reads the first and another the last: each would verify another token.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJson("a member name is repeated")
    return members


def _no_constant(_: str) -> Any:
    raise NotStrictJson("`NaN` and `Infinity` are not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if number in {float("inf"), float("-inf")}:
        raise NotStrictJson("a number is out of range")
    return number


_decoder: Final = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite)


def parse_json(raw: bytes) -> Any:
    """Read UTF-8 JSON; `NotStrictJson` for anything else, whatever the bytes are.

    Refused too: repeated member names, `NaN` and `Infinity`, numbers beyond a double, lone surrogates, NUL
    characters, a byte order mark, more than `JSON_DEPTH` levels.
    """
    try:
        # Not `json.loads(raw)`: that guesses UTF-16 and UTF-32.
        text = raw.decode("utf-8")
        value = _decoder.decode(text)
    except UnicodeDecodeError:
        raise NotStrictJson("it is not UTF-8") from None
    except RecursionError:
        raise NotStrictJson(f"it is nested deeper than {JSON_DEPTH} levels") from None
    except NotStrictJson:
        raise
    except ValueError:
        # JSONDecodeError, and the interpreter's limit on the digits of an integer.
        raise NotStrictJson("it is not JSON") from None
    # With fewer brackets than levels it cannot be too deep, and need not be walked. The usual event has nine.
    if raw.count(b"{") + raw.count(b"[") > JSON_DEPTH:
        _require_shallow(value)
    if _SURROGATE_OR_NUL.search(text):
        _require_characters(value)
    return value


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Read UTF-8 JSON that is an object; `NotStrictJson` for anything else."""
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise NotStrictJson("it is not a JSON object")
    return value


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise NotStrictJson(f"it is nested deeper than {JSON_DEPTH} levels")


def _require_characters(value: Any) -> None:
    # PostgreSQL stores no NUL and UTF-8 has no surrogates: what cannot be recorded is refused here, not there.
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text.replace("\\\\", ""):
        raise NotStrictJson("it has a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotStrictJson("it has half of a surrogate pair")
