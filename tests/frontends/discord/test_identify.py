"""How often a bot begins a session, however often it is started."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.frontends.discord.identify import (
    DAY_SECONDS,
    FREE_STARTS,
    MOST_IDENTIFIES,
    SPACING_SECONDS,
    IdentifyBudget,
)


class Machine:
    """A machine with a clock and a disk, on which processes come and go."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.kept: Sequence[float] = ()
        self.waits: list[float] = []

    async def load(self) -> Sequence[float]:
        """Read what was kept."""
        return self.kept

    async def save(self, times: Sequence[float]) -> None:
        """Keep it."""
        self.kept = times

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.waits.append(seconds)
        self.now += seconds

    def process(self) -> IdentifyBudget:
        """Start a process."""
        return IdentifyBudget(self.load, self.save, sleep=self.sleep, wall=lambda: self.now)

    async def start(self, shards: int = 1) -> None:
        """Start a process that begins the sessions of its shards."""
        bot = self.process()
        await bot.wait(shards)
        for _ in range(shards):
            await bot.note()


@pytest.mark.parametrize("seconds_alive", [0.0, 1.0, 15.0, 300.0])
async def test_r8_a_bot_that_crashes_all_day_identifies_at_most_a_hundred_times(
    seconds_alive: float,
) -> None:
    """Started again by its supervisor whenever it crashes, over three days, it never identifies
    more often than 100 times in any 24 hours."""
    machine, begun = Machine(), list[float]()
    start = machine.now
    while machine.now < start + 3 * DAY_SECONDS:
        await machine.start()
        begun.append(machine.now)
        machine.now += seconds_alive + 15
    within = [sum(at <= other < at + DAY_SECONDS for other in begun) for at in begun]
    assert max(within) <= 100
    assert len(begun) > 100  # it goes on trying, and is not given up


async def test_r8_the_first_starts_wait_for_nothing() -> None:
    """Who starts it again and again by hand does not wait for the first sixty times."""
    machine = Machine()
    for _ in range(FREE_STARTS):
        await machine.start()
    assert not machine.waits
    await machine.start()
    assert machine.waits == [SPACING_SECONDS]


@pytest.mark.parametrize("shards", [2, 16])
async def test_r8_shards_count_together(shards: int) -> None:
    """Each shard begins a session, and all together stay below Discord's thousand a day."""
    machine, begun = Machine(), list[float]()
    start = machine.now
    while machine.now < start + 2 * DAY_SECONDS:
        await machine.start(shards)
        begun += [machine.now] * shards
        machine.now += 15
    within = [sum(at <= other < at + DAY_SECONDS for other in begun) for at in set(begun)]
    assert max(within) <= min(100 * shards, MOST_IDENTIFIES)


@given(jump=st.floats(-400 * DAY_SECONDS, 400 * DAY_SECONDS))
async def test_r8_a_clock_that_jumps_blocks_nobody(jump: float) -> None:
    """Wherever the clock is set to, the next start waits for 36 minutes at most."""
    machine = Machine()
    for _ in range(FREE_STARTS):
        await machine.start()
    machine.now += jump
    await machine.start()
    assert sum(machine.waits) <= SPACING_SECONDS


async def test_a_wait_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The log says why the bot does not connect, and for how long."""
    machine = Machine()
    for _ in range(FREE_STARTS + 1):
        await machine.start()
    assert "connects too often, so the next connection waits for 36 minutes" in caplog.text


async def test_what_is_older_than_a_day_is_forgotten() -> None:
    """No more is kept than what counts."""
    machine = Machine()
    for _ in range(FREE_STARTS):
        await machine.start()
    machine.now += DAY_SECONDS + 1
    await machine.start()
    assert len(machine.kept) == 1
