"""The `[[tests]]` of a policy: what must stay true of it, said by its authors and judged by the receiver's decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test: a caller, and scopes that it must or must not get. Each scope is asked for by itself."""

    name: str
    issuer: str
    """The issuer's name."""
    claims: Mapping[str, str]
    """What the issuer attests in this test, by our names of the claims; what is not here is absent."""
    allow: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a test went."""

    case: Case
    position: int
    """Of the test in the file, from zero."""
    failures: tuple[str, ...]
    """What is not as the test says; empty: it passed."""

    @property
    def passed(self) -> bool:
        """Whether everything is as the test says."""
        return not self.failures


class Tested(Protocol):
    """What a test needs of a policy. The policy is not imported: it runs its tests when it is loaded."""

    @property
    def cases(self) -> Sequence[Case]:
        """Its tests, in the order of the file."""
        ...

    def gives(self, issuer: str, claims: Mapping[str, str], requested: Iterable[str] = ()) -> Any:
        """Return the policy's `Decision` about a caller."""
        ...


def run(policy: Tested) -> list[CaseResult]:
    """Run every test of the policy."""
    return [CaseResult(case, position, _failures(policy, case)) for position, case in enumerate(policy.cases)]


def _failures(policy: Tested, case: Case) -> tuple[str, ...]:
    failures = []
    for scope in case.allow:
        decision = policy.gives(case.issuer, case.claims, [scope])
        if decision.grant is None:
            failures.append(f"`{scope}` is expected to be granted, and is refused: {decision.reason}")
    for scope in case.deny:
        decision = policy.gives(case.issuer, case.claims, [scope])
        if decision.grant is not None:
            failures.append(f"`{scope}` is expected to be refused, and grant `{decision.grant.name}` gives it")
    return tuple(failures)
