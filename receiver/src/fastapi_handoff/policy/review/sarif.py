"""A review as SARIF 2.1.0 (OASIS), for code scanning.

`baselineState` says whether the pull request did it: `new`, `unchanged`, or `absent` for what it took away. The witness
is in `properties`; an allowed finding has a suppression with its reason.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fastapi_handoff.policy.lint import RULES
from fastapi_handoff.policy.review import words
from fastapi_handoff.policy.review.verdict import grant_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.compare.diff import Change
    from fastapi_handoff.policy.review.verdict import Review

DOCS: Final = "https://bitbucket.org/fastapi-handoff/fastapi-handoff/src/main/docs/policy-review.md"
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
NEW_ACCESS: Final = "new-access"
FAILED_TEST: Final = "failed-test"
_OWN_RULES: Final = (
    (
        NEW_ACCESS,
        "error",
        "Access that the base does not give",
        "The caller of the witness is let in by this policy and refused by the base. Narrow the grant, or say by a "
        "test with `allow` that it is meant.",
    ),
    (
        FAILED_TEST,
        "error",
        "A test of the policy that fails",
        "The policy does not do what its own test says, and no receiver loads it. Mend one of the two.",
    ),
)


def text(found: Review) -> str:
    """Return the review as the text of a SARIF file."""
    return json.dumps(document(found), indent=2, ensure_ascii=False) + "\n"


def document(found: Review) -> dict[str, Any]:
    """Return the review as a SARIF log with one run."""
    rules = [*_OWN_RULES, *((rule.id, rule.severity, rule.title, rule.help) for rule in RULES)]
    indices = {rule[0]: index for index, rule in enumerate(rules)}
    results = [*_gains(found), *_failed_tests(found), *_findings(found)]
    for result in results:
        result["ruleIndex"] = indices[result["ruleId"]]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "fastapi-handoff",
                "semanticVersion": version("fastapi-handoff"),
                "informationUri": DOCS,
                "rules": [_rule(*rule) for rule in rules],
            }
        },
        "automationDetails": {"id": "fastapi-handoff/policy-review/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The root of the repository."}}},
        "artifacts": [{"location": _artifact(found), "sourceLanguage": "toml"}],
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str, level: str, title: str, help_text: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": help_text},
        "help": {"text": help_text},
        "helpUri": f"{DOCS}#{name}",
        "defaultConfiguration": {"level": level},
    }


def _gains(found: Review) -> Iterator[dict[str, Any]]:
    if found.diff is None:
        return
    has_base = found.base is not None and found.base.policy is not None
    for change in found.diff.gains:
        line = found.head.source.line(("grants", change.position))
        result = _result(
            found, NEW_ACCESS, "error", words.gain(found.head, change, found.diff, has_base=has_base), line
        )
        result["baselineState"] = "new"
        result["properties"] = {"grant": change.grant, "scopes": list(change.scopes), "witness": _witness(change)}
        result["partialFingerprints"] = _fingerprint(NEW_ACCESS, change.grant, *change.scopes)
        if change in found.meant:
            said = f"Test `{found.meant[change]}` says that it is meant."
            result["suppressions"] = [{"kind": "inSource", "justification": said}]
        yield result


def _failed_tests(found: Review) -> Iterator[dict[str, Any]]:
    for each in found.failed_tests:
        line = found.head.source.line(("tests", each.position))
        message = f"Test `{each.case.name}` fails: {'; '.join(each.failures)}."
        result = _result(found, FAILED_TEST, "error", message, line)
        result["partialFingerprints"] = _fingerprint(FAILED_TEST, each.case.name)
        yield result


def _findings(found: Review) -> Iterator[dict[str, Any]]:
    for each in found.findings:
        result = _result(found, each.rule.id, each.rule.severity, each.message, each.line)
        grant = grant_of(found.head, each)
        result["properties"] = {"grant": grant} if grant is not None else {}
        if each.witness is not None:
            result["properties"]["witness"] = {"claims": dict(each.witness)}
        result["partialFingerprints"] = _fingerprint(each.rule.id, grant or each.message)
        is_new = found.is_new(each)
        if is_new is not None:
            result["baselineState"] = "new" if is_new else "unchanged"
        if each.reason is not None:
            result["suppressions"] = [{"kind": "inSource", "justification": each.reason}]
        yield result


def _result(found: Review, rule: str, level: str, message: str, line: int) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": line}
    lines = found.head.source.text.splitlines()
    if line <= len(lines) and lines[line - 1].strip():
        region["snippet"] = {"text": lines[line - 1]}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": {"artifactLocation": {**_artifact(found), "index": 0}, "region": region}}],
    }


def _artifact(found: Review) -> dict[str, Any]:
    return {"uri": quote(found.path, safe="/"), "uriBaseId": "SRCROOT"}


def _witness(change: Change) -> dict[str, Any]:
    witness = change.witness
    events = {"service": witness.service, "environmentName": witness.environment_name}
    shown = {name: value for name, value in events.items() if value is not None}
    return {"issuer": witness.issuer, "claims": dict(witness.claims), **shown}


def _fingerprint(*parts: str) -> dict[str, str]:
    return {"handoffFinding/v1": hashlib.sha256("\0".join(parts).encode()).hexdigest()}
