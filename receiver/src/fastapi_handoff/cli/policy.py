"""`fastapi-handoff policy check|schema`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastapi_handoff.cli.output import say
from fastapi_handoff.policy import Policy, PolicyError, schema_text

if TYPE_CHECKING:
    import argparse


def add_to(groups: Any) -> None:
    """Add the commands to the parser."""
    commands = groups.add_parser("policy", help="check a policy file").add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("check", help="read a policy file as the receiver does")
    command.add_argument("file", metavar="FILE")
    command.set_defaults(run=run_check)
    command = commands.add_parser("schema", help="print the JSON Schema of policy files")
    command.set_defaults(run=run_schema)


def run_check(options: argparse.Namespace) -> int:
    """Load the policy the way the receiver does, so that the two cannot disagree."""
    try:
        policy = Policy.load(options.file)
    except PolicyError as error:
        for mistake in str(error).splitlines():
            say(mistake)
        return 1
    sys.stdout.write(f"valid: {len(policy.grants)} grants, {policy.digest}\n")
    return 0


def run_schema(_: argparse.Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(schema_text())
    return 0
