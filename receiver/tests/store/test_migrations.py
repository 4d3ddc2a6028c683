"""The schema: made by the kept revisions, by one of many replicas, as a whole or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hatchling.builders.wheel import WheelBuilder

from fastapi_handoff.store import Store, StoreUnavailable, metadata
from fastapi_handoff.store.tables import VERSION_TABLE
from helpers.fixtures_store import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from helpers.postgresql import PostgreSQL

OPEN = """
import asyncio, sys
from fastapi_handoff.store import Store

async def main():
    store = Store(sys.argv[1])
    sys.stdin.readline()
    await store.open()
    await store.close()

asyncio.run(main())
"""


async def test_revisions_make_exactly_the_tables_that_the_code_uses(store: Store) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await store.read(differences) == []


async def test_opening_again_changes_nothing(store: Store, sql: Callable[..., list[tuple[str]]]) -> None:
    await store.open()
    assert sql("SELECT version_num FROM fastapi_handoff_schema") == [("0001",)]


def test_processes_that_start_at_once_on_an_empty_database_all_open_it(
    store_url: str, sql: Callable[..., list[tuple[str]]]
) -> None:
    replicas = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, store_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for replica in replicas:  # all have imported and wait for this line
        assert replica.stdin is not None
        replica.stdin.write("\n")
        replica.stdin.flush()
    errors = [replica.communicate(timeout=60)[1] for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0] * len(replicas), errors
    assert sql("SELECT version_num FROM fastapi_handoff_schema") == [("0001",)]


async def test_stores_that_open_at_once_in_one_process_all_open(store_url: str) -> None:
    stores = [Store(store_url) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_new_file_that_another_process_is_writing_is_waited_for(store_url: str) -> None:
    store = Store(store_url)
    with connect(store_url) as other:
        other.execute("CREATE TABLE something_else (id INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO something_else VALUES (1)")
        opening = asyncio.create_task(store.open())
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not opening.done()
        other.rollback()
        await opening
    await store.close()


async def test_upgrade_that_fails_leaves_nothing_half_done(store_url: str, sql: Callable[..., Any]) -> None:
    sql("CREATE TABLE audit_records (seq INTEGER)")
    store = Store(store_url)
    with pytest.raises(StoreUnavailable, match=r"audit_records.*already exists"):
        await store.open()
    # `proof_ids` comes before `audit_records` in the revision.
    sql("CREATE TABLE proof_ids (jti INTEGER)", "DROP TABLE proof_ids", "DROP TABLE audit_records")
    await store.open()
    await store.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_database_of_a_newer_version_is_refused(
    store: Store, store_url: str, sql: Callable[..., Any], read_only: bool
) -> None:
    sql("UPDATE fastapi_handoff_schema SET version_num = '9999'")
    older = Store(store_url, read_only=read_only)
    with pytest.raises(StoreUnavailable, match="revision `9999`"):
        await older.open()
    await older.close()


async def test_read_only_store_refuses_a_database_that_is_none(store_url: str, sql: Callable[..., Any]) -> None:
    sql("CREATE TABLE something_else (id INTEGER)")
    reader = Store(store_url, read_only=True)
    with pytest.raises(StoreUnavailable, match="holds no store"):
        await reader.open()
    await reader.close()


async def test_postgresql_database_that_cannot_hold_all_text_is_refused(postgresql: PostgreSQL) -> None:
    store = Store(postgresql.create_database(encoding="LATIN1"))
    with pytest.raises(StoreUnavailable, match="encoding is `LATIN1`: expected `UTF8`"):
        await store.open()
    await store.close()


def test_wheel_brings_the_revisions(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    wheel = next(WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = "fastapi_handoff/store/migrations"
    assert {f"{migrations}/env.py", f"{migrations}/versions/0001_first_tables.py", "fastapi_handoff/py.typed"} <= names
