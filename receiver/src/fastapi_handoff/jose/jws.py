"""The compact form of a JWS (RFC 7515), read strictly.

A `Jws` is *unverified* until `keys.verifies` has said yes, under a key that came from a place the caller trusts.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi_handoff.jose.strict_json import NotStrictJson, parse_json_object

MAX_TIME: Final = 2**40
"""Unix seconds beyond every clock, and small enough for the integers of every database."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class MalformedJws(ValueError):  # noqa: N818 - named for what the input is
    """The text is not a JWS in compact form, or an ambiguous one. The message does not quote the text."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWS in compact form, parsed and *not verified*."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def encode(raw: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Read base64url in its one canonical spelling. Raises `MalformedJws` for any other.

    Python's own decoder skips characters it does not know and ignores the unused bits of the last character. One token
    would then have many spellings, and a replay memory that is keyed by the spelling could be bypassed.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise MalformedJws("a part is not base64url")
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(raw) != text:
        raise MalformedJws("a part is not canonical base64url")
    return raw


def parse(text: str, *, max_bytes: int) -> Jws:
    """Read a compact JWS whose header and claims are strict JSON objects. Raises `MalformedJws` for anything else."""
    if len(text) > max_bytes:
        raise MalformedJws(f"it is longer than {max_bytes} bytes")
    parts = text.split(".")
    if len(parts) != 3:
        raise MalformedJws("it does not have three parts")
    header, payload, signature = (decode(part) for part in parts)
    try:
        return Jws(
            parse_json_object(header), parse_json_object(payload), text[: text.rindex(".")].encode("ascii"), signature
        )
    except NotStrictJson as error:
        raise MalformedJws(f"a part cannot be read: {error}") from None


def is_time(value: object) -> bool:
    """Return whether a claim is whole seconds since 1970: not a bool, not a float, not beyond every clock."""
    return type(value) is int and 0 <= value < MAX_TIME
