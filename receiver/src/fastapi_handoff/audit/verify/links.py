"""What can be said about one record, given the one before: the pure part of `audit verify`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi_handoff.audit.chain import CLOCK_TOLERANCE, LARGEST_STEP, SET_BACK
from fastapi_handoff.audit.record import GENESIS, decode, rfc3339, searchable
from fastapi_handoff.audit.rows import stored_bytes, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COPIES: Final = ("issuer", "source", "actor", "action", "decision", "code", "event_id")
"""The columns that copy what a record says, in the order of `searchable`."""
COLUMNS: Final = ("seq", "prev_hash", "hash", "record", "time", *COPIES)
"""The columns of a record that `check` reads, in this order; behind them the `audit_seq` of its event's receipt."""


class Link(NamedTuple):
    """The record before: its number, its time, and what a successor may name it by.

    A record that was edited is named by its old hash in its successor and by its new one in itself. Once that has
    been said about it, its successor is not to blame for either.
    """

    seq: int
    time: int
    hashes: tuple[str, ...]


START: Final = Link(0, 0, (GENESIS,))


def check(row: Sequence[Any], before: Link) -> tuple[Link, list[str], list[str]]:
    """Compare a stored row with the row before.

    Returns what its successor is compared with, what is wrong here, and what is odd. What is right is compared as a
    whole, and only what is not is looked at closely: a chain has a million records that are right.
    """
    seq, prev_hash, stored_hash, stored_record, time, *copies, receipt_seq = row
    stored = stored_bytes(stored_record)
    digest = hashlib.sha256(stored).hexdigest()
    wrong: list[str] = []
    odd: list[str] = []
    if seq != before.seq + 1 or prev_hash not in before.hashes:
        wrong += _position(seq, prev_hash, before)
    until = before.time
    if type(time) is int:
        if before.seq and not 0 <= time - before.time <= LARGEST_STEP * 1_000_000:
            _time(time, before, wrong, odd)
        # A clock that goes back a little does not take the chain with it; one that was far ahead is forgotten.
        if not 0 < before.time - time <= CLOCK_TOLERANCE * 1_000_000:
            until = time
    if type(seq) is not int or type(stored_hash) is not str or type(stored_record) is not str or type(time) is not int:
        wrong.append("a column of it has a type that an append does not write")
    if digest == stored_hash:
        hashes: tuple[str, ...] = (digest,)
    else:
        hashes = (digest, text(stored_hash) or "")
        wrong.append(f"its bytes hash to `{digest}`, its stored hash is `{hashes[1]}`: it was edited")
    try:
        record = decode(stored)
    except ValueError as error:
        wrong.append(f"its bytes cannot have been written by an append: {error}")
        return Link(seq, until, hashes), wrong, odd
    said = [record["seq"], record["prev_hash"], record["time"], *searchable(record).values()]
    held = [seq, prev_hash, _written(time), *copies]
    if said != held:
        wrong += _differences(said, held)
    if record["receipt"] is not None and (type(receipt_seq) is not int or receipt_seq < seq):
        wrong += _receipt(copies, receipt_seq)
    if record["action"] == SET_BACK:
        wrong.append(_lost(record["outcome"] or {}))
    return Link(seq, until, hashes), wrong, odd


def _position(seq: int, prev_hash: Any, before: Link) -> Iterator[str]:
    missing = seq - before.seq - 1
    if missing > 0:
        first, last = before.seq + 1, seq - 1
        yield (
            f"record {first} is missing before it"
            if missing == 1
            else f"records {first} to {last} are missing before it"
        )
    elif missing < 0 and before is not START:
        yield "it is there twice: a row was inserted, or a second receipt for its event"
    elif missing < 0:
        yield "its number comes before the first, which is 1"
    elif text(prev_hash) not in before.hashes:
        yield (
            f"its prev_hash is `{text(prev_hash)}`, but record {before.seq} hashes to `{before.hashes[0]}`: "
            "one of the two was replaced, inserted or moved"
            if before.seq
            else f"its prev_hash is `{text(prev_hash)}`, but the first record's is 64 zeros: it was replaced"
        )


def _differences(said: Sequence[Any], held: Sequence[Any]) -> Iterator[str]:
    # As it is: bytes that spell the same are found by no filter.
    for name, value, column in zip(("seq", "prev_hash", "time", *COPIES), said, held, strict=True):
        if column != value:
            yield f"its column `{name}` is `{column}`, its hashed bytes say `{value}`"


def _receipt(copies: Sequence[Any], receipt_seq: Any) -> Iterator[str]:
    if copies[COPIES.index("source")] is None or copies[COPIES.index("event_id")] is None:
        return
    if receipt_seq is None:
        yield "the receipt that it is about was deleted"
    else:
        yield f"the receipt that it is about names record {receipt_seq!r}: it was set back to an earlier state"


def _lost(outcome: dict[str, Any]) -> str:
    return (
        f"the process that appended it had written record {outcome.get('seq')} with hash `{outcome.get('hash')}`, "
        "which was no longer there: the tail of the chain was cut off, or the database was set back"
    )


def _time(time: int, before: Link, wrong: list[str], odd: list[str]) -> None:
    step = (time - before.time) / 1_000_000
    if step > 0:
        odd.append(f"its time is {step / 86_400:.0f} days after that of record {before.seq}: is it right?")
    elif step < -CLOCK_TOLERANCE:
        odd.append(f"its time is {-step:.0f} s before that of record {before.seq}: a clock was wrong")
    else:
        wrong.append(f"its time is before that of record {before.seq}")


def _written(time: Any) -> str | None:
    try:
        return rfc3339(time) if isinstance(time, int) else None
    except (TypeError, OverflowError):
        return None
