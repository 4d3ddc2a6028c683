"""What a receiver asks of its policy before it starts: tests that pass, and no lint error that nobody allowed.

A pull request runs its own copy of the tool, and can change it. The receiver does not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, get_args

from fastapi_handoff.policy import cases
from fastapi_handoff.policy.lint import lint
from fastapi_handoff.policy.mistakes import PolicyError

if TYPE_CHECKING:
    from fastapi_handoff.policy.model import Policy

LintLevel = Literal["error", "warn"]

logger: Final = logging.getLogger(__name__)


def require_clean(policy: Policy, level: LintLevel) -> None:
    """Raise `PolicyError` for a failed test, or a lint error that no comment allows; at `warn`, log it."""
    if level not in get_args(LintLevel):
        raise ValueError(f"`lint` is `error` or `warn`, not `{level}`")
    errors = [
        f"{policy.source.name}:{policy.source.line(('tests', each.position))}: test `{each.case.name}` fails: {said}"
        for each in cases.run(policy)
        for said in each.failures
    ]
    errors += [
        f"{policy.source.name}:{each.line}: {each.rule.id}: {each.message}"
        for each in lint(policy)
        if each.rule.severity == "error" and not each.is_suppressed
    ]
    if errors and level == "error":
        advice = "mend the policy, or allow a finding by `# handoff: allow RULE, because REASON` in its table"
        raise PolicyError("\n".join([*errors, f"{policy.source.name}: {advice}"]))
    for error in errors:
        logger.warning("%s", error)
