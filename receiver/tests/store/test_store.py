"""The store: what its transactions promise, on both databases."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.store import (
    Store,
    StoreUnavailable,
    database,
    proof_ids,
    public_keys,
    receipts,
    subject_token_bindings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection


def proof(number: int, expires_at: int = 100) -> dict[str, str | int]:
    return {"jkt": "thumbprint", "jti": f"jti-{number}", "expires_at": expires_at}


def counted(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(proof_ids)) or 0


def add(*numbers: int) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute(insert(proof_ids), [proof(number) for number in numbers])


async def count(store: Store) -> int:
    return await store.read(counted)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/db", "the store cannot be `mysql`"),
        ("postgresql://host/db", "the store cannot be `postgresql`"),
        ("postgresql+psycopg2://host/db", "the store cannot be `postgresql+psycopg2`"),
        ("sqlite+aiosqlite:///file.db", "the store cannot be `sqlite+aiosqlite`"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite:///file.db?mode=memory", "must be a file"),
        ("handoff.db", "cannot be read"),
    ],
)
def test_url_of_another_kind_is_refused_with_what_is_expected(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refusal:
        Store(url)
    assert "sqlite:///handoff.db" in str(refusal.value)


def test_message_about_an_unreadable_url_keeps_its_password() -> None:
    with pytest.raises(ValueError, match="cannot be read") as refusal:
        Store("postgresql+psycopg//user:s3cret@host")
    assert "s3cret" not in str(refusal.value)


async def test_work_that_fails_writes_nothing(store: Store) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(proof_ids), proof(1))
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await store.write(work)
    assert await count(store) == 0


async def test_work_gives_what_it_returns_once_it_is_written(store: Store) -> None:
    def work(connection: Connection) -> int:
        connection.execute(insert(proof_ids), proof(1))
        return counted(connection)

    assert await store.write(work) == 1
    assert await count(store) == 1


async def test_guard_that_did_its_work_comes_out_as_itself(store: Store) -> None:
    await store.write(add(1))
    with pytest.raises(IntegrityError):
        await store.write(add(1))
    assert await count(store) == 1


async def test_of_many_claims_of_one_proof_id_one_succeeds(store: Store) -> None:
    async def claim() -> bool:
        try:
            await store.write(add(1))
        except IntegrityError:
            return False
        return True

    claims = await asyncio.gather(*(claim() for _ in range(24)))
    assert claims.count(True) == 1
    assert await count(store) == 1


async def test_each_statement_of_a_read_sees_what_was_committed_before_it(
    store: Store, sql: Callable[..., Any]
) -> None:
    def look_twice(connection: Connection) -> tuple[int, int]:
        before = counted(connection)
        sql("INSERT INTO proof_ids (jkt, jti, expires_at) VALUES ('k', 'j', 1)")
        return before, counted(connection)

    assert await store.read(look_twice) == (0, 1)


async def test_snapshot_shows_one_moment_while_others_write(store: Store) -> None:
    with store.snapshot() as connection:
        before = counted(connection)
        await store.write(add(1))
        after = counted(connection)
    assert (before, after) == (0, 0)
    assert await count(store) == 1


async def test_readers_are_not_held_up_by_a_writer(store: Store) -> None:
    wrote, may_commit = threading.Event(), threading.Event()

    def write_and_wait(connection: Connection) -> None:
        add(1)(connection)
        wrote.set()
        assert may_commit.wait(10)

    writing = asyncio.create_task(store.write(write_and_wait))
    await asyncio.to_thread(wrote.wait, 10)
    assert await count(store) == 0
    may_commit.set()
    await writing
    assert await count(store) == 1


async def test_neither_reads_nor_writes_use_the_event_loops_own_threads(store: Store) -> None:
    """They belong to the app, and to the resolution of names: a database that is slow must not use them up."""
    asyncio.get_running_loop().set_default_executor(_Refusing())
    await store.write(add(1))
    assert await count(store) == 1
    await store.close()
    await store.open()


class _Refusing(ThreadPoolExecutor):
    def submit(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("the default executor was used")


async def test_request_cancelled_at_any_moment_leaves_the_store_working(store: Store) -> None:
    # Each task is cancelled a little later than the one before, so in another phase of its write or read.
    for number in range(120):
        task = asyncio.create_task(store.write(add(number)) if number % 2 else count(store))
        await asyncio.sleep(number * 0.0001)
        task.cancel()
        await asyncio.wait([task])
    await store.write(add(1000))
    assert 1 <= await count(store) <= 61


async def test_purge_deletes_what_expired_and_nothing_else(store: Store) -> None:
    bindings = [{"issuer": "i", "replay_key": str(expires), "jkt": "k", "expires_at": expires} for expires in (99, 100)]
    keys = [{"kid": str(expires), "jwk": "{}", "not_after": expires} for expires in (99, 100)]

    def fill(connection: Connection) -> None:
        connection.execute(insert(proof_ids), [proof(1, 99), proof(2, 100), proof(3, 101)])
        connection.execute(insert(subject_token_bindings), bindings)
        connection.execute(insert(public_keys), keys)

    async def left(column: Any) -> set[int]:
        return await store.read(lambda connection: set(connection.scalars(select(column))))

    await store.write(fill)
    assert await store.purge(100) == 3
    assert await store.purge(100) == 0
    assert await left(proof_ids.c.expires_at) == {100, 101}
    assert await left(subject_token_bindings.c.expires_at) == {100}
    assert await left(public_keys.c.not_after) == {100}


async def test_large_purge_lets_requests_go_between(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PURGE_BATCH", 10)
    await store.write(add(*range(105)))
    purging = asyncio.create_task(store.purge(1000))
    left = []
    while not purging.done():
        left.append(await store.write(counted))
    assert await purging == 105
    assert {0 < rows < 105 for rows in left} >= {True}
    assert await count(store) == 0


async def test_replicas_that_purge_at_once_do_not_block_each_other(store: Store, store_url: str) -> None:
    other = Store(store_url)
    await other.open()
    await store.write(add(*range(500)))
    purged = await asyncio.gather(*(one.purge(1000) for one in (store, other) for _ in range(5)))
    assert sum(purged) == 500
    await other.close()


@pytest.mark.parametrize("hostile", ["\x00", "a\x00b", "\ud800", "\udfff tail", "\U0010ffff"])
async def test_text_that_a_database_refuses_is_stored_with_replacements(store: Store, hostile: str) -> None:
    row: dict[str, Any] = {
        "issuer": "i",
        "source": "r",
        "event_id": "e",
        "subject": "s",
        "content_digest": "d",
        "event_type": "t",
        "scope": "",
    }
    row |= {"state": "failed", "identity": "{}", "asserted": "{}", "detail": hostile, "audit_hash": "h"}
    row |= {"body": b"\x00", "received_at": 0, "audit_seq": 1}
    await store.write(lambda connection: connection.execute(insert(receipts), row))
    stored = await store.read(lambda connection: connection.scalar(select(receipts.c.detail)))
    assert stored == "".join(
        "\N{REPLACEMENT CHARACTER}" if character == "\x00" or "\ud800" <= character <= "\udfff" else character
        for character in hostile
    )


async def test_store_can_be_closed_and_opened_again(store: Store) -> None:
    await store.write(add(1))
    await store.close()
    await store.open()
    assert await count(store) == 1


async def test_read_only_store_writes_nothing(store: Store, store_url: str) -> None:
    reader = Store(store_url, read_only=True)
    await reader.open()
    with pytest.raises(StoreUnavailable, match=r"read-?only"):
        await reader.write(lambda connection: connection.execute(insert(proof_ids), proof(1)))
    assert await count(reader) == 0
    await reader.close()


async def test_read_only_store_is_not_created_by_opening_it(tmp_path: Path) -> None:
    reader = Store(f"sqlite:///{tmp_path / 'mistyped.db'}", read_only=True)
    with pytest.raises(StoreUnavailable, match="unable to open"):
        await reader.open()
    assert not (tmp_path / "mistyped.db").exists()


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a?b.db", "a#b.db", "ä.db"])
async def test_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = Store(f"sqlite:///{tmp_path}/" + name.replace("%", "%25").replace("?", "%3F").replace("#", "%23"))
    await store.open()
    await store.close()
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_sqlite_syncs_each_commit_to_the_disk(store: Store, sql: Callable[..., list[tuple[str]]]) -> None:
    assert await store.write(lambda connection: connection.scalar(text("PRAGMA synchronous"))) == 2, "2 is FULL"
    assert sql("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("set_to", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
async def test_postgresql_syncs_each_commit_to_the_disk_whatever_it_is_set_to(
    store: Store, sql: Callable[..., Any], set_to: str, used: str
) -> None:
    (name,) = sql("SELECT current_database()")[0]
    await store.close()
    sql(f"ALTER DATABASE {name} SET synchronous_commit = '{set_to}'")
    await store.open()
    assert sql("SHOW synchronous_commit") == [(set_to,)]
    shown = text("SHOW synchronous_commit")
    assert await asyncio.gather(*(store.write(lambda c: c.scalar(shown)) for _ in range(3))) == [used] * 3
