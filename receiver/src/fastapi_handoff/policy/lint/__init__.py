"""Access leaks that a policy's own text shows: one file for each rule, and one line here.

Here belong the rules, the comments that suppress them, and the run over all of them. Not here: what a change does
(`diff`), and how a finding is reported (`review`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint import (
    any_branch,
    any_client,
    caller_chosen_claim,
    default_audience,
    duplicate_id,
    environment_not_pinned,
    foreign_workspace,
    loose_glob,
    mutable_name,
    shared_issuer_open,
    unheld_scope,
    untested_grant,
    unused_grant,
    unused_scope,
    wider_sibling,
)
from fastapi_handoff.policy.lint.base import PERSONAS, Finding, Knowledge, Rule, Severity
from fastapi_handoff.policy.lint.suppression import MALFORMED, UNUSED, judge

if TYPE_CHECKING:
    from fastapi_handoff.policy.model import Policy

RULES: Final[tuple[Rule, ...]] = (
    any_branch.RULE,
    loose_glob.RULE,
    environment_not_pinned.RULE,
    caller_chosen_claim.RULE,
    foreign_workspace.RULE,
    duplicate_id.RULE,
    wider_sibling.RULE,
    default_audience.RULE,
    mutable_name.RULE,
    shared_issuer_open.RULE,
    any_client.RULE,
    unused_scope.RULE,
    unheld_scope.RULE,
    unused_grant.RULE,
    untested_grant.RULE,
    MALFORMED,
    UNUSED,
)
"""Every rule. A new one is a file beside `any_branch.py`, and its name in these lines."""


def lint(policy: Policy, knowledge: Knowledge | None = None, *, persona: str = "regular") -> list[Finding]:
    """Return what the rules find, in the file's order; what a comment suppresses is there, with its reason.

    `persona` is one of `PERSONAS`: each sees what the one before it sees, and more.
    """
    known = knowledge or Knowledge()
    seen = PERSONAS[: PERSONAS.index(persona) + 1]
    found = [
        Finding(rule=rule, path=path, line=policy.source.line(path), message=message, witness=witness)
        for rule in RULES
        for path, message, witness in rule.check(policy, known)
    ]
    judged = judge(policy.source, found, {rule.id for rule in RULES})
    return sorted((finding for finding in judged if finding.rule.persona in seen), key=lambda each: each.line)


__all__ = ["PERSONAS", "RULES", "Finding", "Knowledge", "Rule", "Severity", "lint"]
