"""The review of a policy, with or without a base: diff, tests and lint put together, and whether it passes.

It fails for access that is new and that no test of the head says is meant, for a failed test, and for a lint error that
no comment allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi_handoff.policy import cases
from fastapi_handoff.policy.compare.diff import PolicyDiff, compare
from fastapi_handoff.policy.lint import lint
from fastapi_handoff.policy.review import words
from fastapi_handoff.policy.review.report import (
    Report,
    ReportedCaller,
    ReportedChange,
    ReportedFile,
    ReportedFinding,
    ReportedGrant,
    ReportedScope,
    ReportedTest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.policy.cases import CaseResult
    from fastapi_handoff.policy.compare.diff import Change
    from fastapi_handoff.policy.lint import Finding, Knowledge
    from fastapi_handoff.policy.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The policy that a change starts from."""

    policy: Policy | None
    """`None`: there was none, and this is the first."""
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """All that was found about one policy."""

    head: Policy
    path: str
    """The file's path from the root of its repository, with `/`."""
    base: Base | None
    diff: PolicyDiff | None
    meant: Mapping[Change, str]
    """The gains that a test of the head says are meant, and the test's name."""
    tests: tuple[CaseResult, ...]
    findings: tuple[Finding, ...]
    known_before: frozenset[tuple[str, str]]
    """What the base's lint finds, as `_identity`."""

    @property
    def unexpected_gains(self) -> list[Change]:
        """The new access that nothing says is meant."""
        return [] if self.diff is None else [change for change in self.diff.gains if change not in self.meant]

    @property
    def errors(self) -> list[Finding]:
        """The findings that keep a receiver from starting."""
        return [each for each in self.findings if each.rule.severity == "error" and not each.is_suppressed]

    @property
    def failed_tests(self) -> list[CaseResult]:
        """The tests that are not as they say."""
        return [result for result in self.tests if not result.passed]

    @property
    def passed(self) -> bool:
        """Whether a pull request may be merged as far as this review can tell."""
        return not (self.unexpected_gains or self.failed_tests or self.errors)

    def is_new(self, finding: Finding) -> bool | None:
        """Return whether the base does not have the finding; `None` without a base."""
        return None if self.base is None else _identity(self.head, finding) not in self.known_before


def review(
    head: Policy,
    base: Base | None = None,
    knowledge: Knowledge | None = None,
    *,
    persona: str = "regular",
    path: str | None = None,
) -> Review:
    """Review a policy. `path` is the file's in its repository, if it has one.

    Raises `PolicyError` where it cannot be compared with the base in bounded time.
    """
    before = None if base is None else base.policy
    diff = None if base is None else compare(before, head)
    return Review(
        head=head,
        path=path or head.source.name,
        base=base,
        diff=diff,
        meant={} if diff is None else _meant(before, head, diff),
        tests=tuple(cases.run(head)),
        findings=tuple(lint(head, knowledge, persona=persona)),
        known_before=frozenset()
        if before is None
        else frozenset(_identity(before, each) for each in lint(before, knowledge, persona=persona)),
    )


def _meant(base: Policy | None, head: Policy, diff: PolicyDiff) -> dict[Change, str]:
    """Return the gains with a test that allows a caller of the grant each gained scope, which the base refused."""
    meant = {}
    for change in diff.gains:
        grant = head.grants[change.position]
        names = []
        for scope in change.scopes:
            test = next(
                (
                    case.name
                    for case in head.cases
                    if scope in case.allow
                    and grant.matches(case.issuer, case.claims)
                    and (change.witness.service is not None or not _had(base, case.issuer, case.claims, scope))
                ),
                None,
            )
            if test is not None:
                names.append(test)
        if len(names) == len(change.scopes):
            meant[change] = names[0]
    return meant


def _had(base: Policy | None, issuer: str, claims: Mapping[str, str], scope: str) -> bool:
    return base is not None and base.gives(issuer, claims, [scope]).grant is not None


def _identity(policy: Policy, finding: Finding) -> tuple[str, str]:
    return finding.rule.id, grant_of(policy, finding) or finding.message


def grant_of(policy: Policy, finding: Finding) -> str | None:
    """Return the name of the grant that a finding is about, if it is about one."""
    if len(finding.path) > 1 and finding.path[0] == "grants":
        return policy.grants[int(finding.path[1])].name
    return None


def as_report(found: Review) -> Report:
    """Return the review for machines."""
    head, base, diff = found.head, found.base, found.diff
    previous = None if base is None else base.policy
    return Report(
        result="passed" if found.passed else "failed",
        policy=reported_file(head),
        base=None if previous is None or base is None else reported_file(previous, base.commit),
        gains=None if diff is None else [_reported_gain(found, diff, change) for change in diff.gains],
        losses=None
        if diff is None or previous is None
        else [_reported_loss(previous, change) for change in diff.losses],
        unchanged=None if diff is None else list(diff.unchanged),
        new_issuers=None if diff is None else list(diff.new_issuers),
        dropped_issuers=None if diff is None else list(diff.dropped_issuers),
        tests=[reported_test(head, result) for result in found.tests],
        findings=[reported_finding(head, each, is_new=found.is_new(each)) for each in found.findings],
    )


def _reported_gain(found: Review, diff: PolicyDiff, change: Change) -> ReportedChange:
    has_base = found.base is not None and found.base.policy is not None
    sentence = words.gain(found.head, change, diff, has_base=has_base)
    return _change(found.head, change, sentence).model_copy(update={"allowed_by_test": found.meant.get(change)})


def _reported_loss(base: Policy, change: Change) -> ReportedChange:
    return _change(base, change, words.loss(base, change))


def _change(policy: Policy, change: Change, sentence: str) -> ReportedChange:
    witness = change.witness
    return ReportedChange(
        grant=change.grant,
        line=policy.source.line(("grants", change.position)),
        scopes=list(change.scopes),
        witness=ReportedCaller(
            issuer=witness.issuer,
            claims=dict(witness.claims),
            service=witness.service,
            environment_name=witness.environment_name,
            default_audience=witness.default_audience or None,
        ),
        sentence=sentence,
    )


def reported_test(policy: Policy, result: CaseResult) -> ReportedTest:
    """Return a test's result for machines."""
    line = policy.source.line(("tests", result.position))
    return ReportedTest(name=result.case.name, line=line, passed=result.passed, failures=list(result.failures))


def reported_finding(policy: Policy, found: Finding, *, is_new: bool | None = None) -> ReportedFinding:
    """Return a finding for machines."""
    return ReportedFinding(
        rule=found.rule.id,
        severity=found.rule.severity,
        line=found.line,
        message=found.message,
        grant=grant_of(policy, found),
        witness=None if found.witness is None else dict(found.witness),
        suppressed_because=found.reason,
        is_new=is_new,
    )


def reported_file(policy: Policy, commit: str | None = None) -> ReportedFile:
    """Return which file it was."""
    return ReportedFile(file=policy.source.name, digest=policy.digest, commit=commit)


def reported_grants(policy: Policy) -> list[ReportedGrant]:
    """Return every grant for machines."""
    kinds = {settings.name: settings.kind for settings in policy.issuers}
    return [
        ReportedGrant(
            name=grant.name,
            line=policy.source.line(("grants", position)),
            issuer=grant.issuer,
            kind=kinds[grant.issuer],
            match={condition.key: condition.expected for condition in grant.conditions},
            scopes=list(grant.scopes),
            services=None if grant.services is None else sorted(grant.services),
            environment_name=grant.environment_name,
        )
        for position, grant in enumerate(policy.grants)
    ]


def reported_scopes(policy: Policy, knowledge: Knowledge) -> list[ReportedScope]:
    """Return every scope that a grant gives or the app asks for."""
    needed = knowledge.needed_scopes
    names = dict.fromkeys([*(scope for grant in policy.grants for scope in grant.scopes), *(needed or ())])
    return [
        ReportedScope(
            scope=name,
            grants=[grant.name for grant in policy.grants if name in grant.scopes],
            needed_by=None if needed is None else list(needed.get(name, ())),
        )
        for name in names
    ]
