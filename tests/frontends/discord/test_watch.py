"""Whether the loop and the gateway are alive."""

import asyncio
import logging
from collections.abc import Mapping

import pytest
from tests.fakes.clock import SettableClock

from acore_bot.frontends.discord.watch import MAX_LAG_SECONDS, TICK_SECONDS, Silence, Watch

TALKING = Silence(1.0, 40.0)
SILENT = Silence(80.5, 40.0)


class Connections:
    """A gateway that is as silent as it is told, and remembers what was reopened."""

    def __init__(self, silences: Mapping[int, Silence]) -> None:
        self.now = silences
        self.reopened: list[int] = []

    def silences(self) -> Mapping[int, Silence]:
        """Tell what was set."""
        return self.now

    async def reopen(self, shard_id: int) -> None:
        """Note it; from now on it talks."""
        self.reopened.append(shard_id)
        self.now = {**self.now, shard_id: TALKING}


class LateClock(SettableClock):
    """Each sleep ends later than asked for, by the next of its delays; the last one cancels."""

    def __init__(self, *delays: float) -> None:
        super().__init__()
        self._delays = iter(delays)

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and a little more."""
        delay = next(self._delays, None)
        if delay is None:
            raise asyncio.CancelledError
        await super().sleep(seconds + delay)


async def watched(connections: Connections, *delays: float) -> None:
    """Watch for as many ticks as there are delays."""
    clock = LateClock(*delays)
    watch = Watch(connections, clock=clock, sleep=clock.sleep)
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert clock.now == pytest.approx(len(delays) * TICK_SECONDS + sum(delays))


async def test_the_lag_of_the_loop_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    """A long one is told in the log, and no other."""
    await watched(Connections({}), 0.1, 0.4, 0.02)
    assert [record.getMessage() for record in caplog.records] == [
        "the event loop stood still for 0.40 s"
    ]
    assert caplog.records[0].levelno == logging.WARNING


async def test_a_silent_connection_is_reopened_once() -> None:
    """Two heartbeats without any frame are too many; the others are left alone."""
    connections = Connections({0: TALKING, 1: SILENT, 2: Silence(79.5, 40.0)})
    await watched(connections, 0.0, 0.0, 0.0)
    assert connections.reopened == [1]


async def test_nobody_is_blamed_for_our_own_sleep() -> None:
    """After the loop stood still, frames may wait to be read, so silence proves nothing."""
    connections = Connections({0: SILENT})
    await watched(connections, MAX_LAG_SECONDS + 0.1)
    assert connections.reopened == []
