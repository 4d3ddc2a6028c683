"""All that several globs can say of one text: a walk over the product of their positions, the shortest text first.

A glob is a row of parts, and where one can be in it after some text is a set of positions. Of all characters, only
those that stand in a pattern differ from each other, and `/`, which `*` stops at; one fresh character stands for the
rest. So the sets of positions that can be reached are finite, and a text of each distinct answer (which of the globs
it fits) is found, or that there is none. The sets of all globs are one whole number, a bit for each position.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.mistakes import PolicyError
from fastapi_handoff.policy.patterns import tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FRESH: Final = "xyzabcdefghijklmnopqrstuvw0123456789"
_STEPS: Final = 400_000
"""Of a whole comparison; some seconds. Two hundred grants of one repository need a tenth of it."""
_UNRESTRICTED: Final = "unrestricted"
_UNRESTRICTED_START: Final = "unrestricted, and nothing read"
"""A state of its own: an empty text and a text after which a glob is where it began (`/` in `**?`) differ."""


class Budget:
    """How much work a comparison may be. Globs can be made whose product has more states than there are atoms."""

    def __init__(self, steps: int = _STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Count work. Raises `PolicyError` where there has been too much."""
        self.left -= steps
        if self.left < 0:
            raise PolicyError(
                "these policies are too entangled to be compared exactly in bounded time: "
                "use fewer wildcards in a pattern, or fewer grants for one repository"
            )


def texts(patterns: Sequence[str], budget: Budget, *, must_fit: str | None = None) -> Iterator[str]:
    """Yield a text for each set of patterns that some text fits and that no text before did, the shortest first.

    With `must_fit`, only texts that this pattern fits. A text is never empty, which an issuer takes for absent. What
    Git allows as a branch's name comes first, then what only the receiver would take.
    """
    product = _Product([*([] if must_fit is None else [must_fit]), *patterns])
    needed = product.regions[0] if must_fit is not None else 0
    seen: set[int] = set()
    for git in ("", _UNRESTRICTED_START):
        for text, accepted in product.walk(git, needed, budget):
            if accepted not in seen and (must_fit is None or accepted & product.ends[0]):
                seen.add(accepted)
                yield text


class _Product:
    def __init__(self, patterns: Sequence[str]) -> None:
        rows = [tokens_of(pattern) for pattern in dict.fromkeys(patterns)]
        literals = sorted({token for row in rows for token in row} - {"*", "**", "?", "/"})
        fresh = next((character for character in _FRESH if character not in literals), None)
        if fresh is None:
            fresh = next(chr(code) for code in range(0x4E00, 0x9FFF) if chr(code) not in literals)
        self.alphabet = (fresh, "/", *literals)
        self.regions: list[int] = []
        """The positions of each pattern."""
        self.ends: list[int] = []
        self.start = self.stars = 0
        self._stay = dict.fromkeys(self.alphabet, 0)
        self._step = dict.fromkeys(self.alphabet, 0)
        at = 0
        for row in rows:
            self.regions.append(((1 << (len(row) + 1)) - 1) << at)
            self.start |= 1 << at
            for part in row:
                self._add(part, 1 << at)
                at += 1
            self.ends.append(1 << at)
            at += 1
        self.accepting = sum(self.ends)
        self.start = self._closed(self.start)

    def _add(self, part: str, bit: int) -> None:
        if part in {"*", "**"}:
            self.stars |= bit
        for character in self.alphabet:
            if part == "**" or (part == "*" and character != "/"):
                self._stay[character] |= bit
            elif part == character or (part == "?" and character != "/"):
                self._step[character] |= bit

    def _closed(self, state: int) -> int:
        # No two stars stand beside each other: `tokens_of` makes one of them.
        return state | (state & self.stars) << 1

    def walk(self, git: str, needed: int, budget: Budget) -> Iterator[tuple[str, int]]:
        """Yield every state's first text, with the ends that it reached. `git` is the state of the names' grammar."""
        start = (self.start, git)
        before: dict[tuple[int, str], tuple[tuple[int, str], str] | None] = {start: None}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            budget.spend(len(self.alphabet))
            for character in self.alphabet:
                grammar = _git_name(here[1], character)
                moved = (here[0] & self._stay[character]) | (here[0] & self._step[character]) << 1
                there = (self._closed(moved), grammar or "")
                if grammar is None or there in before or (needed and not there[0] & needed):
                    continue
                before[there] = (here, character)
                queue.append(there)
                if grammar not in {"", ".", ".lock"}:
                    yield _spelled(before, there), there[0] & self.accepting


def _spelled(before: dict[tuple[int, str], tuple[tuple[int, str], str] | None], state: tuple[int, str]) -> str:
    characters = []
    step = before[state]
    while step is not None:
        characters.append(step[1])
        step = before[step[0]]
    return "".join(reversed(characters))


def _git_name(tail: str, character: str) -> str | None:
    """Return what matters of a branch's name after one more character; `None`: Git allows no such name.

    `""` is the start of a part between slashes, where a name cannot end. https://git-scm.com/docs/git-check-ref-format
    """
    if tail in {_UNRESTRICTED, _UNRESTRICTED_START}:
        return _UNRESTRICTED
    if character == "/":
        return None if tail in {"", ".lock"} else ""
    if character == ".":
        return None if tail in {"", "."} else "."
    if character == "{" and tail == "@":
        return None
    if character == "@":
        return "@"
    grown = tail + character
    return grown if ".lock".startswith(grown) else "-"
