"""`fastapi-handoff policy replay`: the audit's decisions under a policy."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.audit import Filter, decode, matching
from fastapi_handoff.audit.verify import verify
from fastapi_handoff.cli.output import harmless
from fastapi_handoff.cli.policy_store import add_store_to, snapshot
from fastapi_handoff.policy import Policy, PolicyError, read_file
from fastapi_handoff.policy.review import ACTION, Replay, Replayed, Report, ReportedReplay, replay, reported_file, words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

DEFAULT_DAYS: Final = 90
_DAY_MICROSECONDS: Final = 86_400_000_000


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("replay", help="take the audit's decisions again under this policy")
    command.add_argument("file", metavar="FILE")
    command.add_argument("--days", type=int, default=DEFAULT_DAYS, metavar="N", help="back (default: %(default)s)")
    command.add_argument("--format", choices=("text", "json"), default="text", help="(default: %(default)s)")
    add_store_to(command)
    command.set_defaults(run=run_replay)


def run_replay(options: argparse.Namespace) -> int:
    """Say what the policy would have decided otherwise; 1 where it would have let in whom the old one refused."""
    policy = Policy.parse(read_file(options.file), options.file)
    found = replayed(policy, options)
    if options.format == "json":
        report = Report(
            result="failed" if found.granted_now else "passed", policy=reported_file(policy), replay=_reported(found)
        )
        sys.stdout.write(report.text())
    else:
        _write(policy, found)
    return 1 if found.granted_now else 0


def replayed(policy: Policy, options: argparse.Namespace) -> Replay:
    """Replay the audit of the last days. Raises `PolicyError` where the chain is broken."""
    since = int(time.time() * 1_000_000) - options.days * _DAY_MICROSECONDS
    with snapshot(options) as connection:
        checked = verify(connection)
        if not checked.intact:
            raise PolicyError(f"the audit's chain is broken ({checked.finding_count} findings): run `audit verify`")
        records = matching(connection, Filter(action=ACTION, since=since))
        return replay(policy, _decoded(records), options.bitbucket_url)


def _decoded(records: Iterator[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    for _, stored in records:
        yield decode(stored)


def _write(policy: Policy, found: Replay) -> None:
    for change in found.changes:
        known = any(settings.name == change.issuer for settings in policy.issuers)
        who = words.caller(policy, change.issuer, change.claims) if known else f"a caller of {change.issuer}"
        then = "granted" if change.was == "granted" else "refused"
        now = "refused" if change.was == "granted" else "granted"
        line = f"record {change.seq}, {change.time}: {who} was {then} and is {now} {words.scopes(change.scopes)}"
        sys.stdout.write(f"{harmless(line)}: {harmless(change.reason)}\n")
    if more := found.refused_now + found.granted_now - len(found.changes):
        sys.stdout.write(f"and {more} more\n")
    sys.stdout.write(
        f"{found.decisions} decisions: {found.unchanged} unchanged, {found.refused_now} refused now, "
        f"{found.granted_now} granted now, {found.undecided} undecided\n"
    )


def _reported(found: Replay) -> Replayed:
    return Replayed(
        decisions=found.decisions,
        unchanged=found.unchanged,
        undecided=found.undecided,
        refused_now=found.refused_now,
        granted_now=found.granted_now,
        changes=[
            ReportedReplay(
                seq=change.seq,
                time=change.time,
                was=change.was,
                scopes=list(change.scopes),
                caller=dict(change.claims),
                issuer=change.issuer,
                reason=change.reason,
            )
            for change in found.changes
        ],
    )
