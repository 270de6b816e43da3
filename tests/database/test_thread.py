"""The thread that owns the database: what waits together is committed together, and in order.

A history is what it is driven by: what waits are appends.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock

from acore_bot.database.opening import BUSY_TIMEOUT_SECONDS
from acore_bot.database.thread import MAX_JOBS_TAKEN, Answer
from acore_bot.errors import DuplicateMessage, HistoryError
from acore_bot.history.sqlite import INSERT, SQLiteHistory, _to_row
from acore_bot.messages import Author, Message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "history.db"


@pytest.fixture
async def history(path: Path) -> AsyncIterator[SQLiteHistory]:
    """Open an empty history."""
    async with SQLiteHistory.open(path) as opened:
        yield opened


def said(id_: int, text: str = "Hello") -> Message:
    """Make a message of the one conversation used here."""
    return Message(
        id=id_,
        conversation="tea",
        role="user",
        author=Author("17", "Ada"),
        text=text,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


@asynccontextmanager
async def waiting_together(history: SQLiteHistory) -> AsyncIterator[None]:
    """Let all that is asked in the block wait until it is left."""
    release, held = Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(held.set)
        release.wait(30)

    holder = asyncio.ensure_future(history._thread.read(hold))
    await held.wait()
    try:
        yield
        await asyncio.sleep(0)
    finally:
        release.set()
        await holder


async def append_together(
    history: SQLiteHistory, batches: Sequence[Sequence[Message]]
) -> list[type[BaseException] | None]:
    """Append these while the thread is busy. Return the kind of each one's error."""
    async with waiting_together(history):
        appends = [asyncio.ensure_future(history.append(batch)) for batch in batches]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    return [None if outcome is None else type(outcome) for outcome in outcomes]


async def execute(history: SQLiteHistory, statement: str) -> int:
    """Run a pragma on the history's own connection and return its number."""
    rows = await history._thread.read(lambda connection: connection.execute(statement).fetchone())
    return int(rows[0])


async def stored(history: SQLiteHistory) -> list[int]:
    """Return the ids that are stored."""
    return [message.id for message in await history.recent("tea", 10_000)]


async def test_appends_that_wait_together_share_a_commit(history: SQLiteHistory) -> None:
    """Fifty appends that wait are one transaction."""
    before = history._thread.commits
    assert await append_together(history, [[said(n)] for n in range(50)]) == [None] * 50
    assert history._thread.commits - before == 1
    assert await stored(history) == [*range(50)]


async def test_fifty_at_once_are_a_commit_or_two(history: SQLiteHistory) -> None:
    """Without anything that holds the thread up, fifty appends that start together share as well;
    the first may have gone ahead."""
    before = history._thread.commits
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(history.append([said(number)]))
    assert history._thread.commits - before <= 2


async def test_a_group_is_bounded(history: SQLiteHistory) -> None:
    """However many wait, a transaction takes only so many of them."""
    before = history._thread.commits
    count = 3 * MAX_JOBS_TAKEN
    assert await append_together(history, [[said(n)] for n in range(count)]) == [None] * count
    assert history._thread.commits - before == 3
    assert len(await stored(history)) == count


async def test_a_duplicate_fails_alone(history: SQLiteHistory) -> None:
    """Of those that share a transaction, one that is refused stores nothing and harms no other."""
    await history.append([said(5)])
    before = history._thread.commits
    batches = [[said(1)], [said(2), said(5)], [said(3)], [said(3), said(4)], [said(6)]]
    outcomes = await append_together(history, batches)
    assert outcomes == [None, DuplicateMessage, None, DuplicateMessage, None]
    assert await stored(history) == [1, 3, 5, 6]
    assert history._thread.commits - before == 1


async def traced(history: SQLiteHistory, trace: Callable[[str], None] | None) -> None:
    """Tell of each statement that the history's connection begins; None ends that."""
    await history._thread.read(lambda connection: connection.set_trace_callback(trace))


async def test_a_group_without_a_refusal_is_plain(history: SQLiteHistory) -> None:
    """Appends that share a transaction need nothing besides their rows and one commit."""
    statements: list[str] = []
    await traced(history, statements.append)
    await append_together(history, [[said(2 * n), said(2 * n + 1)] for n in range(10)])
    await traced(history, None)
    verbs = [statement.split()[0] for statement in statements]
    assert verbs == ["BEGIN", "PRAGMA", *["INSERT"] * 20, "COMMIT"]


async def test_who_writes_while_a_group_is_done_anew_is_noticed(
    path: Path, history: SQLiteHistory
) -> None:
    """A refusal frees the file for a moment: what another connection stores then stays, takes its
    place before the group, and counts as a change by others."""
    begun: list[str] = []

    def overtake(statement: str) -> None:
        if statement.startswith("BEGIN"):
            begun.append(statement)
            if len(begun) == 2:
                with closing(sqlite3.connect(path, timeout=1)) as other, other:
                    other.execute(INSERT, _to_row(said(3)))

    await history.append([said(1)])
    await traced(history, overtake)
    outcomes = await append_together(history, [[said(2)], [said(1)], [said(3)]])
    await traced(history, None)
    assert outcomes == [None, DuplicateMessage, DuplicateMessage]
    assert await stored(history) == [1, 2, 3]
    assert history.foreign_changes() == 1


async def test_a_duplicate_is_named(history: SQLiteHistory) -> None:
    """Of several messages the one that is there already is named, be it stored or in the batch."""
    await history.append([said(5)])
    with pytest.raises(DuplicateMessage, match="message 5 is"):
        await history.append([said(6), said(7), said(5), said(8)])
    with pytest.raises(DuplicateMessage, match="message 9 is"):
        await history.append([said(8), said(9), said(10), said(9), said(11)])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(groups=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=3), max_size=12))
async def test_together_is_as_one_after_the_other(
    history: SQLiteHistory, groups: list[list[int]]
) -> None:
    """Appends that share a transaction are answered, and stored, as if each had come alone."""
    await history.clear("tea")
    expected: list[type[BaseException] | None] = []
    there: set[int] = set()
    for group in groups:
        is_new = len({*group}) == len(group) and not there & {*group}
        expected.append(None if is_new else DuplicateMessage)
        there |= {*group} if is_new else set()
    batches = [[said(number) for number in group] for group in groups]
    assert await append_together(history, batches) == expected
    assert await stored(history) == sorted(there)


async def test_order_is_kept_between_changes_and_questions(history: SQLiteHistory) -> None:
    """What waits together happens in the order in which it was asked, questions included."""
    async with waiting_together(history):
        asked = [
            asyncio.ensure_future(work)
            for work in (
                history.append([said(1)]),
                history.recent("tea", 10),
                history.append([said(2)]),
                history.append([said(3)]),
                history._thread.write(lambda c: c.execute("DELETE FROM messages").rowcount),
                history.append([said(1, "again")]),
                history.recent("tea", 10),
            )
        ]
    answers = await asyncio.gather(*asked)
    assert answers == [None, (said(1),), None, None, 3, None, (said(1, "again"),)]


async def test_nobody_is_told_before_the_commit(path: Path) -> None:
    """When the first of a group hears that his message is stored, another process sees it, and
    those of the others."""
    async with SQLiteHistory.open(path) as history:
        seen: list[int] = []

        async def append_and_look(number: int) -> None:
            await history.append([said(number)])
            with closing(sqlite3.connect(path)) as other:
                seen.append(other.execute("SELECT count(*) FROM messages").fetchone()[0])

        async with waiting_together(history):
            tasks = [asyncio.ensure_future(append_and_look(number)) for number in range(10)]
        await asyncio.gather(*tasks)
    assert seen == [10] * 10


async def test_if_the_commit_fails_all_fail_and_none_is_stored(history: SQLiteHistory) -> None:
    """A commit that is refused is told to each of the group, by an error of his own."""
    await history._thread.read(
        lambda connection: connection.set_authorizer(
            lambda action, operation, *_: (
                sqlite3.SQLITE_DENY
                if (action, operation) == (sqlite3.SQLITE_TRANSACTION, "COMMIT")
                else sqlite3.SQLITE_OK
            )
        )
    )
    async with waiting_together(history):
        appends = [asyncio.ensure_future(history.append([said(n)])) for n in range(5)]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [HistoryError] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5
    await history._thread.read(lambda connection: connection.set_authorizer(None))
    assert await stored(history) == []
    await history.append([said(1)])
    assert await stored(history) == [1]


async def test_r2_a_full_disk_fails_whole_groups_and_heals_with_the_next(
    history: SQLiteHistory,
) -> None:
    """Through a thousand appends at a full disk each is whole or not there, as its caller was told,
    and reading goes on; the first append after there is room is stored."""
    pages = await execute(history, "PRAGMA page_count")
    await execute(history, f"PRAGMA max_page_count = {pages + 30}")
    acknowledged: list[int] = []
    for start in range(0, 1000, 50):
        numbers = range(start, start + 50)
        batches = [[said(2 * n, "x" * 900), said(2 * n + 1, "x" * 900)] for n in numbers]
        outcomes = await append_together(history, batches)
        assert {*outcomes} <= {None, HistoryError}
        for number, outcome in zip(numbers, outcomes, strict=True):
            acknowledged += [] if outcome else [2 * number, 2 * number + 1]
        assert await stored(history) == acknowledged
    assert len(acknowledged) < 2000
    await execute(history, "PRAGMA max_page_count = 100000")
    await history.append([said(9000)])
    await history.check()
    assert await stored(history) == [*acknowledged, 9000]


async def test_r2_a_fault_in_the_midst_of_a_group_takes_the_group(history: SQLiteHistory) -> None:
    """If SQLite gives the whole transaction up, all hear of it, and nothing of it is stored."""

    def give_up(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async with waiting_together(history):
        appends = [
            asyncio.ensure_future(work)
            for work in (
                history.append([said(1)]),
                history._thread.write(give_up),
                history.append([said(2)]),
            )
        ]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert all(isinstance(outcome, HistoryError) for outcome in outcomes)
    await history.append([said(3)])
    assert await stored(history) == [3]


async def test_the_end_waits_for_more_than_a_group(path: Path) -> None:
    """Closing finishes all that is queued, in however many groups, and answers it."""
    async with asyncio.TaskGroup() as tasks, SQLiteHistory.open(path) as history:
        appends = [
            tasks.create_task(history.append([said(number)]))
            for number in range(2 * MAX_JOBS_TAKEN + 7)
        ]
        await asyncio.sleep(0)
    assert all(append.done() for append in appends)
    async with SQLiteHistory.open(path) as history:
        assert len(await stored(history)) == 2 * MAX_JOBS_TAKEN + 7


def test_an_answer_outlives_its_loop() -> None:
    """When the loop is closed before the thread has answered, the thread goes on undisturbed."""

    async def ask() -> Answer[int]:
        return Answer()

    answer = asyncio.run(ask())
    answer.succeed(1)
    answer.fail(HistoryError("too late"))


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file's lock as another process that writes would, and roll back in the end."""
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def append(history: SQLiteHistory, number: int) -> Awaitable[object]:
    """Ask for a transaction."""
    return history.append([said(number)])


def empty_log(history: SQLiteHistory, number: int) -> Awaitable[object]:
    """Ask for what waits for writers without being a transaction."""
    return history._thread.empty_log()


Ask: TypeAlias = Callable[[SQLiteHistory, int], Awaitable[object]]


@pytest.mark.parametrize("ask", [append, empty_log])
async def test_the_end_does_not_wait_for_a_lock_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    """While another process holds the file, closing waits for it as long as one transaction does,
    however much is queued; each append that was in vain is told of it."""
    monkeypatch.setattr("acore_bot.database.thread.BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("acore_bot.database.thread.MAX_JOBS_TAKEN", 1)
    async with SQLiteHistory.open(path) as history:
        with locked(path):
            async with waiting_together(history):
                asked = [asyncio.ensure_future(ask(history, number)) for number in range(200)]
                await asyncio.sleep(0)
                stopping = asyncio.ensure_future(history._thread.stop())
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await stopping
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    told = {outcome and str(outcome)[:15] for outcome in outcomes}
    assert told == {"Another process" if ask is append else None}


async def test_what_is_done_anew_at_the_end_does_not_wait_anew(path: Path) -> None:
    """A group that is undone because of a refusal, and finds the file locked then, does not wait
    longer than is left of the one wait at the end."""
    clock = SettableClock()
    async with SQLiteHistory.open(path) as history:
        history._thread._clock = clock
        await history.append([said(1)])
        begun: list[str] = []
        # The thread itself makes the other one lock the file, at the one moment that matters.
        with closing(sqlite3.connect(path, timeout=1, check_same_thread=False)) as other:

            def overtake(statement: str) -> None:
                begun.extend([statement] if statement.startswith("BEGIN") else [])
                if statement == "PRAGMA busy_timeout = 0":
                    other.execute("BEGIN IMMEDIATE")
                elif len(begun) == 1:
                    clock.advance(BUSY_TIMEOUT_SECONDS)

            await traced(history, overtake)
            async with waiting_together(history):
                appends = [asyncio.ensure_future(history.append([said(n)])) for n in (2, 1)]
                await asyncio.sleep(0)
                stopping = asyncio.ensure_future(history._thread.stop())
                await asyncio.sleep(0)
            await stopping
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [HistoryError] * 2
    assert len(begun) == 2


async def test_what_is_queued_at_the_end_still_waits_for_a_short_lock(path: Path) -> None:
    """If the other process lets go of the file in time, what was queued is stored."""
    async with SQLiteHistory.open(path) as history:
        began = asyncio.Event()
        loop = asyncio.get_running_loop()

        def note(statement: str) -> None:
            if statement.startswith("BEGIN"):
                loop.call_soon_threadsafe(began.set)

        await traced(history, note)
        with locked(path) as other:
            appending = asyncio.ensure_future(history.append([said(1)]))
            await asyncio.sleep(0)
            stopping = asyncio.ensure_future(history._thread.stop())
            await began.wait()
            other.rollback()
        await asyncio.gather(appending, stopping)
    async with SQLiteHistory.open(path) as history:
        assert await stored(history) == [1]


async def test_changes_by_others_are_counted(path: Path) -> None:
    """Who appends learns whether another connection has written since; our own do not count."""
    async with SQLiteHistory.open(path) as ours, SQLiteHistory.open(path) as other:
        await ours.append([said(1)])
        await ours.edit(1, "changed")
        await ours.append([said(2)])
        counted = ours.foreign_changes()
        await other.append([said(3)])
        await other.clear("tea")
        assert ours.foreign_changes() == counted
        await ours.append([said(4)])
        assert ours.foreign_changes() == counted + 1
        await ours.append([said(5)])
        assert ours.foreign_changes() == counted + 1
    assert counted == 0
