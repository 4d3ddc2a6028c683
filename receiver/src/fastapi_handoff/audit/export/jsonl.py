"""JSON Lines: exactly the bytes that were hashed."""

from __future__ import annotations

from typing import Any


def line(_: dict[str, Any], stored: bytes) -> bytes:
    """Return the stored bytes: their SHA-256 is the record's `hash`, which the next line names as its `prev_hash`.

    They are ASCII, or text without any character that a terminal acts on: an append writes those as escapes.
    """
    return stored
