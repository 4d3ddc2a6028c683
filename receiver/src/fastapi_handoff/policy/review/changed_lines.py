"""Which lines of a policy a change touches, since annotations elsewhere are not shown on a pull request."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastapi_handoff.policy.review.verdict import Review
    from fastapi_handoff.policy.source import Path

_LINES: Final = 5000
"""The time of a comparison grows with the square; beyond this, all that is not in the base counts as changed."""


def changed_lines(found: Review) -> set[int]:
    """Return the lines of the head that the base does not have; all of them without a base."""
    head = found.head.source.text.splitlines()
    if found.base is None or found.base.policy is None:
        return set(range(1, len(head) + 1))
    base = found.base.policy.source.text.splitlines()
    if max(len(head), len(base)) > _LINES:
        known = set(base)
        return {number for number, line in enumerate(head, 1) if line not in known}
    changed: set[int] = set()
    for _, _, _, start, end in (
        code for code in SequenceMatcher(None, base, head, False).get_opcodes() if code[0] != "equal"
    ):
        changed.update(range(start + 1, end + 1))
    return changed


def shown_line(found: Review, path: Path, changed: set[int]) -> int | None:
    """Return the changed line that shows a table best: one of its own, else the first of all; `None`: there is none."""
    source = found.head.source
    line = source.line(path)
    if line in changed:
        return line
    own = [each for each in range(source.line(path[:2]), source.last_line(path[:2]) + 1) if each in changed]
    return min(own or changed, default=None)
