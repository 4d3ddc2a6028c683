"""`fastapi-handoff policy …`: the commands, and what they share.

| exit code | meaning |
| --- | --- |
| 0 | nothing to object to: valid, granted, passed, no new access |
| 1 | something to object to: the policy is invalid (`check`), refused, failed, new access, lint errors |
| 2 | a file, a base or the command line cannot be used; a line says why |
| 3 | the store does not answer |
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastapi_handoff.cli import policy_audit, policy_explain, policy_review
from fastapi_handoff.cli.output import harmless, say
from fastapi_handoff.policy import Policy, PolicyError, read_file, schema_text
from fastapi_handoff.policy.review import graph, report_schema_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_to(groups: Any) -> None:
    """Add the commands to the parser."""
    commands = groups.add_parser("policy", help="check, test, compare and review a policy").add_subparsers(
        required=True, metavar="COMMAND"
    )
    command = commands.add_parser("check", help="read a policy file as the receiver does")
    command.add_argument("file", metavar="FILE")
    command.set_defaults(run=run_check)
    command = commands.add_parser("schema", help="print the JSON Schema of policy files, or of reports")
    command.add_argument("--of", choices=("policy", "report"), default="policy", help="(default: %(default)s)")
    command.set_defaults(run=run_schema)
    policy_explain.add_to(commands)
    policy_review.add_to(commands)
    policy_audit.add_to(commands)
    command = commands.add_parser("graph", help="show who has what")
    command.add_argument("file", metavar="FILE")
    command.add_argument("--format", choices=("text", "mermaid"), default="text", help="(default: %(default)s)")
    command.set_defaults(run=run_graph)
    for each in commands.choices.values():
        each.set_defaults(run=_told(each.get_default("run")))


def run_check(options: argparse.Namespace) -> int:
    """Load the policy the way the receiver does, so that the two cannot disagree."""
    try:
        policy = Policy.load(options.file)
    except PolicyError as error:
        _say(error)
        return 1
    sys.stdout.write(f"valid: {len(policy.grants)} grants, {policy.digest}\n")
    return 0


def run_schema(options: argparse.Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(schema_text() if options.of == "policy" else report_schema_text())
    return 0


def run_graph(options: argparse.Namespace) -> int:
    """Draw the policy."""
    policy = Policy.parse(read_file(options.file), options.file)
    for line in (graph.as_mermaid if options.format == "mermaid" else graph.as_text)(policy):
        sys.stdout.write(f"{harmless(line)}\n")
    return 0


def _told(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return the command with what cannot be used told by a line for each mistake, and exit code 2."""

    def told(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except PolicyError as error:
            _say(error)
            return 2

    return told


def _say(error: PolicyError) -> None:
    for mistake in str(error).splitlines():
        say(mistake)
