"""What can be said about one record, given the one before: the pure part of `audit verify`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi_handoff.audit.record import GENESIS, decode, rfc3339, searchable
from fastapi_handoff.audit.rows import stored_bytes, text

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Link:
    """The record before: its number, its time, and what a successor may name it by.

    A record that was edited is named by its old hash in its successor and by its new one in itself. Once that has
    been said about it, its successor is not to blame for either.
    """

    seq: int
    time: int
    hashes: tuple[str, ...]


START = Link(0, 0, (GENESIS,))


def check(row: Any, before: Link) -> tuple[Link, list[str]]:
    """Compare a stored row with the row before; give what its successor is compared with, and what is wrong here."""
    stored = stored_bytes(row.record)
    digest = hashlib.sha256(stored).hexdigest()
    stored_hash = text(row.hash) or ""
    wrong = list(_position(row, before))
    if type(row.seq) is not int or not isinstance(row.hash, str) or not isinstance(row.record, str):
        wrong.append("a column of it has a type that an append does not write")
    if digest != stored_hash:
        wrong.append(f"its bytes hash to `{digest}`, its stored hash is `{stored_hash}`: it was edited")
    try:
        record = decode(stored)
    except ValueError as error:
        wrong.append(f"its bytes cannot have been written by an append: {error}")
    else:
        wrong.extend(_copies(row, record))
        wrong.extend(_receipt(row, record))
    time = row.time if isinstance(row.time, int) else before.time
    return Link(row.seq, max(time, before.time), (digest, stored_hash)), wrong


def _position(row: Any, before: Link) -> Iterator[str]:
    missing = row.seq - before.seq - 1
    if missing > 0:
        first, last = before.seq + 1, row.seq - 1
        yield (
            f"record {first} is missing before it"
            if missing == 1
            else f"records {first} to {last} are missing before it"
        )
    elif missing < 0 and before is not START:
        yield "it is there twice: a row was inserted, or a second receipt for its event"
    elif missing < 0:
        yield "its number comes before the first, which is 1"
    elif text(row.prev_hash) not in before.hashes:
        yield (
            f"its prev_hash is `{text(row.prev_hash)}`, but record {before.seq} hashes to `{before.hashes[0]}`: "
            "one of the two was replaced, inserted or moved"
            if before.seq
            else f"its prev_hash is `{text(row.prev_hash)}`, but the first record's is 64 zeros: it was replaced"
        )
    if isinstance(row.time, int) and row.time < before.time:
        yield f"its time is before that of record {before.seq}"


def _copies(row: Any, record: dict[str, Any]) -> Iterator[str]:
    said: dict[str, Any] = {"seq": record["seq"], "prev_hash": record["prev_hash"], "time": record["time"]}
    held: dict[str, Any] = {"seq": row.seq, "prev_hash": row.prev_hash, "time": _time(row.time)}
    for name, value in searchable(record).items():
        said[name] = value
        # As it is: bytes that spell the same are found by no filter.
        held[name] = getattr(row, name)
    for name, value in said.items():
        if held[name] != value:
            yield f"its column `{name}` is `{held[name]}`, its hashed bytes say `{value}`"


def _receipt(row: Any, record: dict[str, Any]) -> Iterator[str]:
    if record["receipt"] is None or row.source is None or row.event_id is None:
        return
    if row.receipt_seq is None:
        yield "the receipt that it is about was deleted"
    elif not isinstance(row.receipt_seq, int) or row.receipt_seq < row.seq:
        yield f"the receipt that it is about names record {row.receipt_seq!r}: it was set back to an earlier state"


def _time(stored: Any) -> str | None:
    try:
        return rfc3339(stored) if isinstance(stored, int) else None
    except (TypeError, OverflowError):
        return None
