"""A review as a Code Insights report of Bitbucket Cloud, with annotations on the lines that the change touches.

https://developer.atlassian.com/cloud/bitbucket/rest/api-group-reports/
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.policy.review import words
from fastapi_handoff.policy.review.changed_lines import changed_lines, shown_line
from fastapi_handoff.policy.review.sarif import DOCS
from fastapi_handoff.policy.review.verdict import grant_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.review.verdict import Review
    from fastapi_handoff.policy.source import Path

REPORT_ID: Final = "fastapi-handoff-policy"
STEP_PROXY: Final = "http://localhost:29418"
"""What Pipelines offers in a step's script: it adds the authentication to requests for reports."""
ANNOTATIONS_PER_REQUEST: Final = 100
_ANNOTATIONS: Final = 1000
_SUMMARY: Final = 450
_DETAILS: Final = 2000
_SEVERITY: Final = {"error": "HIGH", "warning": "MEDIUM", "note": "LOW"}


def summary(found: Review) -> str:
    """Return the result in one sentence."""
    counts = [
        (len(found.unexpected_gains), "grant gives new access/grants give new access"),
        (len(found.failed_tests), "test fails/tests fail"),
        (len(found.errors), "lint error"),
    ]
    said = [words.counted(count, thing) for count, thing in counts if count]
    meant = words.counted(len(found.meant), "grant gives/grants give") + " new access that a test says is meant"
    if said:
        return f"{words.listed(said)}{f'; {meant}' if found.meant else ''}."
    gained = meant if found.meant else "nobody gains access"
    return f"{'' if found.diff is None else f'{gained}, '}all tests pass, and the lint has no errors.".capitalize()


def report(found: Review) -> dict[str, Any]:
    """Return the body of `PUT …/reports/{id}`."""
    lost = []
    if found.diff is not None and found.base is not None and found.base.policy is not None:
        lost = [words.loss(found.base.policy, change) for change in found.diff.losses]
    details = _cut("\n".join([summary(found), *lost]), _DETAILS)
    gains, losses = (0, 0) if found.diff is None else (len(found.diff.gains), len(found.diff.losses))
    return {
        "type": "report",
        "title": "Policy review",
        "details": details,
        "reporter": "fastapi-handoff",
        "report_type": "SECURITY",
        "result": "PASSED" if found.passed else "FAILED",
        "link": DOCS,
        "data": [
            {"title": "Gains", "type": "NUMBER", "value": gains},
            {"title": "Losses", "type": "NUMBER", "value": losses},
            {"title": "Failed tests", "type": "NUMBER", "value": len(found.failed_tests)},
            {"title": "Lint errors", "type": "NUMBER", "value": len(found.errors)},
        ],
    }


def marks(found: Review) -> list[dict[str, Any]]:
    """Return the annotations of the report, each on a line that the change touches."""
    changed = changed_lines(found)
    made: dict[str, dict[str, Any]] = {}
    for path, severity, text, fails in _annotated(found):
        line = shown_line(found, path, changed)
        if line is None:
            continue
        own = found.head.source.line(path)
        where = "" if line == own else f" (Line {own}.)"
        external = hashlib.sha256(f"{path}\0{text}".encode()).hexdigest()
        made[external] = {
            "type": "report_annotation",
            "external_id": external,
            "annotation_type": "VULNERABILITY",
            "summary": _cut(text + where, _SUMMARY),
            "details": _cut(text + where, _DETAILS),
            "severity": severity,
            "result": "FAILED" if fails else "PASSED",
            "path": found.path,
            "line": line,
        }
    return list(made.values())[:_ANNOTATIONS]


def _annotated(found: Review) -> Iterator[tuple[Path, str, str, bool]]:
    has_base = found.base is not None and found.base.policy is not None
    if found.diff is not None:
        for change in found.diff.gains:
            text = words.gain(found.head, change, found.diff, has_base=has_base)
            if change in found.meant:
                text += f" Test `{found.meant[change]}` says that it is meant."
            yield ("grants", change.position), "HIGH", text, change not in found.meant
    for result in found.failed_tests:
        yield (
            ("tests", result.position),
            "HIGH",
            f"Test `{result.case.name}` fails: {'; '.join(result.failures)}.",
            True,
        )
    for finding in found.findings:
        if finding.is_suppressed or found.is_new(finding) is False:
            continue
        grant = grant_of(found.head, finding)
        about = "" if grant is None else f" (grant `{grant}`)"
        text = f"{finding.rule.id}{about}: {finding.message}"
        yield finding.path, _SEVERITY[finding.rule.severity], text, finding.rule.severity == "error"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
