"""What is seen of an event loop that something keeps busy: a real loop, a real thread."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from acore_bot.telemetry.events import Event, LoopLagged
from acore_bot.telemetry.lag import LoopWatch
from acore_bot.telemetry.slow_turns import SeenStacks

HERE = __name__.partition(".")[0]
PATIENCE_SECONDS = 20.0


class Heard:
    """Keeps the events, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self.events: list[LoopLagged] = []
        self._came = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Hear of a delay."""
        assert isinstance(event, LoopLagged)
        self.events.append(event)
        self._came.set()

    async def next(self) -> LoopLagged:
        """Wait for the next event."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._came.wait()
        self._came.clear()
        return self.events[-1]


def keep_busy(until: Callable[[], object]) -> None:
    """Block the loop until something is so, though not for ever."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not until():
        spin()
        assert time.monotonic() < give_up_at, "Nobody saw that the loop was kept busy."


def spin() -> None:
    """Take time, and let other threads run."""
    time.sleep(0.001)


async def be_busy(stacks: SeenStacks) -> None:
    """Block the loop, from within a coroutine, until this was seen."""
    began_at = time.monotonic()
    keep_busy(lambda: stacks.between(began_at, time.monotonic()))


@asynccontextmanager
async def watched(
    package: str = HERE, threshold_seconds: float = 0.1
) -> AsyncIterator[tuple[LoopWatch, Heard, SeenStacks]]:
    """Watch over the loop of the test."""
    heard, stacks = Heard(), SeenStacks()
    watch = LoopWatch(heard, stacks=stacks, package=package, threshold_seconds=threshold_seconds)
    async with watch:
        yield watch, heard, stacks


async def test_who_keeps_the_loop_busy_is_named() -> None:
    """The outermost function of ours and the innermost of all are told, each with its line."""
    async with watched() as (_, heard, stacks):
        await be_busy(stacks)
        lagged = await heard.next()
    outermost, innermost = lagged.function.split(" > ")
    # The test itself is a task's coroutine, and so the outermost of ours.
    assert outermost.rpartition(":")[0].endswith(".test_who_keeps_the_loop_busy_is_named")
    assert innermost.rpartition(":")[0].startswith(__name__)
    assert innermost.rpartition(":")[2].isdigit()


async def test_the_whole_stack_is_noted_while_the_loop_is_busy() -> None:
    """A turn that ends right after the delay can tell what ran: it was noted before the end."""
    began_at = time.monotonic()
    async with watched() as (_, heard, stacks):
        await be_busy(stacks)
        assert heard.events == []
        stack = stacks.between(began_at, time.monotonic())[0].split(" > ")
    names = [each.rpartition(":")[0].rpartition(".")[2] for each in stack]
    assert names[:3] == [
        "test_the_whole_stack_is_noted_while_the_loop_is_busy",
        "be_busy",
        "keep_busy",
    ]


async def test_a_delay_is_told_once_with_its_whole_length() -> None:
    """However often it was looked at, a delay is one event, and as long as it lasted."""
    async with watched() as (_, heard, stacks):
        await be_busy(stacks)
        seen_at = time.monotonic()
        keep_busy(lambda: time.monotonic() > seen_at + 0.3)
        lagged = await heard.next()
    assert lagged.seconds >= 0.3
    assert len(heard.events) == 1
    assert len(stacks.between(0.0, time.monotonic())) == 1


async def test_each_delay_is_an_event_of_its_own() -> None:
    """After a delay the watch goes on."""
    async with watched() as (_, heard, stacks):
        for _ in range(3):
            await be_busy(stacks)
            await heard.next()
    assert len(heard.events) == 3
    assert all(event.function for event in heard.events)


async def test_what_is_late_now_is_known() -> None:
    """How late the loop is can be asked while it is, from any thread."""
    async with watched() as (watch, _, _):
        keep_busy(lambda: watch.lag_seconds > 0.05)


async def test_without_a_function_of_ours_the_step_itself_is_named() -> None:
    """What a library does on its own is named too."""
    async with watched(package="nobody") as (_, heard, stacks):
        await be_busy(stacks)
        lagged = await heard.next()
    assert lagged.function.count(" > ") == 1
    assert "asyncio.base_events" not in lagged.function


async def test_a_loop_that_has_time_is_not_late() -> None:
    """Waiting is no delay, and tells nobody's name."""
    # Only a threshold that the machine cannot reach makes this certain.
    async with watched(threshold_seconds=3600.0) as (_, heard, stacks):
        for _ in range(20):
            await asyncio.sleep(0)
        assert heard.events == []
        assert stacks.between(0.0, time.monotonic()) == ()


async def test_nothing_is_left_behind() -> None:
    """When the watch ends, also by an error, its thread has ended and the loop beats no more."""
    before = threading.active_count()

    async def fail_while_watched() -> None:
        async with watched():
            assert threading.active_count() == before + 1
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await fail_while_watched()
    assert threading.active_count() == before
    # The loop of the test has no timers of ours left.
    assert not [
        each
        for each in asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        if not each.cancelled() and "LoopWatch" in repr(each)
    ]


async def test_a_listener_that_fails_does_not_end_the_watch() -> None:
    """The loop's handler hears of the fault, and the next delay is seen as before."""
    faults: list[str] = []
    heard, stacks = Heard(), SeenStacks()

    def fail_first(event: Event) -> None:
        heard(event)
        if len(heard.events) == 1:
            raise RuntimeError("The listener is broken.")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(str(context["exception"])))
    async with LoopWatch(fail_first, stacks=stacks, package=HERE):
        for _ in range(2):
            await be_busy(stacks)
            await heard.next()
    assert len(heard.events) == 2
    assert faults == ["The listener is broken."]
