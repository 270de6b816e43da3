"""The commands that are profiled, and the tools that run beside them: processes of our own."""

import asyncio
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from acore_bot.errors import AcoreError, NotFound
from acore_bot.ops.profile import runner

SCRIPTS_ONLY = "Only Python can be profiled: a script, `python -m MODULE`, or an installed command."
WAYS = "For example: acore profile --mode cpu -- acore chat"
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_BINARY_MARK = b"\x7fELF"


class Ended(Struct, frozen=True):
    """A process that has ended: its exit code, and what it said if it was heard."""

    code: int
    said: str


def under_runner(mode: str, file: Path, seconds: int, command: Sequence[str]) -> list[str]:
    """Return the arguments that run a command while it is recorded. Raises `AcoreError` if it is no
    Python or is not there."""
    interpreter, target = _split(command)
    return [interpreter, "-P", runner.__file__, mode, str(file), str(seconds), *target]


def _split(command: Sequence[str]) -> tuple[str, list[str]]:
    """Part a command into its interpreter and a script, or `-m` and a module, with what follows."""
    first, *rest = command
    if not _PYTHON.fullmatch(Path(first).name):
        return sys.executable, [_script(first), *rest]
    # A bare name means our own, which has the tools; one on the path may not.
    interpreter = first if "/" in first else sys.executable
    if rest[:1] == ["-m"] and len(rest) > 1:
        return interpreter, rest
    if not rest or rest[0].startswith("-"):
        raise AcoreError(SCRIPTS_ONLY, remedy=WAYS)
    return interpreter, [_script(rest[0]), *rest[1:]]


def _script(name: str) -> str:
    path = name if Path(name).is_file() else installed(name)
    if path is None:
        msg = f"There is no command or script {name}."
        raise NotFound(msg, remedy=WAYS)
    with Path(path).open("rb") as file:
        if file.read(len(_BINARY_MARK)) == _BINARY_MARK:
            raise AcoreError(SCRIPTS_ONLY, remedy=WAYS)
    return path


def installed(name: str) -> str | None:
    """Return the path of a command by its name, if there is one."""
    # What stands beside this Python is not on the path if its environment is not active.
    return shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)


async def run_to_end(
    arguments: Sequence[str], *, patience_seconds: float | None = None, is_heard: bool = False
) -> Ended:
    """Run a process and return when it has ended. It speaks to the terminal itself unless it
    `is_heard`. It is ended if we are cancelled, or with a `TimeoutError` after so long."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=PIPE if is_heard else None, stderr=STDOUT if is_heard else None
    )
    try:
        async with asyncio.timeout(patience_seconds):
            said, _ = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Ended(process.returncode, (said or b"").decode(errors="replace"))


async def _end(process: Process) -> None:
    """Ask a process that still runs to end, and kill it if it takes too long."""
    with suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(runner.GRACE_SECONDS):
                    await process.communicate()
        if process.returncode is None:
            process.kill()
            await process.communicate()
