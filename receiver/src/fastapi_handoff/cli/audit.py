"""`fastapi-handoff audit verify|list|export`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastapi_handoff.audit import AuditHead, Filter, decode, matching, newest
from fastapi_handoff.audit.export import FORMATS
from fastapi_handoff.audit.verify import Progress, ignore, verify_store
from fastapi_handoff.cli.output import Misused, harmless, say, table
from fastapi_handoff.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from fastapi_handoff.audit.export import Format

STORE_VARIABLE = "HANDOFF_STORE"
DEFAULT_LIMIT = 50
PROGRESS_SECONDS = 0.5
HEADER = ("SEQ", "TIME (UTC)", "ACTION", "DECISION", "CODE", "REPOSITORY", "BRANCH", "EVENT", "ASSERTED")


def add_to(groups: Any) -> None:
    """Add the commands to the parser."""
    commands = groups.add_parser("audit", help="read and check the audit chain").add_subparsers(
        required=True, metavar="COMMAND"
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--store",
        default=os.environ.get(STORE_VARIABLE),
        metavar="URL",
        help=f"the receiver's store, e.g. sqlite:///handoff.db (default: ${STORE_VARIABLE})",
    )
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--repository", metavar="UUID", help="only of this repository")
    filters.add_argument("--actor", metavar="TEXT", help="only of actors whose `sub` holds this, e.g. a step's UUID")
    filters.add_argument("--decision", help="only with this decision, e.g. refused")
    filters.add_argument("--action", help="only of this action")
    filters.add_argument("--event", metavar="ID", help="only about this event")
    filters.add_argument("--since", type=moment, metavar="TIME", help="from this time on, e.g. 2026-11-24T09:30:00Z")
    filters.add_argument("--until", type=moment, metavar="TIME", help="before this time")

    command = commands.add_parser("verify", parents=[shared], help="find out whether the chain is what it was")
    command.add_argument(
        "--anchor",
        type=anchor,
        action="append",
        default=[],
        metavar="SEQ:HASH",
        help="the head of the chain that a receipt shows (build log, commit report); may be given several times",
    )
    command.add_argument("--progress", action="store_true", help="show progress where stderr is no terminal, too")
    command.set_defaults(run=run_verify)

    command = commands.add_parser("list", parents=[shared, filters], help="show the newest records, oldest first")
    command.add_argument("--limit", type=positive, default=DEFAULT_LIMIT, metavar="N", help="(default: %(default)s)")
    command.set_defaults(run=run_list)

    command = commands.add_parser("export", parents=[shared, filters], help="write records, one line each")
    command.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="jsonl",
        help="jsonl: exactly the bytes that were hashed; ocsf: API Activity events (default: %(default)s)",
    )
    command.set_defaults(run=run_export)


def run_verify(options: argparse.Namespace) -> int:
    """Verify, and say what is wrong."""
    shown = options.progress or sys.stderr.isatty()

    found = verify_store(_store_url(options), anchors=options.anchor, progress=_progress() if shown else ignore)
    for finding in found.findings:
        sys.stdout.write(f"record {finding.seq}: {harmless(finding.text)}\n")
    if more := found.finding_count - len(found.findings):
        sys.stdout.write(f"and {more} more\n")
    for note in found.notes:
        sys.stdout.write(f"note: record {note.seq}: {harmless(note.text)}\n")
    head = f"head {found.head.seq}:{found.head.hash}" if found.head else "no head"
    counted = f"{found.records} records, {found.receipts} receipts, {head}"
    if found.intact:
        sys.stdout.write(f"intact: {counted}\n")
        return 0
    sys.stdout.write(f"broken: {found.finding_count} findings in {counted}\n")
    return 1


def run_list(options: argparse.Namespace) -> int:
    """Show records as a table."""

    def work(connection: Connection) -> int:
        records = newest(connection, _filter(options), options.limit)
        for line in table(HEADER, (_row(seq, stored) for seq, stored in records)):
            sys.stdout.write(f"{line}\n")
        return 0

    return _with_snapshot(options, work)


def run_export(options: argparse.Namespace) -> int:
    """Write records as lines."""

    def work(connection: Connection) -> int:
        # Closed before the snapshot is, also where the reader (`head`, a pager) has seen enough.
        with closing(matching(connection, _filter(options))) as records:
            return _export(records, FORMATS[options.format])

    return _with_snapshot(options, work)


def _export(records: Iterator[tuple[int, bytes]], line: Format) -> int:
    for seq, stored in records:
        try:
            record = decode(stored)
        except ValueError as error:
            # A damaged record could hold a line end and pass for two. What is exported can be trusted to be whole.
            say(f"record {seq} is damaged, {error}: nothing after it was exported, run `fastapi-handoff audit verify`")
            return 1
        sys.stdout.buffer.write(line(record, stored) + b"\n")
    return 0


def _with_snapshot(options: argparse.Namespace, work: Callable[[Connection], int]) -> int:
    with Store(_store_url(options), read_only=True).snapshot() as connection:
        return work(connection)


def _store_url(options: argparse.Namespace) -> str:
    if not options.store:
        raise Misused(f"no store: give `--store URL` or set `{STORE_VARIABLE}`")
    try:
        Store(options.store, read_only=True)
    except ValueError as error:
        raise Misused(str(error)) from None
    return str(options.store)


def _progress() -> Progress:
    """Show progress twice a second, in one line of a terminal and in lines of a log."""
    again = "\r" if sys.stderr.isatty() else "\n"
    shown = 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal shown
        finished = done >= total
        if finished or time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            ending = "\n" if finished else again
            sys.stderr.write(f"{done} of {total} {what}{ending}")
            sys.stderr.flush()

    return show


def _filter(options: argparse.Namespace) -> Filter:
    return Filter(
        repository=options.repository,
        actor=options.actor,
        decision=options.decision,
        action=options.action,
        event=options.event,
        since=options.since,
        until=options.until,
    )


def _row(seq: int, stored: bytes) -> tuple[str | None, ...]:
    try:
        record = decode(stored)
    except ValueError as error:
        return (str(seq), *(None,) * (len(HEADER) - 2), f"damaged: {error}")
    actor, asserted = record["actor"] or {}, record["asserted"] or {}
    said = [str(asserted[name]) for name in ("service", "environment") if asserted.get(name)]
    return (
        str(seq),
        record["time"][:19].replace("T", " "),
        record["action"],
        record["decision"],
        record["code"],
        _text(actor.get("source")),
        _text(actor.get("branch")),
        record["event_id"],
        " → ".join(said),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def anchor(argument: str) -> AuditHead:
    """Read `SEQ:HASH`."""
    match = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", argument.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"`{argument}` is no anchor: expected `SEQ:HASH`, as a receipt shows it")
    return AuditHead(int(match[1]), match[2])


def moment(argument: str) -> int:
    """Read an ISO 8601 date or time as unix microseconds; without an offset it is UTC."""
    try:
        given = datetime.fromisoformat(argument)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"`{argument}` is no time: expected e.g. `2026-11-24` or `2026-11-24T09:30:00Z`"
        ) from None
    if given.tzinfo is None:
        given = given.replace(tzinfo=UTC)
    return (given - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def positive(argument: str) -> int:
    """Read a whole number above zero."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", argument):
        raise argparse.ArgumentTypeError(f"`{argument}` is no whole number above zero")
    return int(argument)
