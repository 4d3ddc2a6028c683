"""What goes to the terminal, and what must not reach it as it is."""

from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CELL_LIMIT = 48
"""Characters of a cell: the policy names grants, and events name services, as long as they like."""
ABSENT = "-"


class Misused(Exception):  # noqa: N818 - what happened, not what went wrong
    """The command line cannot be carried out; the text says what is expected."""


def say(text: str) -> None:
    """Write a message."""
    sys.stderr.write(f"{harmless(text)}\n")


def harmless(text: str) -> str:
    """Escape what a terminal acts on instead of showing: control characters, line ends, changes of direction.

    An event's fields are asserted by whoever sent it; raw, they could clear the screen or forge the next line.
    """
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> Iterable[str]:
    """Give the lines of an aligned table. All rows are in memory at once."""
    cells = [[_cell(value) for value in row] for row in rows]
    lines = [list(header), *cells]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (value + " " * (width - _width(value)) for value, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cell(value: str | None) -> str:
    text = harmless(value) if value else ABSENT
    return text if len(text) <= CELL_LIMIT else f"{text[: CELL_LIMIT - 1]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _width(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
        for character in text
    )
