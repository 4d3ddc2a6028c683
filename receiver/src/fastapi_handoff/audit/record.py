"""One record of the chain: the bytes that are hashed, and the copies beside them that can be searched."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import from_json

from fastapi_handoff.audit.canonical import canonical, plainly_canonical
from fastapi_handoff.audit.plain import ACTED_ON, plain, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.audit.entry import AuditEntry, AuditHead

VERSION = 1
"""The record's own version, inside the hashed bytes."""
GENESIS = "0" * 64
"""The `prev_hash` of the first record."""
SEARCHABLE_LIMIT = 256
"""Characters of a copy: PostgreSQL cannot index a text of more than 2,700 bytes, and would refuse the record."""
TIME_LENGTH = 27
"""Characters of `2026-11-24T03:01:15.123456Z`."""
_TEXT, _OPTIONAL, _OBJECT = (str,), (str, NoneType), (dict, NoneType)
_TYPES: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "seq": (int,),
    "prev_hash": _TEXT,
    "time": _TEXT,
    "actor": _OBJECT,
    "action": _TEXT,
    "decision": _TEXT,
    "code": _OPTIONAL,
    "resource": _OPTIONAL,
    "grant": _OPTIONAL,
    "policy": _OPTIONAL,
    "event_id": _OPTIONAL,
    "event_digest": _OPTIONAL,
    "asserted": _OBJECT,
    "trace_id": _OPTIONAL,
    "outcome": _OBJECT,
    "receipt": _OPTIONAL,
}
"""The members of a record."""
_NOT_A_RECORD = "its members are not those of a record"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build(entry: AuditEntry, previous: AuditHead | None, microseconds: int) -> dict[str, Any]:
    """Return the record that follows `previous`, as JSON."""
    return {
        "version": VERSION,
        "seq": previous.seq + 1 if previous else 1,
        "prev_hash": previous.hash if previous else GENESIS,
        "time": rfc3339(microseconds),
        "actor": None if entry.actor is None else plain(entry.actor),
        "action": plain_text(entry.action),
        "decision": plain_text(entry.decision),
        "code": _optional(entry.code),
        "resource": _optional(entry.resource),
        "grant": _optional(entry.grant),
        "policy": _optional(entry.policy),
        "event_id": _optional(entry.event_id),
        "event_digest": _optional(entry.event_digest),
        "asserted": None if entry.asserted is None else plain(entry.asserted),
        "trace_id": _optional(entry.trace_id),
        "outcome": None if entry.outcome is None else plain(entry.outcome),
        "receipt": _optional(entry.receipt),
    }


def encode(record: dict[str, Any]) -> tuple[bytes, str]:
    """Return the bytes to store and their hash."""
    stored = canonical(record)
    return stored, hashlib.sha256(stored).hexdigest()


def decode(stored: bytes) -> dict[str, Any]:
    """Read a record back; `ValueError` says why these are not bytes that `encode` writes."""
    record = plainly_canonical(stored)
    if record is None or not stored.isascii():
        record = _parsed(stored, require_canonical=True)
    return _checked(record)


def read(stored: bytes) -> dict[str, Any]:
    """As `decode`, of bytes that were found to be in RFC 8785 form already: that is not looked at again."""
    try:
        record = from_json(stored)
    except ValueError:
        record = None
    return _checked(record if record is not None else _parsed(stored, require_canonical=False))


def _parsed(stored: bytes, *, require_canonical: bool) -> Any:
    try:
        text = stored.decode()
        record = _DECODER.decode(text)
        is_canonical = not require_canonical or canonical(record) == stored
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON that this package writes") from None
    if not is_canonical:
        raise ValueError("it is not in RFC 8785 form")
    if not text.isascii() and ACTED_ON.search(text):
        raise ValueError("it holds a character that an append writes as an escape")
    return record


def _checked(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(_NOT_A_RECORD)  # noqa: TRY004 - what was read, not what was passed
    wrong = _wrong_shape(tuple(record), tuple(map(type, record.values())))
    if wrong is not None:
        raise ValueError(wrong)
    if record["version"] != VERSION:
        raise ValueError(f"its version is `{record['version']}`, this program knows `{VERSION}`")
    if not _is_time(record["time"]):
        raise ValueError("its `time` is no time in the form that an append writes")
    return record


@lru_cache
def _wrong_shape(names: tuple[str, ...], types: tuple[type, ...]) -> str | None:
    """Return what is wrong with a record's members and their types; nearly all records have one of a few shapes."""
    if set(names) != _TYPES.keys():
        return _NOT_A_RECORD
    wrong = (name for name, kind in zip(names, types, strict=True) if kind not in _TYPES[name])
    return next((f"its `{name}` is of a type that an append does not write" for name in wrong), None)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == TIME_LENGTH and text.endswith("Z")


def searchable(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that copy what the record says, the time excepted."""
    actor = record["actor"] or {}
    said = {
        "issuer": actor.get("issuer"),
        "source": actor.get("source"),
        "actor": actor.get("sub"),
        "action": record["action"],
        "decision": record["decision"],
        "code": record["code"],
        "event_id": record["event_id"],
    }
    return {name: value[:SEARCHABLE_LIMIT] if type(value) is str else None for name, value in said.items()}


def rfc3339(microseconds: int) -> str:
    """Write unix microseconds as UTC, all six digits of the fraction always."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_to_the_second(seconds)}.{fraction:06d}Z"


@lru_cache
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds").removesuffix("+00:00")


def _optional(text: str | None) -> str | None:
    return None if text is None else plain_text(text)


def _no_such_number(number: str) -> NoReturn:
    raise ValueError(number)


_DECODER = json.JSONDecoder(parse_float=_no_such_number, parse_constant=_no_such_number)
