"""The one writer: works that wait together share a transaction, and nothing else."""

from __future__ import annotations

import asyncio
import math
import resource
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.store import Store, StoreUnavailable, engine, proof_ids
from fastapi_handoff.store.writer import MAX_JOBS, WRITER_LOCK
from helpers.fixtures_store import adding, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    return await store.read(lambda connection: set(connection.scalars(select(proof_ids.c.jti))))


async def together(store: Store, *works: Callable[[Connection], Any]) -> list[Any]:
    """Do them in one transaction, or as few as their number allows: the thread is busy while they come to wait."""
    held = Held()
    holding = await held.begin(store)
    writes = [asyncio.create_task(store.write(work)) for work in works]
    await asyncio.sleep(0)
    held.may_end.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    await holding
    return outcomes


class Held:
    """A job that holds the writer's thread until it is let go."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, _: Connection) -> str:
        self.has_begun.set()
        assert self.may_end.wait(20)
        return "held"

    async def begin(self, store: Store) -> asyncio.Task[str]:
        task = asyncio.create_task(store.write(self))
        await asyncio.to_thread(self.has_begun.wait, 20)
        return task


@contextmanager
def lock_held(url: str) -> Iterator[None]:
    """Somebody else is the writer."""
    with connect(url) as other:
        other.execute("BEGIN IMMEDIATE" if url.startswith("sqlite") else f"SELECT pg_advisory_lock({WRITER_LOCK})")
        yield
        other.rollback()


@pytest.fixture
def commits(store: Store) -> list[None]:
    """Grows by one with each commit."""
    seen: list[None] = []
    event.listen(store._write_engine, "commit", lambda _: seen.append(None))
    return seen


async def test_works_that_wait_together_share_commits_and_keep_their_results(store: Store, commits: list[None]) -> None:
    names = [str(number) for number in range(MANY)]
    assert await together(store, *map(adding, names)) == names
    assert await stored(store) == set(names)
    assert len(commits) == 1 + math.ceil(MANY / MAX_JOBS)


async def test_work_that_fails_among_others_takes_only_itself_back(store: Store, commits: list[None]) -> None:
    first, broken, last = await together(store, adding("first"), failing("broken"), adding("last"))
    assert (first, str(broken), last) == ("first", "broken", "last")
    assert type(broken) is RuntimeError
    assert await stored(store) == {"first", "last"}
    assert len(commits) == 2, "the one that held the thread, and theirs"


async def test_guard_among_others_comes_out_as_itself(store: Store) -> None:
    first, again, last = await together(store, adding("same"), adding("same"), adding("other"))
    assert (first, type(again), last) == ("same", IntegrityError, "other")
    assert await stored(store) == {"same", "other"}


async def test_work_sees_what_the_work_before_it_in_the_transaction_wrote(store: Store, commits: list[None]) -> None:
    def count(connection: Connection) -> int:
        return connection.scalar(select(func.count()).select_from(proof_ids)) or 0

    outcomes = await together(store, count, adding("a"), count, failing("b"), count)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 1]
    assert len(commits) == 2, "the one that held the thread, and theirs"


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
    held = Held()
    first = await held.begin(store)
    second = asyncio.create_task(store.write(adding("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    held.may_end.set()
    assert await first == "held"
    await store.write(lambda _: None)
    assert await stored(store) == set()


async def test_caller_that_is_cancelled_does_not_leave_its_work_alone(store: Store) -> None:
    held = Held()
    task = await held.begin(store)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
    held.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_urgent_work_goes_before_those_that_wait(store: Store) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Connection], None]:
        return lambda _: order.append(name)

    held = Held()
    first = await held.begin(store)
    waiting = [asyncio.create_task(store.write(noting("crowd"))) for _ in range(MANY)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(store.write(noting("urgent"), urgent=True)))
    await asyncio.sleep(0)
    held.may_end.set()
    await asyncio.gather(first, *waiting)
    assert order == ["urgent"] + ["crowd"] * MANY


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

    # Each is cancelled a little later than the one before, so in another phase of its transaction.
    for steps in range(60):
        task, other = (asyncio.create_task(write(f"{name}-{steps}")) for name in ("cancelled", "other"))
        await asyncio.sleep(steps * 0.0001)
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
    held = Held()
    holding = await held.begin(store)
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.1)
    outcomes = await asyncio.gather(*(store.write(adding(name)) for name in "12"), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no turn came in time"] * 2
    monkeypatch.undo()
    held.may_end.set()
    await holding


async def test_works_that_waited_too_long_are_not_done_though_the_event_loop_was_busy_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", -1)
    outcomes = await asyncio.gather(*(store.write(adding(name)) for name in "12"), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no turn came in time"] * 2
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
    outcomes = await asyncio.gather(*(store.write(slowly(name)) for name in names), return_exceptions=True)
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
    slow_commits(store, 0.3)
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT", 0.1)
    assert await store.write(adding("1")) == "1"


@ON_SQLITE
async def test_task_cancelled_during_its_commit_is_cancelled_once_that_has_ended(store: Store) -> None:
    slow_commits(store, 0.2)
    task = asyncio.create_task(store.write(adding("1")))
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
    held = Held()
    holding = await held.begin(store)
    tasks = [asyncio.create_task(store.write(adding(str(number)))) for number in range(MANY)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the store is closed"] * MANY
    held.may_end.set()
    await asyncio.gather(holding, closing)
    for refused in (store.write(adding("late")), stored(store)):
        with pytest.raises(StoreUnavailable, match="the store is closed"):
            await refused
    await store.open()
    assert await stored(store) == set()


async def test_closing_ends_a_write_that_waits_for_others(store: Store, store_url: str) -> None:
    with lock_held(store_url):
        waiting = asyncio.create_task(store.write(adding("waiting")))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await store.close()
            with pytest.raises(StoreUnavailable):
                await waiting
    await store.open()
    assert await store.write(adding("next")) == "next"
    assert await stored(store) == {"next"}


@ON_SQLITE
async def test_close_during_a_commit_answers_it_and_refuses_what_waits(store: Store) -> None:
    slow_commits(store, 0.2)
    first = asyncio.create_task(store.write(adding("first")))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(store.write(adding("second")))
    await asyncio.sleep(0)
    await store.close()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert (outcomes[0], str(outcomes[1])) == ("first", "the store is closed")
    await store.open()
    assert await stored(store) == {"first"}


async def test_write_that_meets_a_close_is_done_or_told(store: Store) -> None:
    for steps in range(30):
        tasks = [asyncio.create_task(store.write(adding(f"{steps}-{number}"))) for number in range(3)]
        await asyncio.sleep(steps * 0.0002)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(store.write(adding(f"{steps}-3"))))
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*tasks, closing, return_exceptions=True)
        await store.open()
        done = {outcome for outcome in outcomes if isinstance(outcome, str)}
        assert {type(outcome) for outcome in outcomes} <= {str, StoreUnavailable, type(None)}
        assert done == {name for name in await stored(store) if name.startswith(f"{steps}-")}
    assert await store.write(adding("later")) == "later"


def slow_commits(store: Store, seconds: float) -> None:
    """Let each commit of the writer take so long, as on a slow disk."""
    event.listen(store._write_engine, "commit", lambda _: time.sleep(seconds))
