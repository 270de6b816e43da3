"""Recording within the bot's own process, on its loop, while it goes on working."""

import asyncio
import cProfile
import ctypes
import importlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from acore_bot.errors import AcoreError, MissingExtra
from acore_bot.ops.profile.output import created
from acore_bot.ops.profile.tasks import OWN_TASKS

if TYPE_CHECKING:
    import memray

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

INSTALL = "Install it beside the bot: pip install 'acore-bot[profile]'"
_PR_SET_PTRACER = 0x59616D61


async def record_calls(file: Path, seconds: float, sleep: Sleep) -> None:
    """Record every call on this thread into a new file, in the format of `cProfile`. Raises
    `AcoreError`."""
    profile = cProfile.Profile()
    with created(file):
        with _sole_profiler():
            profile.enable()
        try:
            await sleep(seconds)
        finally:
            profile.disable()
        await asyncio.to_thread(profile.dump_stats, file)


async def record_allocations(
    file: Path, seconds: float, sleep: Sleep, *, with_objects: bool
) -> None:
    """Record every allocation of this process into a new file, in the format of memray. Raises
    `AcoreError`."""
    await asyncio.to_thread(_load_memray)
    stack = ExitStack()
    with created(file):
        try:
            # From another thread: of the one that starts it, memray takes frames for left that
            # still run, since a coroutine leaves its frames each time it waits.
            with _sole_profiler():
                tracker = _tracker(file, with_objects=with_objects)
                await _finish_in_thread(stack.enter_context, tracker)
            await sleep(seconds)
        finally:
            await _finish_in_thread(stack.close)


async def _finish_in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Do work in a thread, and return only when it is done, also if cancelled meanwhile."""
    working = asyncio.create_task(asyncio.to_thread(work, *arguments), name=OWN_TASKS)
    try:
        await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


def _load_memray() -> None:
    try:
        importlib.import_module("memray")
    except ModuleNotFoundError as error:
        msg = "Recording memory needs memray, which is not installed."
        raise MissingExtra(msg, remedy=INSTALL) from error


def _tracker(file: Path, *, with_objects: bool) -> "memray.Tracker":
    import memray  # noqa: PLC0415 -- an extra, and slow to load

    # A compressed file would be a new one, with other rights.
    destination = memray.FileDestination(file, overwrite=True, compress_on_exit=False)
    return memray.Tracker(destination=destination, trace_python_allocators=with_objects)


@contextmanager
def _sole_profiler() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        msg = "Another profiler is at work in the bot."
        raise AcoreError(msg, remedy="Let it end first.") from error


@contextmanager
def open_to(tracer: int) -> Iterator[None]:
    """Let a process, and those it starts, look into this one: kernels with Yama ask for that."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PTRACER, tracer, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_PTRACER, 0, 0, 0, 0)
