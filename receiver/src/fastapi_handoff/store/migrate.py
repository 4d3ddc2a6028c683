"""Upgrades of the schema, by the revisions in `fastapi_handoff.store.migrations`."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from fastapi_handoff.store.errors import StoreUnavailable
from fastapi_handoff.store.tables import VERSION_TABLE
from fastapi_handoff.store.writer import is_busy

if TYPE_CHECKING:
    from sqlalchemy import Connection

WRITE_AHEAD_LOG_ATTEMPTS = 50

_ALEMBIC = Lock()
"""Alembic keeps what it works on in globals of its own, and two stores may be opened at once, each in its thread."""


def write_ahead_log(connection: Connection) -> None:
    """Let readers of an SQLite file go on while one writes. A property of the file, never set in a transaction."""
    for remaining in reversed(range(WRITE_AHEAD_LOG_ATTEMPTS)):
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except OperationalError as error:
            # Another replica that starts does the same; SQLite answers `locked` at once here, without its usual wait.
            if not remaining or not is_busy(error.orig):
                raise
        else:
            return
        time.sleep(0.1)


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision, done as a whole or not at all.

    A job of the one writer: of replicas that start at once, one upgrades, and the rest find it done.
    """
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise StoreUnavailable(f"the database's encoding is `{encoding}`: expected `UTF8`, create it with that")
    with _ALEMBIC:
        _upgrade(connection)


def require_head(connection: Connection) -> None:
    """Refuse a schema that is older or newer than this version of the package."""
    found = _context(connection).get_current_revision()
    expected = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise StoreUnavailable("the database holds no store of fastapi-handoff: check the URL, or start the app once")
    if found != expected:
        raise StoreUnavailable(_other_version(found))


def _upgrade(connection: Connection) -> None:
    config = _config()
    found = _context(connection).get_current_revision()
    if found is not None and found not in {
        script.revision for script in ScriptDirectory.from_config(config).walk_revisions()
    }:
        raise StoreUnavailable(_other_version(found))
    config.attributes["connection"] = connection
    alembic_upgrade(config, "head")


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})


def _other_version(found: str) -> str:
    return (
        f"the database is at revision `{found}`, which this version of fastapi-handoff does not work with: "
        "run the version that upgraded it, or a newer one"
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
