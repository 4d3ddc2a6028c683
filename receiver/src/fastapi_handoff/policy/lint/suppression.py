"""Comments that allow a finding: `# handoff: allow any-branch, because …`. The reason is required, and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Finding, Knowledge, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found
    from fastapi_handoff.policy.model import Policy
    from fastapi_handoff.policy.source import Path, Source

_MARK: Final = re.compile(r"handoff\s*:", re.IGNORECASE)
_FORM: Final = re.compile(r"handoff: allow ([a-z]+(?:-[a-z]+)*), because (\S.*)")


@dataclass(frozen=True, slots=True)
class _Suppression:
    line: int
    table: Path
    rule: str | None
    """`None` where the comment cannot be read."""
    reason: str


def judge(source: Source, found: list[Finding], known: set[str]) -> list[Finding]:
    """Return the findings, with the reason of those that a comment allows, and what is wrong with the comments."""
    suppressions = list(_suppressions(source))
    usable = [each for each in suppressions if each.rule in known and each.rule not in {MALFORMED.id, UNUSED.id}]
    judged, used = [], set()
    for finding in found:
        allowed = next(
            (
                each
                for each in usable
                if each.rule == finding.rule.id
                and each.table == finding.path[: len(each.table)]
                and (each.table or not finding.path)
            ),
            None,
        )
        if allowed is not None:
            used.add(allowed)
        judged.append(finding if allowed is None else replace(finding, reason=allowed.reason))
    for each in suppressions:
        if each.rule is None:
            judged.append(
                _about(
                    each,
                    MALFORMED,
                    "This comment allows nothing: write "
                    "`# handoff: allow RULE, because REASON`, one rule to a comment.",
                )
            )
        elif each not in usable:
            judged.append(
                _about(
                    each, MALFORMED, f"`{each.rule}` is no rule that can be allowed: `policy lint --rules` lists them."
                )
            )
        elif each not in used:
            judged.append(_about(each, UNUSED, f"Nothing here is found by `{each.rule}`: remove the comment."))
    return judged


def _about(each: _Suppression, rule: Rule, message: str) -> Finding:
    return Finding(rule=rule, path=each.table, line=each.line, message=message)


def _suppressions(source: Source) -> Iterator[_Suppression]:
    for line, comment in source.comments.items():
        if _MARK.match(comment):
            form = _FORM.fullmatch(comment)
            rule, reason = (form[1], form[2]) if form else (None, "")
            yield _Suppression(line, _table(source, line), rule, reason)


def _table(source: Source, line: int) -> Path:
    """Return the table that a comment is about: the one right below its block of comments, or the one around it."""
    heads = {at: path for path, at in source.lines.items() if _is_table(path)}
    below = line
    while below in source.alone:
        below += 1
    if below != line and below in heads:
        return heads[below]
    above = [at for at in heads if at <= line]
    return heads[max(above)] if above else ()


def _is_table(path: Path) -> bool:
    return (len(path) == 2 and isinstance(path[1], int)) or path == ("bitbucket",)


def _nothing(_policy: Policy, _known: Knowledge) -> Iterator[Found]:
    """Find nothing: comments are judged after all the rules."""
    return iter(())


MALFORMED: Final = Rule(
    id="malformed-suppression",
    severity="error",
    title="A comment that would allow a finding, and cannot",
    help="`# handoff: allow RULE, because REASON` stands in the table that a finding is about, or right above it.",
    check=_nothing,
)
UNUSED: Final = Rule(
    id="unused-suppression",
    severity="warning",
    title="A comment that allows what is not found",
    help="A comment that outlives its finding would silently allow the next one. Remove it.",
    check=_nothing,
)
