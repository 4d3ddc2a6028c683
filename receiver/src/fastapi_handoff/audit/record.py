"""One record of the chain: the bytes that are hashed, and the copies beside them that can be searched."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi_handoff.audit.canonical import canonical
from fastapi_handoff.audit.plain import plain, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.audit.entry import AuditEntry, AuditHead

VERSION = 1
"""The record's own version, inside the hashed bytes."""
GENESIS = "0" * 64
"""The `prev_hash` of the first record."""
SEARCHABLE_LIMIT = 256
"""Characters of a copy: PostgreSQL cannot index a text of more than 2,700 bytes, and would refuse the record."""
MEMBERS = frozenset(
    {
        "version",
        "seq",
        "prev_hash",
        "time",
        "actor",
        "action",
        "decision",
        "code",
        "resource",
        "grant",
        "policy",
        "event_id",
        "event_digest",
        "asserted",
        "trace_id",
        "outcome",
        "receipt",
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build(entry: AuditEntry, previous: AuditHead | None, microseconds: int) -> dict[str, Any]:
    """Give the record that follows `previous`, as JSON."""
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
    """Give the bytes to store and their hash."""
    stored = canonical(record)
    return stored, hashlib.sha256(stored).hexdigest()


def decode(stored: bytes) -> dict[str, Any]:
    """Read a record back; `ValueError` says why these are not bytes that `encode` writes."""
    try:
        record = _DECODER.decode(stored.decode())
        rewritten = canonical(record)
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON that this package writes") from None
    if rewritten != stored:
        raise ValueError("it is not in RFC 8785 form")
    if not isinstance(record, dict) or record.keys() != MEMBERS:
        raise ValueError("its members are not those of a record")
    if record["version"] != VERSION:
        raise ValueError(f"its version is `{record['version']}`, this program knows `{VERSION}`")
    if not isinstance(record["actor"], dict | None):
        raise ValueError("its actor is neither an object nor null")  # noqa: TRY004 - what was read, not what was passed
    return record


def searchable(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the columns that copy what the record says, the time excepted."""
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
    return {name: value[:SEARCHABLE_LIMIT] if isinstance(value, str) else None for name, value in said.items()}


def rfc3339(microseconds: int) -> str:
    """Write unix microseconds as UTC, all six digits of the fraction always."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _optional(text: str | None) -> str | None:
    return None if text is None else plain_text(text)


def _no_such_number(number: str) -> NoReturn:
    raise ValueError(number)


_DECODER = json.JSONDecoder(parse_float=_no_such_number, parse_constant=_no_such_number)
