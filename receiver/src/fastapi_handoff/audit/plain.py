"""Anything, as JSON that RFC 8785 can encode and whose size has a limit.

What an attacker puts into an event must not make its record impossible: `1e400`, `NaN`, an integer of a million
digits, a lone surrogate, ten thousand members, a depth of ten thousand. Each becomes text, the same text each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi_handoff.audit.canonical import SAFE_INTEGER
from fastapi_handoff.store import storable

TEXT_LIMIT = 1024
"""Characters of one text."""
VALUE_LIMIT = 16_384
"""Characters of one value as a whole, each scalar and member counted as at least `MEMBER_COST`."""
ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""C1 controls, changes of direction, invisible marks and line ends: what a terminal or an editor acts on instead of
showing it. JSON writes only C0 controls as escapes, and RFC 8785 forbids to write any other so; an exported line is
exactly what was hashed."""
MEMBER_COST = 8
DEPTH_LIMIT = 8


def plain_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text that can be stored and shown, of at most `limit` characters and a note of how many there were."""
    if len(text) <= limit:
        return _shown(text)
    return f"{_shown(text[:limit])}… [{len(text)} characters]"


def plain(value: Any) -> Any:
    """Return `value` as `None`, booleans, safe integers, texts, lists and dictionaries with texts for keys."""
    return _Budget().value(value, DEPTH_LIMIT)


class _Budget:
    def __init__(self) -> None:
        self.left = VALUE_LIMIT

    def text(self, text: str) -> str:
        fits = len(text) <= TEXT_LIMIT and len(text) <= self.left  # nearly always
        given = _shown(text) if fits else plain_text(text, max(0, min(TEXT_LIMIT, self.left)))
        self.left -= max(MEMBER_COST, len(given))
        return given

    def value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self.mapping(value, depth - 1) if depth else self.text("[nested too deeply]")
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return self.sequence(value, depth - 1) if depth else self.text("[nested too deeply]")
        self.left -= MEMBER_COST
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if -SAFE_INTEGER <= value <= SAFE_INTEGER else self.text(_long_integer(value))
        if isinstance(value, float):
            return self.text(float.__repr__(value))
        # No `repr` of what is not JSON: it may hold an address, or a secret.
        return self.text(f"[{type(value).__name__}]")

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for count, (key, member) in enumerate(value.items()):
            if self.left <= 0:
                result["…"] = f"[{len(value) - count} more members]"
                break
            name = self.text(key if isinstance(key, str) else f"[{type(key).__name__}]")
            # Two keys that become the same text must not hide each other's values.
            while name in result:
                name += "*"
                self.left -= MEMBER_COST
            result[name] = self.value(member, depth)
        return result

    def sequence(self, value: Sequence[Any], depth: int) -> list[Any]:
        result: list[Any] = []
        for count, member in enumerate(value):
            if self.left <= 0:
                result.append(f"[{len(value) - count} more]")
                break
            result.append(self.value(member, depth))
        return result


def _shown(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return ACTED_ON.sub(lambda match: f"\\u{ord(match[0]):04x}", storable(text))


def _long_integer(value: int) -> str:
    # Python refuses to write more than 4,300 decimal digits; hexadecimal has no such limit.
    return int.__repr__(value) if value.bit_length() <= TEXT_LIMIT else f"[integer of {value.bit_length()} bits]"
