"""What the tasks of a bot wait for."""

import asyncio
from collections.abc import AsyncIterator, Generator

from acore_bot.ops.profile.tasks import Waiting, text, waiting

SECRET = "a message of somebody's"


async def wait_long(event: asyncio.Event, said: str = SECRET) -> None:
    """Hold a message in a local variable."""
    await event.wait()


async def outer(event: asyncio.Event) -> None:
    """Stand between."""
    await wait_long(event)


async def numbers(event: asyncio.Event) -> AsyncIterator[int]:
    """Yield once there is something."""
    await wait_long(event)
    yield 1


async def count(event: asyncio.Event) -> int:
    """Await a generator."""
    total = 0
    async for number in numbers(event):
        total += number
    return total


class Wrapped:
    """Awaitable by a method of its own."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def __await__(self) -> Generator[object, None, None]:
        return wait_long(self._event).__await__()


async def await_wrapped(event: asyncio.Event) -> None:
    """Await what is no coroutine itself."""
    await Wrapped(event)


async def await_task(task: "asyncio.Task[None]") -> None:
    """Wait for somebody else."""
    await task


async def test_each_chain_leads_to_the_innermost_frame() -> None:
    """Through coroutines, generators and wrappers: who waits, in what, and at last for which other
    task; and no value of a variable is told."""
    event = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(outer(event), name="first")
        others = [
            group.create_task(count(event), name="counting"),
            group.create_task(await_wrapped(event), name="wrapped"),
            group.create_task(await_task(first), name="follower"),
        ]
        await asyncio.sleep(0)
        found = {task.name: task for task in waiting([first, *others])}
        event.set()
    chains = {
        name: [place.rpartition(":")[0] for place in one.chain] for name, one in found.items()
    }
    end = [f"{__name__}.wait_long", "asyncio.locks.Event.wait"]
    assert chains["first"] == [f"{__name__}.outer", *end]
    assert chains["counting"] == [f"{__name__}.count", f"{__name__}.numbers", *end]
    assert chains["wrapped"] == [f"{__name__}.await_wrapped", *end]
    assert found["follower"].chain[-1] == "→ task first"
    assert found["first"].coroutine == "outer"
    assert all(int(place.rpartition(":")[2]) > 0 for place in found["first"].chain)
    assert SECRET not in text(found.values())


async def test_a_task_that_has_not_begun_is_told() -> None:
    """What stands at its first line awaits nothing yet."""
    async with asyncio.TaskGroup() as group:
        (seen,) = waiting([group.create_task(outer(event := asyncio.Event()), name="new")])
        event.set()
    assert [place.rpartition(":")[0] for place in seen.chain] == [f"{__name__}.outer"]


def test_the_same_place_is_told_once_the_most_common_first() -> None:
    """A hundred readers that wait alike are one entry with a few of their names."""
    alone = Waiting("alone", "run", ("a.run:1",))
    many = [Waiting(f"reader-{number}", "read", ("a.read:2", "b.wait:3")) for number in range(100)]
    told = text([alone, *many])
    assert told.startswith("Tasks: 101, at 2 different places.")
    assert told.index("100 x read") < told.index("1 x run")
    assert told.count("b.wait:3") == 1
    assert "reader-4, …" in told
    assert "reader-5" not in told
