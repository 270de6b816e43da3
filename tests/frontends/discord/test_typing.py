"""Typing, as a fake Discord sees it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.desk import Desk, opened
from tests.fakes.discord.faults import MISSING_ACCESS, Delay, Fail, Reset

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.typing import MAX_SECONDS, RENEWAL_SECONDS, TypingKeeper


class Sleeper:
    """Lets those who sleep go on when a test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.asleep = asyncio.Event()
        self._woken = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep until woken."""
        self.asked.append(seconds)
        self.asleep.set()
        await self._woken.wait()

    async def wake(self) -> None:
        """Wake whoever sleeps, and wait until somebody sleeps again."""
        self.asleep.clear()
        self._woken.set()
        self._woken = asyncio.Event()
        await self.asleep.wait()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A desk."""
    async with opened() as desk:
        yield desk


@pytest.fixture
def sleeper() -> Sleeper:
    """What typing waits by."""
    return Sleeper()


@pytest.fixture
async def keeper(desk: Desk, sleeper: Sleeper) -> AsyncIterator[TypingKeeper]:
    """Typing, on the desk's clock."""
    keeper = TypingKeeper(desk.outbox, clock=desk.clock, sleep=sleeper.sleep)
    yield keeper
    await keeper.aclose()


async def test_typing_is_shown_at_once_and_renewed(
    desk: Desk, keeper: TypingKeeper, sleeper: Sleeper
) -> None:
    """Typing is shown as soon as somebody waits and before it fades, and not afterwards."""
    async with keeper.typing(desk.channel.id):
        await sleeper.asleep.wait()
        await sleeper.wake()
        await sleeper.wake()
    assert [place for place, _ in desk.fake.typing] == [desk.channel.id] * 3
    assert set(sleeper.asked) == {RENEWAL_SECONDS}


async def test_two_who_wait_make_one_typing(
    desk: Desk, keeper: TypingKeeper, sleeper: Sleeper
) -> None:
    """Two answers in one channel show typing once, until the last of them begins."""
    async with keeper.typing(desk.channel.id):
        async with keeper.typing(desk.channel.id):
            await sleeper.asleep.wait()
        await sleeper.wake()
    assert len(desk.fake.typing) == 2


async def test_channels_type_apart(desk: Desk, keeper: TypingKeeper) -> None:
    """Typing in one channel does not stand for another."""
    other = desk.fake.add_guild("other").add_text_channel("talk")
    async with keeper.typing(desk.channel.id), keeper.typing(other.id):
        await desk.fake.until(lambda: len(desk.fake.typing) == 2)
    assert {place for place, _ in desk.fake.typing} == {desk.channel.id, other.id}


async def test_typing_ends_before_what_follows(desk: Desk, keeper: TypingKeeper) -> None:
    """A request that is under way when the block is left is given up, and the block is left only
    then."""
    left = asyncio.Event()

    async def until_left(_: float) -> None:
        await left.wait()

    desk.fake.rest.sleep = until_left
    desk.fake.fault("typing", [Delay(3600)])
    before = asyncio.all_tasks()
    async with keeper.typing(desk.channel.id):
        ours = asyncio.all_tasks() - before
        await desk.fake.until(lambda: desk.fake.requests_to("typing"))
    assert len(ours) == 1
    assert all(task.done() for task in ours)
    left.set()
    await desk.fake.until(lambda: desk.fake.requests_to("typing")[0].finished_at)


async def test_nobody_types_for_ever(desk: Desk, keeper: TypingKeeper, sleeper: Sleeper) -> None:
    """After five minutes typing ends by itself, and a new message begins it again."""
    async with keeper.typing(desk.channel.id):
        await sleeper.asleep.wait()
        desk.clock.advance(MAX_SECONDS)
        waking = asyncio.create_task(sleeper.wake())
        await asyncio.sleep(0)
        async with keeper.typing(desk.channel.id):
            await waking
    assert len(desk.fake.typing) == 2


async def test_a_new_wait_renews_the_time(
    desk: Desk, keeper: TypingKeeper, sleeper: Sleeper
) -> None:
    """The five minutes count from the latest message."""
    async with keeper.typing(desk.channel.id):
        await sleeper.asleep.wait()
        desk.clock.advance(MAX_SECONDS - 1)
        async with keeper.typing(desk.channel.id):
            desk.clock.advance(2)
            await sleeper.wake()
    assert len(desk.fake.typing) == 2


@pytest.mark.parametrize("fault", [MISSING_ACCESS, Fail(503), Reset(), Fail(400)])
async def test_typing_that_fails_harms_nothing(
    desk: Desk, keeper: TypingKeeper, fault: Fail | Reset
) -> None:
    """Where typing cannot be shown, it is not tried again and the answer comes all the same."""
    desk.fake.fault("typing", [fault])
    async with keeper.typing(desk.channel.id):
        await desk.fake.until(lambda: desk.fake.requests_to("typing"))
    await desk.send("a")
    assert desk.fake.answers(desk.channel) == ["a"]
    assert len(desk.fake.requests_to("typing")) == 1


async def test_nobody_types_where_we_are_muted(desk: Desk, keeper: TypingKeeper) -> None:
    """A channel that refuses messages is not shown typing either, until it took one."""
    desk.fake.fault("create_message", [MISSING_ACCESS])
    with pytest.raises(TargetGone):
        await desk.send("a")
    desk.clock.advance(3600)
    for expected in (0, 1):
        async with keeper.typing(desk.channel.id):
            await asyncio.sleep(0)
            await desk.send("b", f"{expected}-1")
        assert len(desk.fake.requests_to("typing")) == expected


async def test_all_typing_ends_with_its_keeper(desk: Desk, keeper: TypingKeeper) -> None:
    """Closing ends the typing that somebody still holds, more than once if need be."""
    async with keeper.typing(desk.channel.id):
        await keeper.aclose()
        await keeper.aclose()
