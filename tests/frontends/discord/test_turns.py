"""Each message once, and none cut off when the bot stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.frontends.discord.turns import SeenMessages, Turns

SOON = 0.01


@given(st.lists(st.integers(0, 30)), st.integers(1, 10))
def test_a_message_is_new_once_while_it_is_remembered(ids: list[int], most: int) -> None:
    """Among the latest distinct ids none is new again, and no more than twice as many are kept."""
    seen = SeenMessages(most)
    latest: list[int] = []
    for message_id in ids:
        is_new = seen.is_new(message_id)
        assert not (is_new and message_id in latest[-most:])
        assert is_new or message_id in latest[-2 * most :]
        if is_new:
            latest.append(message_id)


@contextmanager
def counted(turns: Turns) -> Iterator[None]:
    """Make the current task one of the turns within a block."""
    task = turns.begin()
    try:
        yield
    finally:
        turns.end(task)


async def test_a_turn_that_ends_in_time_is_let_end() -> None:
    """Within the grace nobody is cancelled."""
    turns, said = Turns(), asyncio.Event()
    ended = []

    async def answer() -> None:
        with counted(turns):
            await said.wait()
            ended.append("well")

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        settling = group.create_task(turns.settle(10.0, 10.0))
        await asyncio.sleep(0)
        assert not settling.done()
        assert turns.is_stopping
        said.set()
    assert ended == ["well"]
    assert len(turns) == 0


async def test_a_turn_that_takes_too_long_is_cancelled_and_waited_for() -> None:
    """What it does on being cancelled, marking its answer, is done before we go on."""
    turns, marks = Turns(), []

    async def answer() -> None:
        with counted(turns):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                marks.append("stopped")

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    await turns.settle(SOON, 10.0)
    assert marks == ["stopped"]
    assert task.cancelled()


async def test_a_turn_whose_marking_takes_too_long_is_cancelled_again() -> None:
    """It is over when we go on, however often it has to be told within reason."""
    turns, told = Turns(), 0

    async def answer() -> None:
        nonlocal told
        with counted(turns):
            while told < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    told += 1

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    await turns.settle(SOON, SOON)
    assert task.done()
    assert len(turns) == 0


async def test_a_turn_that_does_not_obey_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """Stopping takes no longer than told, and the log says what was left."""
    turns, let_go = Turns(), asyncio.Event()

    async def answer() -> None:
        with counted(turns):
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    await turns.settle(SOON, SOON)
    assert not task.done()
    assert [record.getMessage() for record in caplog.records] == [
        "1 turns did not end when told to, and are left"
    ]
    let_go.set()
    await task
