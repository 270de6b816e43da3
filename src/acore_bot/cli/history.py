"""`acore history`: see, take along or remove what was said."""

import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import typer

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.errors import NotFound
from acore_bot.history.json_import import (
    ImportReport,
    OnProgress,
    SetAside,
    import_folder,
    unwatched,
)
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
            typer.echo("Nothing was removed. With --yes it is, without a question.", err=True)
            return 1
        count = await history.clear(name)
    async with app.open_records(settings) as records:
        await records.answers.forget_conversation(name)
    app.forget_typed_lines(settings, name)
    typer.echo(f"Forgotten: {count:,} message{'' if count == 1 else 's'} of {printable(name)}.")
    return 0


async def import_files(settings: Settings, folder: Path, *, as_json: bool) -> int:
    """Store what a folder of JSON files holds and say what became of it. Return 0 only if nothing
    was set aside. Raises `NotFound`."""
    async with app.open_history(settings) as history:
        with _progress_bar("importing…") as on_progress:
            report = await import_folder(history, folder, on_progress)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _print_report(report)
    return 1 if report.set_aside else 0


@contextmanager
def _progress_bar(text: str) -> Iterator[OnProgress]:
    if not sys.stderr.isatty():
        yield unwatched
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print_report(report: ImportReport) -> None:
    typer.echo(
        f"Imported: {_count(report.messages, 'message')}; {report.already:,} were there already; "
        f"{_count(report.files, 'file')}, {_count(report.conversations, 'conversation')}, "
        "each named discord:CHANNEL."
    )
    if report.system:
        typer.echo(
            f"Left out: {_count(report.system, 'system prompt')}, for the persona says that now."
        )
    for item in report.set_aside:
        typer.echo(f"Set aside: {printable(_where(item))}: {printable(item.reason)}.", err=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _where(item: SetAside) -> str:
    return item.file if item.index is None else f"{item.file}, element {item.index}"


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
