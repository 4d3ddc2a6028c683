"""What `audit verify` found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_handoff.audit.entry import AuditHead

KEPT_FINDINGS = 100
"""A record inserted near the start makes every later one wrong: keep the first findings, count the rest."""

Progress = Callable[[str, int, int], None]
"""Hears what is looked at (`records`, then `receipts`), how many were, and how many there are."""


def ignore(_: str, __: int, ___: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, and the number of the record that shows it."""

    seq: int
    text: str


@dataclass(slots=True)
class Verification:
    """What was found, in the whole chain or in a part of it."""

    records: int = 0
    receipts: int = 0
    head: AuditHead | None = None
    findings: list[Finding] = field(default_factory=list)
    """What is wrong: the first `KEPT_FINDINGS`."""
    finding_count: int = 0
    notes: list[Finding] = field(default_factory=list)
    """What is odd and no sign of tampering, such as a clock that was wrong: the first `KEPT_FINDINGS`."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding_count == 0

    def report(self, seq: int, text: str) -> None:
        """Keep a finding, or count it."""
        self.finding_count += 1
        if len(self.findings) < KEPT_FINDINGS:
            self.findings.append(Finding(seq, text))

    def note(self, seq: int, text: str) -> None:
        """Keep a note."""
        if len(self.notes) < KEPT_FINDINGS:
            self.notes.append(Finding(seq, text))

    def add(self, part: Verification) -> None:
        """Take on what was found in the next part of the chain."""
        self.records += part.records
        self.receipts += part.receipts
        self.head = part.head or self.head
        self.finding_count += part.finding_count
        self.findings = [*self.findings, *part.findings][:KEPT_FINDINGS]
        self.notes = [*self.notes, *part.notes][:KEPT_FINDINGS]
