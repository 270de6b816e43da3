"""How every command runs: settings first, one event loop, and errors as a line and a remedy."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from msgspec import Struct

from acore_bot.errors import AcoreError, ModelError
from acore_bot.messages import printable

if TYPE_CHECKING:
    from acore_bot.config import Settings

INTERRUPTED = 130  # what shells report for SIGINT: 128 + 2


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class Context(Struct, frozen=True):
    """What all commands share."""

    config: Path | None
    debug: bool
    log_format: LogFormat = LogFormat.TEXT


def run(
    context: Context,
    command: "Callable[[Settings], Awaitable[int | None]]",
    flags: Mapping[str, object] = {},
    *,
    is_watched: bool = False,
) -> NoReturn:
    """Run a command to its end and leave with its exit code, 0 if it gives none.

    `flags` are settings by dotted key, from the command line; None among them was not given. What
    happens is logged if the command `is_watched`, as one that serves for days is.
    """
    import asyncio

    from acore_bot import config
    from acore_bot.cli.logs import log_to_stderr

    log_to_stderr(debug=context.debug, is_watched=is_watched, log_format=context.log_format)
    try:
        settings = config.load(context.config, flags)
        code = asyncio.run(_awaited(command(settings)))
    except AcoreError as error:
        if context.debug:
            if isinstance(error, ModelError) and error.detail:
                error.add_note(f"The server said: {printable(error.detail)}")
            raise
        _complain(error)
        raise typer.Exit(error.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(1) from None
    except Exception as error:
        if context.debug:
            raise
        # A fault of ours: the person needs a way to report it, not a page of code.
        _say(f"acore: something unexpected went wrong: {type(error).__name__}: {error}")
        _say("  Run the same command as `acore --debug …` to see where.")
        raise typer.Exit(1) from None
    raise typer.Exit(code or 0)


async def _awaited(work: Awaitable[int | None]) -> int | None:
    return await work


def _complain(error: AcoreError) -> None:
    _say(f"acore: {error.sentence}")
    if error.remedy:
        _say(f"  {error.remedy}")
    if isinstance(error, ModelError) and error.detail:
        _say("  `acore --debug` shows what the server said.")


def _say(line: str) -> None:
    typer.echo(printable(line), err=True)


def _forget_stdout() -> None:
    # The reader has left; Python would complain once more when it flushes at its end.
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
