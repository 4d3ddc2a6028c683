"""The store: what its transactions promise, on both databases."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.store import Store, StoreUnavailable, proof_ids, public_keys, receipts, subject_token_bindings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection


def proof(number: int, expires_at: int = 100) -> dict[str, str | int]:
    return {"jkt": "thumbprint", "jti": f"jti-{number}", "expires_at": expires_at}


async def count(store: Store) -> int:
    async with store.reading() as connection:
        return await connection.scalar(select(func.count()).select_from(proof_ids)) or 0


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


async def test_transaction_that_fails_writes_nothing(store: Store) -> None:
    async def write_and_fail() -> None:
        async with store.transaction() as connection:
            await connection.execute(insert(proof_ids), proof(1))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await write_and_fail()
    assert await count(store) == 0


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
        return connection.scalar(select(func.count()).select_from(proof_ids)) or 0

    assert await store.write(work) == 1
    assert await count(store) == 1


async def test_guard_that_did_its_work_comes_out_as_itself(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.execute(insert(proof_ids), proof(1))
    with pytest.raises(IntegrityError):
        async with store.transaction() as connection:
            await connection.execute(insert(proof_ids), proof(1))
    with pytest.raises(IntegrityError):
        await store.write(lambda connection: connection.execute(insert(proof_ids), proof(1)))
    assert await count(store) == 1


async def test_of_many_claims_of_one_proof_id_one_succeeds(store: Store) -> None:
    async def claim() -> bool:
        try:
            await store.write(lambda connection: connection.execute(insert(proof_ids), proof(1)))
        except IntegrityError:
            return False
        return True

    claims = await asyncio.gather(*(claim() for _ in range(24)))
    assert claims.count(True) == 1
    assert await count(store) == 1


async def test_each_statement_of_a_read_sees_what_was_committed_before_it(store: Store) -> None:
    async with store.reading() as connection:
        before = await connection.scalar(select(func.count()).select_from(proof_ids))
        await store.write(lambda writer: writer.execute(insert(proof_ids), proof(1)))
        after = await connection.scalar(select(func.count()).select_from(proof_ids))
    assert (before, after) == (0, 1)


async def test_snapshot_shows_one_moment_while_others_write(store: Store) -> None:
    async with store.snapshot() as connection:
        before = await connection.scalar(select(func.count()).select_from(proof_ids))
        await store.write(lambda writer: writer.execute(insert(proof_ids), proof(1)))
        after = await connection.scalar(select(func.count()).select_from(proof_ids))
    assert (before, after) == (0, 0)
    assert await count(store) == 1


async def test_readers_are_not_held_up_by_a_writer(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.execute(insert(proof_ids), proof(1))
        assert await count(store) == 0


async def test_request_cancelled_at_any_moment_leaves_the_store_working(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.transaction() as connection:
            await connection.execute(insert(proof_ids), proof(number))

    # Each task is cancelled one step of the event loop later than the one before, so in another of its awaits.
    for steps in range(60):
        task = asyncio.create_task(write(steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await store.write(lambda connection: connection.execute(insert(proof_ids), proof(1000)))
    async with store.reading() as connection:
        assert await connection.scalar(select(func.count()).where(proof_ids.c.jti == "jti-1000")) == 1


async def test_purge_deletes_what_expired_and_nothing_else(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.execute(insert(proof_ids), [proof(1, 99), proof(2, 100), proof(3, 101)])
        await connection.execute(
            insert(subject_token_bindings),
            [
                {"issuer": "i", "signing_input_sha256": str(expires), "jkt": "k", "expires_at": expires}
                for expires in (99, 100)
            ],
        )
        await connection.execute(
            insert(public_keys), [{"kid": str(expires), "jwk": "{}", "not_after": expires} for expires in (99, 100)]
        )
    assert await store.purge(100) == 3
    assert await store.purge(100) == 0
    async with store.reading() as connection:
        assert set(await connection.scalars(select(proof_ids.c.expires_at))) == {100, 101}
        assert set(await connection.scalars(select(subject_token_bindings.c.expires_at))) == {100}
        assert set(await connection.scalars(select(public_keys.c.not_after))) == {100}


async def test_replicas_that_purge_at_once_do_not_block_each_other(store: Store, store_url: str) -> None:
    other = Store(store_url)
    await other.open()
    async with store.transaction() as connection:
        await connection.execute(insert(proof_ids), [proof(number) for number in range(500)])
    purged = await asyncio.gather(*(one.purge(1000) for one in (store, other) for _ in range(5)))
    assert sum(purged) == 500
    await other.close()


@pytest.mark.parametrize("hostile", ["\x00", "a\x00b", "\ud800", "\udfff tail", "\U0010ffff"])
async def test_text_that_a_database_refuses_is_stored_with_replacements(store: Store, hostile: str) -> None:
    row = {"repository_uuid": "r", "event_id": "e", "sub": "s", "content_digest": "d", "event_type": "t", "scope": ""}
    row |= {"state": "failed", "identity": "{}", "asserted": "{}", "detail": hostile, "audit_hash": "h"}
    async with store.transaction() as connection:
        await connection.execute(insert(receipts), {**row, "body": b"\x00", "received_at": 0, "audit_seq": 1})
    async with store.reading() as connection:
        stored = await connection.scalar(select(receipts.c.detail))
    assert stored == "".join(
        "\N{REPLACEMENT CHARACTER}" if character == "\x00" or "\ud800" <= character <= "\udfff" else character
        for character in hostile
    )


async def test_store_can_be_closed_and_opened_again(store: Store) -> None:
    await store.write(lambda connection: connection.execute(insert(proof_ids), proof(1)))
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
    async with store.transaction() as connection:
        synchronous = await connection.scalar(text("PRAGMA synchronous"))
    assert synchronous == 2, "2 is FULL"
    assert sql("PRAGMA journal_mode") == [("wal",)]
