"""How every command runs: settings first, one event loop, and errors as a line and a remedy."""

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from msgspec import Struct

from acore_bot.errors import AcoreError, ModelError
from acore_bot.messages import printable

if TYPE_CHECKING:
    import logging

    from acore_bot.config import Settings

INTERRUPTED = 130  # what shells report for SIGINT: 128 + 2

# As discord.py logs them: in addresses, in the names of limits, and in what it heard.
_TOKENS = (
    (re.compile(r"/(webhooks|interactions)/\d+/[^/ ?'\"\s]+"), r"/\1/…/…"),
    (re.compile(r"\b\d{15,}\+[^ '\"\s]+"), "…"),
    (re.compile(r"([\"']token[\"']: ?[\"'])[^\"']+"), r"\1…"),
)


class Context(Struct, frozen=True):
    """What all commands share."""

    config: Path | None
    debug: bool


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

    _log_to_stderr(debug=context.debug, is_watched=is_watched)
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


def _log_to_stderr(*, debug: bool, is_watched: bool) -> None:
    import logging

    # What a person has to know is said as an answer or an error; the log is for those who look.
    quiet = logging.WARNING if is_watched else logging.CRITICAL + 1
    handler = logging.StreamHandler()
    logging.basicConfig(
        level=logging.DEBUG if debug else quiet,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[handler],
    )
    if is_watched and not debug:
        logging.getLogger("acore_bot").setLevel(logging.INFO)
        # That it has no voice, and that it thinks itself late: neither is for an owner to mend.
        for name in ("discord.client", "discord.gateway"):
            logging.getLogger(name).setLevel(logging.ERROR)
        handler.addFilter(_without_foreign_traceback)
    handler.addFilter(_without_tokens)


def _without_foreign_traceback(record: "logging.LogRecord") -> bool:
    """Let a library's fault be a line: its inner life says nothing to an owner."""
    if not record.name.startswith("acore_bot") and record.exc_info:
        error = record.exc_info[1]
        record.msg = f"{record.getMessage()} ({type(error).__name__}: {error})"
        record.args, record.exc_info, record.exc_text = None, None, None
    return True


def _without_tokens(record: "logging.LogRecord") -> bool:
    """Cut out by what anybody could post in the bot's name."""
    import logging

    record.msg, record.args = _cut(record.getMessage()), None
    if record.exc_info:
        told = record.exc_text or logging.Formatter().formatException(record.exc_info)
        record.exc_text = _cut(told)
    return True


def _cut(text: str) -> str:
    for token, remainder in _TOKENS:
        text = token.sub(remainder, text)
    return text


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
