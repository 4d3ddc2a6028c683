"""Branch patterns: exact text, or a glob that is matched whole."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_ANY_IN_SEGMENT: Final = "*"
_ANY: Final = "**"
_ONE: Final = "?"


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[str, ...]:
    tokens: list[str] = []
    for character in pattern:
        if character == "*" and tokens and tokens[-1] in {_ANY_IN_SEGMENT, _ANY}:
            tokens[-1] = _ANY
        else:
            tokens.append(character)
    return tuple(tokens)


def matches(pattern: str, text: str) -> bool:
    """Tell whether the *whole* of `text` fits: `*` and `?` stop at a `/`, `**` does not, all else is itself.

    A set of positions walks along the text, so that the time is bounded by the product of the two lengths: a regular
    expression made from `*a*a*a*b` could be kept busy by a branch's name.
    """
    tokens = _tokens(pattern)
    positions = _skip_stars(tokens, {0})
    for character in text:
        after = set()
        for position in positions:
            token = tokens[position] if position < len(tokens) else ""
            if token == _ANY or (token == _ANY_IN_SEGMENT and character != "/"):
                after.add(position)
            elif token == character or (token == _ONE and character != "/"):
                # A literal `*` never gets here: no branch has one in its name (git-check-ref-format).
                after.add(position + 1)
        positions = _skip_stars(tokens, after)
    return len(tokens) in positions


def _skip_stars(tokens: tuple[str, ...], positions: set[int]) -> set[int]:
    reached = set()
    for start in positions:
        position = start
        reached.add(position)
        while position < len(tokens) and tokens[position] in {_ANY_IN_SEGMENT, _ANY}:
            position += 1
            reached.add(position)
    return reached
