"""The audit, for the policy's commands."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from fastapi_handoff.audit import decode, stored_bytes
from fastapi_handoff.cli.output import Misused
from fastapi_handoff.policy import PolicyError
from fastapi_handoff.store import Store, audit_records

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sqlalchemy import Connection

STORE_VARIABLE: Final = "HANDOFF_STORE"


def add_store_to(command: Any) -> None:
    """Add the options that name the audit."""
    command.add_argument(
        "--store",
        default=os.environ.get(STORE_VARIABLE),
        metavar="URL",
        help=f"the receiver's store, e.g. sqlite:///handoff.db (default: ${STORE_VARIABLE})",
    )
    command.add_argument(
        "--bitbucket-url", default="https://api.bitbucket.org", metavar="URL", help="for tests and emulators"
    )


@contextmanager
def snapshot(options: argparse.Namespace) -> Iterator[Connection]:
    """Open one moment's state of the store, to read only. Raises `Misused`."""
    if not options.store:
        raise Misused(f"no store: give `--store URL` or set `{STORE_VARIABLE}`")
    try:
        store = Store(options.store, read_only=True)
    except ValueError as error:
        raise Misused(str(error)) from None
    with store.snapshot() as connection:
        yield connection


def record_at(options: argparse.Namespace, seq: int) -> dict[str, Any]:
    """Return one record of the audit. Raises `PolicyError` where it is not there, or damaged."""
    with snapshot(options) as connection:
        row = connection.execute(select(audit_records.c.record).where(audit_records.c.seq == seq)).first()
    if row is None:
        raise PolicyError(f"the audit has no record {seq}")
    try:
        return decode(stored_bytes(row.record))
    except ValueError as error:
        raise PolicyError(f"record {seq} is damaged, {error}: run `fastapi-handoff audit verify`") from None
