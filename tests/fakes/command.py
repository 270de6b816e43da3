"""The real command, `acore`, in processes of its own."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Self

from msgspec import Struct

# A terminal sends its signals to the session that took it.
TAKE_TERMINAL = (
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "from acore_bot.__main__ import main; main()"
)


class Done(Struct, frozen=True):
    """A command that has ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


class Command:
    """Starts `acore` in the environment and folder of the test; an async context manager that ends
    every process that still runs when it is left."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()

    async def start(
        self,
        *arguments: str | bytes,
        stdin: int = PIPE,
        stdout: int = PIPE,
        own_terminal: bool = False,
    ) -> Process:
        """Start it and leave it running. With `own_terminal`, its standard input is the terminal
        whose Ctrl-C reaches it."""
        door = ("-c", TAKE_TERMINAL) if own_terminal else ("-m", "acore_bot")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *door, *arguments),
            stdin=stdin,
            stdout=stdout,
            stderr=PIPE,
            start_new_session=own_terminal,
        )
        self._processes.append(process)
        return process

    async def run(self, *arguments: str | bytes, typed: str = "") -> Done:
        """Run it to its end, with this as its standard input."""
        return await finish(await self.start(*arguments), typed)


async def finish(process: Process, typed: str = "") -> Done:
    """Type the last of the input and wait for the end. What was read before is not told again."""
    out, err = await process.communicate(typed.encode() if process.stdin else None)
    assert process.returncode is not None
    return Done(process.returncode, (out or b"").decode(), err.decode())


def children_of(pid: int) -> set[int]:
    """Return the processes that this one started and that are still there."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name in brackets may hold anything, so the fields are counted from behind it.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(stat.parent.name))
    return found
