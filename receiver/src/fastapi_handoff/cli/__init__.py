"""The command `fastapi-handoff`: data on stdout, messages on stderr.

| exit code | meaning |
| --- | --- |
| 0 | done; the chain is intact; the policy is valid |
| 1 | the chain is broken; the policy is refused |
| 2 | the command line is wrong |
| 3 | the store does not answer; the check could not be finished |
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from fastapi_handoff.audit.verify import VerificationUnfinished
from fastapi_handoff.cli import audit, policy
from fastapi_handoff.cli.output import Misused, say
from fastapi_handoff.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code."""
    parser = argparse.ArgumentParser(prog="fastapi-handoff", description="Audit chain and policy of a handoff receiver")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    audit.add_to(groups)
    policy.add_to(groups)
    options = parser.parse_args(arguments)
    # A terminal that cannot show a character gets its escape, not a traceback.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except Misused as error:
        say(f"{parser.prog}: {error}")
        return 2
    except StoreUnavailable as error:
        say(f"{parser.prog}: the store does not answer: {error}")
        return 3
    except VerificationUnfinished as error:
        say(f"{parser.prog}: the check could not be finished, which says nothing about the chain: {error}")
        return 3
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough. Python would complain once more at exit, so close stdout for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code
