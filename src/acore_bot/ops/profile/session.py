"""One profile from the question to its table, of a running bot or of a command."""

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from msgspec import Struct

from acore_bot.errors import AcoreError, MissingExtra, NotFound
from acore_bot.ops.profile import reading, spy, table, tasks
from acore_bot.ops.profile.caller import PATIENCE_SECONDS, reach
from acore_bot.ops.profile.command import run_to_end, under_runner
from acore_bot.ops.profile.output import created, new_file
from acore_bot.ops.profile.protocol import Request, Seen

HUNG = "The bot does not answer at its door: its loop seems to be stuck."
LOOK_FROM_OUTSIDE = "`acore profile --mode cpu` looks from outside, and shows where."
PATIENCE_WITH_A_HUNG_BOT_SECONDS = 2.0
MEMRAY_MISSING = "Profiling memory needs memray, which is not installed."


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be profiled: the bot with that `data` folder, or a command if there is one. Files
    go to `output`."""

    data: Path
    output: Path
    seconds: int
    pid: int | None = None
    command: Sequence[str] = ()
    growth: bool = False


class Profile(Struct, frozen=True):
    """What was found, in lines, and the files in which it stands."""

    text: str
    files: tuple[Path, ...] = ()


async def profile_cpu(wanted: Wanted) -> Profile:
    """Record where computing time goes. Raises `AcoreError`."""
    file = new_file(wanted.output, "cpu", ".svg")
    if wanted.command:
        await spy.spy_on_command(wanted.command, wanted.seconds, file)
    else:
        await _spy_on_bot(wanted, file)
    return _tabled(file)


async def _spy_on_bot(wanted: Wanted, file: Path) -> None:
    spy.find_spy()
    try:
        async with reach(wanted.data, wanted.pid) as bot:
            with suppress(TimeoutError):  # one that hangs can be looked at all the same
                await bot.ask(
                    Request(mode="cpu"), patience_seconds=PATIENCE_WITH_A_HUNG_BOT_SECONDS
                )
            await spy.spy_on(bot.pid, wanted.seconds, file)
    except NotFound:
        if wanted.pid is None:
            raise
        await spy.spy_on(wanted.pid, wanted.seconds, file)


async def profile_calls(wanted: Wanted) -> Profile:
    """Record every call. Raises `AcoreError`."""
    file = new_file(wanted.output, "cprofile", ".prof")
    await _record("cprofile", wanted, file)
    return _tabled(file)


async def profile_memory(wanted: Wanted) -> Profile:
    """Record every allocation. Raises `AcoreError`."""
    if importlib.util.find_spec("memray") is None:
        raise MissingExtra(MEMRAY_MISSING, remedy=spy.INSTALL)
    file = new_file(wanted.output, "memory", ".bin")
    page = file.with_suffix(".html")
    await _record("memory", wanted, file)
    with created(page):
        await _draw(file, page, growth=wanted.growth)
    found = _tabled(file, growth=wanted.growth)
    return Profile(found.text, (page, file))


async def _record(mode: Literal["cprofile", "memory"], wanted: Wanted, file: Path) -> None:
    if wanted.command:
        return await _record_command(mode, wanted, file)
    request = Request(mode=mode, seconds=wanted.seconds, file=str(file), with_objects=wanted.growth)
    try:
        async with reach(wanted.data, wanted.pid) as bot:
            await bot.ask(request)
    except TimeoutError as error:
        raise AcoreError(HUNG, remedy=LOOK_FROM_OUTSIDE) from error


async def _record_command(mode: str, wanted: Wanted, file: Path) -> None:
    how = f"{mode}-with-objects" if wanted.growth else mode
    arguments = under_runner(how, file, wanted.seconds, wanted.command)
    with created(file), suppress(TimeoutError):
        # It ends itself in time; only one that lets no other thread run is ended from here.
        await run_to_end(arguments, patience_seconds=wanted.seconds + PATIENCE_SECONDS)


async def _draw(file: Path, page: Path, *, growth: bool) -> None:
    what = ["--leaks"] if growth else []
    # Its scripts are put into the page: none is fetched from anywhere when it is opened.
    arguments = ("flamegraph", "--no-web", "--force", *what, "--output", str(page), str(file))
    ended = await run_to_end([sys.executable, "-m", "memray", *arguments], is_heard=True)
    if ended.code:
        last = (ended.said.strip().splitlines() or ["no reason told"])[-1]
        msg = f"memray drew no flame graph: {last}"
        raise AcoreError(msg, remedy=f"The recording is kept: {file}")


async def profile_tasks(wanted: Wanted) -> Profile:
    """See what each task of the bot waits for. Raises `AcoreError`."""
    try:
        async with reach(wanted.data, wanted.pid) as bot:
            reply = await bot.ask(Request(mode="tasks"))
    except TimeoutError as error:
        raise AcoreError(HUNG, remedy=LOOK_FROM_OUTSIDE) from error
    assert isinstance(reply, Seen)
    return Profile(tasks.text(reply.tasks))


def analyze(file: Path, *, growth: bool = False) -> Profile:
    """Read a recording once more. Raises `AcoreError`."""
    return Profile(table.text(reading.read(file, growth=growth)))


def _tabled(file: Path, *, growth: bool = False) -> Profile:
    return Profile(table.text(reading.read(file, growth=growth)), (file,))
