"""The one writer: works that wait together share a transaction, and nothing else."""

from __future__ import annotations

import asyncio
import resource
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.store import Store, StoreUnavailable, engine, proof_ids
from fastapi_handoff.store.writer import one_at_a_time
from fixtures_store import adding

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
MANY = 100


def failing(jti: str) -> Callable[[Connection], str]:
    """A work that writes one row, and fails."""

    def add_and_fail(connection: Connection) -> str:
        adding(jti)(connection)
        raise RuntimeError(jti)

    return add_and_fail


async def stored(store: Store) -> set[str]:
    async with store.reading() as connection:
        return set(await connection.scalars(select(proof_ids.c.jti)))


async def together(store: Store, *works: Callable[[Connection], Any]) -> list[Any]:
    return await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)


async def in_transaction(store: Store, work: Callable[[Connection], Any]) -> Any:
    async with store.transaction() as connection:
        return await connection.run_sync(work)


@pytest.fixture
def commits(store: Store) -> list[None]:
    """Grows by one with each commit."""
    seen: list[None] = []
    event.listen(store._engine.sync_engine, "commit", lambda _: seen.append(None))
    return seen


async def test_works_that_wait_together_share_commits_and_keep_their_results(store: Store, commits: list[None]) -> None:
    names = [str(number) for number in range(MANY)]
    assert await together(store, *map(adding, names)) == names
    assert await stored(store) == set(names)
    assert 1 <= len(commits) < MANY / 10


async def test_work_that_fails_among_others_takes_only_itself_back(store: Store, commits: list[None]) -> None:
    first, broken, last = await together(store, adding("first"), failing("broken"), adding("last"))
    assert (first, str(broken), last) == ("first", "broken", "last")
    assert type(broken) is RuntimeError
    assert await stored(store) == {"first", "last"}
    assert len(commits) == 1


async def test_guard_among_others_comes_out_as_itself(store: Store) -> None:
    first, again, last = await together(store, adding("same"), adding("same"), adding("other"))
    assert (first, type(again), last) == ("same", IntegrityError, "other")
    assert await stored(store) == {"same", "other"}


async def test_work_sees_what_the_work_before_it_in_the_transaction_wrote(store: Store, commits: list[None]) -> None:
    def count(connection: Connection) -> int:
        return connection.scalar(select(func.count()).select_from(proof_ids)) or 0

    outcomes = await together(store, count, adding("a"), count, failing("b"), count)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 1]
    assert len(commits) == 1


async def test_statement_that_the_database_refuses_fails_one_work(store: Store) -> None:
    def from_nowhere(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM no_such_table"))

    first, refused, last = await together(store, adding("first"), from_nowhere, adding("last"))
    assert (first, type(refused), last) == ("first", StoreUnavailable, "last")
    assert "no_such_table" in str(refused)
    assert await stored(store) == {"first", "last"}


@ON_POSTGRESQL
async def test_connection_lost_amid_a_group_fails_all_of_it_and_no_later_work(store: Store) -> None:
    def lose(connection: Connection) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    outcomes = await together(store, adding("first"), lose, adding("last"))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3, "each has an error of its own"
    assert await store.write(adding("later")) == "later"
    assert await stored(store) == {"later"}


@ON_SQLITE
async def test_full_disk_fails_the_whole_group_with_its_own_reason(store: Store) -> None:
    def large(connection: Connection) -> None:
        connection.execute(insert(proof_ids), {"jkt": "x" * 400_000, "jti": "large", "expires_at": 0})

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        outcomes = await together(store, adding("first"), large, adding("last"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert all("disk" in str(outcome) for outcome in outcomes), outcomes
    assert await stored(store) == set()
    assert await store.write(adding("later")) == "later"


async def test_nobody_is_answered_before_the_commit(store: Store) -> None:
    async def add_and_look(jti: str) -> bool:
        await store.write(adding(jti))
        return jti in await stored(store)

    assert all(await asyncio.gather(*(add_and_look(str(number)) for number in range(MANY))))


async def test_work_cancelled_before_its_transaction_is_not_done(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.run_sync(one_at_a_time)
        first = asyncio.create_task(store.write(adding("first")))
        await asyncio.sleep(0.05)  # it waits for the transaction of ours
        second = asyncio.create_task(store.write(adding("second")))
        await asyncio.sleep(0)
        second.cancel()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert (outcomes[0], type(outcomes[1])) == ("first", asyncio.CancelledError)
    await store.write(lambda _: None)
    assert await stored(store) == {"first"}


async def test_work_cancelled_at_any_moment_is_through_when_its_caller_goes_on(store: Store) -> None:
    running: set[str] = set()

    async def write(jti: str) -> None:
        def work(connection: Connection) -> None:
            running.add(jti)
            adding(jti)(connection)
            running.discard(jti)

        try:
            await store.write(work)
        finally:
            assert jti not in running

    # Each is cancelled one step of the event loop later than the one before, so in another of the writer's awaits.
    for steps in range(60):
        task, other = (asyncio.create_task(write(f"{name}-{steps}")) for name in ("cancelled", "other"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        found = await asyncio.gather(task, other, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError | None)
        assert found[1] is None
        before = await stored(store)
        await store.write(lambda _: None)
        assert await stored(store) == before, "nothing is done for a caller that has gone"
    assert {f"other-{steps}" for steps in range(60)} <= await stored(store)


async def test_works_that_waited_too_long_are_told_so_and_not_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", -1)
    outcomes = await together(store, adding("1"), adding("2"))
    assert [str(outcome) for outcome in outcomes] == ["no turn to write came in time"] * 2
    monkeypatch.undo()
    assert await store.write(adding("3")) == "3"
    assert await stored(store) == {"3"}


async def test_of_more_works_than_there_is_time_for_none_is_done_and_told_that_it_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(jti: str) -> Callable[[Connection], str]:
        def add(connection: Connection) -> str:
            time.sleep(0.005)
            return adding(jti)(connection)

        return add

    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.4)
    names = [str(number) for number in range(200)]
    outcomes = await together(store, *map(slowly, names))
    told = {name for name, outcome in zip(names, outcomes, strict=True) if outcome == name}
    late = {name for name, outcome in zip(names, outcomes, strict=True) if type(outcome) is StoreUnavailable}
    assert told
    assert late
    assert told | late == set(names)
    monkeypatch.undo()
    assert await stored(store) == told


@ON_SQLITE
async def test_commit_that_outlasts_the_timeout_is_not_told_to_have_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: Any = store._engine.dialect.commits
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.1)
    for write in (store.write, partial(in_transaction, store)):
        commits._thread.submit(time.sleep, 0.3)
        assert await write(adding(str(write))) == str(write)


@ON_SQLITE
async def test_task_cancelled_during_its_commit_is_cancelled_once_that_has_ended(store: Store) -> None:
    commits: Any = store._engine.dialect.commits
    commits._thread.submit(time.sleep, 0.2)
    task = asyncio.create_task(in_transaction(store, adding("1")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(store) == {"1"}


async def test_exhausted_iterator_in_a_work_is_an_error_of_that_work(store: Store) -> None:
    def exhausted(_: Connection) -> None:
        next(iter(()))

    async with asyncio.timeout(10):
        first, broken, last = await together(store, adding("first"), exhausted, adding("last"))
    assert (first, type(broken), last) == ("first", RuntimeError, "last")
    assert await stored(store) == {"first", "last"}


async def test_works_are_done_in_nobodys_context(store: Store) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    trace.set("of the first who wrote")
    assert await together(store, *[lambda _: trace.get()] * 2) == ["none", "none"]


async def test_works_that_wait_when_the_store_is_closed_are_told_so(store: Store) -> None:
    tasks = [asyncio.create_task(store.write(adding(str(number)))) for number in range(MANY)]
    await asyncio.sleep(0)
    await store.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the store is closed"] * MANY
    await store.open()
    assert await stored(store) == set()


async def test_stopping_ends_a_write_that_waits_for_others_and_lets_the_next_begin(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.run_sync(one_at_a_time)
        waiting = asyncio.create_task(store.write(adding("waiting")))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await store.stop_writing()
            with pytest.raises(StoreUnavailable, match="the store is closed"):
                await waiting
        next_one = asyncio.create_task(store.write(adding("next")))
    assert await next_one == "next"
    assert await stored(store) == {"next"}


@ON_SQLITE
async def test_stop_during_a_commit_answers_it_and_refuses_what_waits(store: Store) -> None:
    commits: Any = store._engine.dialect.commits
    commits._thread.submit(time.sleep, 0.2)
    first = asyncio.create_task(store.write(adding("first")))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(store.write(adding("second")))
    await asyncio.sleep(0)
    await store.stop_writing()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert (outcomes[0], str(outcomes[1])) == ("first", "the store is closed")
    assert await stored(store) == {"first"}


async def test_write_that_meets_a_stop_is_done_or_told(store: Store) -> None:
    for steps in range(40):
        tasks = [asyncio.create_task(store.write(adding(f"{steps}-{number}"))) for number in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        stop = asyncio.create_task(store.stop_writing())
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(store.write(adding(f"{steps}-3"))))
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*tasks, stop, return_exceptions=True)
        done = {outcome for outcome in outcomes if isinstance(outcome, str)}
        assert {type(outcome) for outcome in outcomes} <= {str, StoreUnavailable, type(None)}
        found = {name for name in await stored(store) if name.startswith(f"{steps}-")}
        # PostgreSQL may have committed what it was told to stop; a file does what it is told.
        assert done == found if store.is_sqlite else done <= found
    assert await store.write(adding("later")) == "later"
