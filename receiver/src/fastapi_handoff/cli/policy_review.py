"""`fastapi-handoff policy test|diff|lint|review`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi_handoff.cli.output import harmless, say
from fastapi_handoff.cli.policy_audit import replayed
from fastapi_handoff.cli.policy_base import base_at, path_in_repository
from fastapi_handoff.cli.policy_store import add_store_to
from fastapi_handoff.policy import Policy, PolicyError, cases, read_file
from fastapi_handoff.policy import review as reviewing
from fastapi_handoff.policy.lint import PERSONAS, RULES, Knowledge, lint
from fastapi_handoff.policy.review import Base, Report, Review, code_insights, sarif, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint import Finding
    from fastapi_handoff.policy.review import ReportedChange

DEFAULT_FILE = "handoff.toml"


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--format", choices=("text", "json"), default="text", help="(default: %(default)s)")
    knowledge = argparse.ArgumentParser(add_help=False)
    knowledge.add_argument("--persona", choices=PERSONAS, default="regular", help="(default: %(default)s)")
    knowledge.add_argument("--app", metavar="MODULE:NAME", help="the FastAPI app, whose code is run; finds dead scopes")
    knowledge.add_argument("--days", type=int, default=90, metavar="N", help="of the audit (default: %(default)s)")
    add_store_to(knowledge)

    command = commands.add_parser("test", parents=[form], help="run the policy's own tests")
    command.add_argument("file", metavar="FILE")
    command.set_defaults(run=run_test)

    command = commands.add_parser("diff", parents=[form], help="show who gains and who loses what")
    command.add_argument("base", metavar="BASE")
    command.add_argument("head", metavar="HEAD")
    command.set_defaults(run=run_diff)

    command = commands.add_parser("lint", parents=[form, knowledge], help="find access leaks in a policy")
    command.add_argument("file", metavar="FILE", nargs="?", default=DEFAULT_FILE, help="(default: %(default)s)")
    command.add_argument("--rules", action="store_true", help="list the rules instead")
    command.set_defaults(run=run_lint)

    command = commands.add_parser("review", parents=[knowledge], help="review what a pull request does to a policy")
    command.add_argument("file", metavar="FILE", nargs="?", default=DEFAULT_FILE, help="(default: %(default)s)")
    command.add_argument("--base", metavar="COMMIT", help="what it is merged into, e.g. origin/main")
    command.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="(default: %(default)s)")
    command.add_argument("--sarif", metavar="FILE", help="write SARIF 2.1.0 to a file as well")
    command.add_argument("--json", metavar="FILE", help="write the report as JSON to a file as well")
    command.add_argument("--post", action="store_true", help="put a report on the commit, through the step's proxy")
    command.add_argument(
        "--proxy", default=code_insights.STEP_PROXY, metavar="URL", help="for --post (default: %(default)s)"
    )
    command.set_defaults(run=run_review)


def run_test(options: argparse.Namespace) -> int:
    """Run the tests; 1 where one fails."""
    policy = _load(options.file)
    results = cases.run(policy)
    failed = [result for result in results if not result.passed]
    if options.format == "json":
        _report(policy, passed=not failed, tests=[reviewing.reported_test(policy, result) for result in results])
        return 1 if failed else 0
    for result in failed:
        line = policy.source.line(("tests", result.position))
        for said in result.failures:
            _write(f"{options.file}:{line}: test `{result.case.name}` fails: {said}")
    _write(f"{len(results) - len(failed)} of {len(results)} tests passed")
    return 1 if failed else 0


def run_diff(options: argparse.Namespace) -> int:
    """Compare two files; 1 where somebody gains something."""
    base, head = _load(options.base), _load(options.head)
    found = reviewing.review(head, Base(policy=base, commit=None))
    if options.format == "json":
        report = reviewing.as_report(found)
        gains = bool(report.gains)
        sys.stdout.write(
            report.model_copy(
                update={"tests": None, "findings": None, "result": "failed" if gains else "passed"}
            ).text()
        )
        return 1 if gains else 0
    _write_lines(_changes(found, reviewing.as_report(found)))
    return 1 if found.diff and found.diff.gains else 0


def run_lint(options: argparse.Namespace) -> int:
    """Run the rules; 1 where an error is found that no comment allows."""
    if options.rules:
        for rule in RULES:
            _write(f"{rule.id} ({rule.severity}, {rule.persona}): {rule.title}.")
        return 0
    policy = _load(options.file)
    knowledge = _knowledge(policy, options)
    found = lint(policy, knowledge, persona=options.persona)
    errors = [each for each in found if each.rule.severity == "error" and not each.is_suppressed]
    if options.format == "json":
        findings = [reviewing.reported_finding(policy, each) for each in found]
        grants, scopes = reviewing.reported_grants(policy), reviewing.reported_scopes(policy, knowledge)
        _report(policy, passed=not errors, findings=findings, grants=grants, scopes=scopes)
    else:
        _write_lines(_findings(policy, found))
        _write(_counted(found))
    return 1 if errors else 0


def run_review(options: argparse.Namespace) -> int:
    """Review a policy, with all that is known; 1 where the pull request should not be merged like that."""
    policy = _load(options.file)
    base = None if options.base is None else base_at(options.base, options.file)
    knowledge = _knowledge(policy, options)
    found = reviewing.review(policy, base, knowledge, persona=options.persona, path=path_in_repository(options.file))
    report = reviewing.as_report(found).model_copy(
        update={"grants": reviewing.reported_grants(policy), "scopes": reviewing.reported_scopes(policy, knowledge)}
    )
    if options.sarif:
        _save(options.sarif, sarif.text(found))
    if options.json:
        _save(options.json, report.text())
    if options.format == "json":
        sys.stdout.write(report.text())
    elif options.format == "sarif":
        sys.stdout.write(sarif.text(found))
    else:
        _write_lines(_review(found, report))
    if options.post:
        _post(found, options.proxy)
    return 0 if found.passed else 1


def _review(found: Review, report: Report) -> Iterator[str]:
    if found.base is not None:
        if found.base.policy is None:
            yield "There is no policy at the base: this is the first, and all that it gives is new."
        yield from _changes(found, report)
    for each in report.tests or []:
        for said in each.failures:
            yield f"FAILED   {report.policy.file}:{each.line}: test `{each.name}`: {said}"
    yield from _findings(found.head, list(found.findings))
    passed = sum(result.passed for result in found.tests)
    yield f"{passed} of {len(found.tests)} tests passed, {_counted(list(found.findings))}"
    yield f"{'Passed' if found.passed else 'Failed'}: {code_insights.summary(found)}"


def _changes(found: Review, report: Report) -> Iterator[str]:
    for change in report.gains or []:
        meant = "" if change.allowed_by_test is None else f" Test `{change.allowed_by_test}` says that it is meant."
        yield f"GAIN     {_place(report, change)}: {change.sentence}{meant}"
    for change in report.losses or []:
        yield f"LOSS     {report.base.file if report.base else ''}:{change.line}: {change.sentence}"
    for name in report.new_issuers or []:
        yield f"ISSUER   `{name}` is trusted, and was not: {words.issuer(found.head, name)}."
    before = None if found.base is None else found.base.policy
    for name in report.dropped_issuers or []:
        yield f"ISSUER   `{name}` is trusted no more{f': {words.issuer(before, name)}' if before else ''}."
    gains, losses = (
        words.counted(len(report.gains or []), "gain"),
        words.counted(len(report.losses or []), "loss/losses"),
    )
    yield f"{gains}, {losses}, {words.counted(len(report.unchanged or []), 'grant')} unchanged"


def _place(report: Report, change: ReportedChange) -> str:
    return f"{report.policy.file}:{change.line}"


def _findings(policy: Policy, found: list[Finding]) -> Iterator[str]:
    for each in found:
        place = f"{policy.source.name}:{each.line}"
        grant = reviewing.grant_of(policy, each)
        about = "" if grant is None else f" (grant `{grant}`)"
        kind = "allowed" if each.is_suppressed else each.rule.severity
        reason = f" Allowed, because {each.reason}" if each.is_suppressed else ""
        yield f"{kind:8} {place}: {each.rule.id}{about}: {each.message}{reason}"


def _counted(found: list[Finding]) -> str:
    open_ = [each.rule.severity for each in found if not each.is_suppressed]
    counts = [words.counted(open_.count(severity), severity) for severity in ("error", "warning")]
    return f"{', '.join(counts)}, {len(found) - len(open_)} allowed"


def _knowledge(policy: Policy, options: argparse.Namespace) -> Knowledge:
    used = replayed(policy, options).used_grants if options.store else None
    needed = None
    if options.app:
        # Brings FastAPI and the app; every other command does without.
        from fastapi_handoff.cli.policy_app import needed_scopes

        needed = needed_scopes(options.app)
    return Knowledge(
        needed_scopes=needed,
        used_grants=None if used is None else frozenset(used),
        used_since=f"the last {options.days} days",
    )


def _post(found: Review, proxy: str) -> None:
    from fastapi_handoff.cli.policy_post import post

    say(post(found, proxy))


def _report(policy: Policy, *, passed: bool, **parts: Any) -> None:
    report = Report(result="passed" if passed else "failed", policy=reviewing.reported_file(policy), **parts)
    sys.stdout.write(report.text())


def _load(file: str) -> Policy:
    return Policy.parse(read_file(file), file)


def _save(name: str, text: str) -> None:
    try:
        Path(name).write_text(text)
    except OSError as error:
        raise PolicyError(f"{name}: cannot be written: {error.strerror}") from None


def _write_lines(lines: Iterator[str]) -> None:
    for line in lines:
        _write(line)


def _write(line: str) -> None:
    sys.stdout.write(f"{harmless(line)}\n")
