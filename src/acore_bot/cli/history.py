"""`acore history`: see, take along or remove what was said."""

import sys
from collections.abc import Awaitable

import msgspec
import typer

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.errors import NotFound
from acore_bot.messages import Message, printable

ALL = 2**62  # more messages than there will be


async def list_conversations(settings: Settings) -> None:
    """Print a line for each conversation, the latest first."""
    async with app.open_history(settings) as history:
        summaries = await history.conversations()
    if not summaries:
        typer.echo("Nothing was said yet. Begin with: acore chat")
    width = max((len(summary.conversation) for summary in summaries), default=0)
    for summary in summaries:
        time = summary.last_at.astimezone().strftime("%Y-%m-%d %H:%M")
        count = f"{summary.messages:,} message{'' if summary.messages == 1 else 's'}"
        typer.echo(f"{printable(summary.conversation):<{width}}  {time}  {count}")


async def show(settings: Settings, name: str, last: int) -> None:
    """Print the last messages of a conversation. Raises `NotFound`."""
    for message in await _messages(settings, name, last):
        time = message.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        speaker = typer.style(printable(message.author.name), bold=True)
        typer.echo(f"{speaker}  {time}{_mark(message)}\n{printable(message.text)}\n")


async def export(settings: Settings, name: str) -> None:
    """Print a conversation as JSON lines. Raises `NotFound`."""
    for message in await _messages(settings, name, ALL):
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.flush()


def forget(settings: Settings, name: str, *, is_confirmed: bool) -> Awaitable[int]:
    """Remove a conversation once that is confirmed. Raises `NotFound`."""
    # Asked before the loop runs, which would keep Ctrl-C from ending the question.
    return _forget(settings, name, is_confirmed=is_confirmed or _is_confirmed(name))


async def _forget(settings: Settings, name: str, *, is_confirmed: bool) -> int:
    async with app.open_history(settings) as history:
        if not await history.recent(name, 1):
            raise _not_found(name)
        if not is_confirmed:
            typer.echo("Nothing was removed.", err=True)
            return 1
        count = await history.clear(name)
    typer.echo(f"Forgotten: {count:,} message{'' if count == 1 else 's'} of {printable(name)}.")
    return 0


def _is_confirmed(name: str) -> bool:
    # Without a person to ask, nothing is removed by accident.
    question = f"Remove everything that was said in {printable(name)!r}, for good?"
    return sys.stdin.isatty() and typer.confirm(question)


async def _messages(settings: Settings, name: str, limit: int) -> tuple[Message, ...]:
    async with app.open_history(settings) as history:
        if messages := await history.recent(name, limit):
            return messages
    raise _not_found(name)


def _not_found(name: str) -> NotFound:
    msg = f"There is no conversation named {name[:80]!r}."
    return NotFound(msg, remedy="`acore history list` names them.")


def _mark(message: Message) -> str:
    is_whole = message.finish_reason in {None, "stop", "tool_calls"}
    return "" if is_whole else f"  [{message.finish_reason}]"
