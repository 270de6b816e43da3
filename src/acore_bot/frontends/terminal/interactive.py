"""The manner for people: a prompt, and answers that grow as rendered Markdown."""

import signal
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.input.defaults import create_input
from prompt_toolkit.output.defaults import create_output
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from acore_bot.contracts import Handler
from acore_bot.frontends.terminal.lines import Speaker
from acore_bot.frontends.terminal.prompt import make_session, open_history
from acore_bot.frontends.terminal.reply import EMPTY_LINE, InteractiveReply, Pace
from acore_bot.frontends.terminal.screen import Screen
from acore_bot.frontends.terminal.signals import run_until_signal

OWN_COMMANDS = (("help", "show the commands and keys"), ("quit", "leave"))
KEYS = (
    ("Enter", "send the message"),
    ("Alt-Enter", "begin a new line"),
    ("Ctrl-C", "stop the answer, or clear the line"),
    ("Ctrl-D", "leave"),
    ("//text", "send a message that begins with a slash"),
)


class Interactive:
    """Serves one person at a terminal, until they leave."""

    def __init__(
        self,
        *,
        speaker: Speaker,
        persona_name: Callable[[], str],
        commands: Sequence[tuple[str, str]],
        history_file: Path | None,
        stdin: TextIO,
        stdout: TextIO,
        pace: Pace,
        activity: Callable[[], str],
        greeting: str,
    ) -> None:
        self._greeting = greeting
        self._speaker = speaker
        self._persona_name = persona_name
        self._commands = (*commands, *OWN_COMMANDS)
        self._history_file = history_file
        self._stdin = stdin
        self._stdout = stdout
        self._pace = pace
        self._activity = activity
        self._screen = Screen(stdout)

    async def serve(self, handler: Handler) -> None:
        """Ask for messages and hand each to the handler, until the person leaves."""
        terminal = (create_input(self._stdin), create_output(self._stdout))
        history = self._open_history()
        session = make_session(self._commands, self._persona_name, history, terminal)
        if self._greeting:
            self._say(Text(self._greeting, style="dim"))
        while not self._screen.is_closed:
            try:
                text = (await session.prompt_async(set_exception_handler=False)).strip()
            except KeyboardInterrupt:
                self._say(Text("Press Ctrl-D or type /quit to leave.", style="dim"))
                continue
            except EOFError:
                return
            if text.split()[:1] == ["/quit"]:
                return
            await self._take(handler, text)

    async def _take(self, handler: Handler, text: str) -> None:
        if text == "/help":
            self._say(_help(self._commands))
        elif text:
            await self._answer(handler, text)

    async def _answer(self, handler: Handler, text: str) -> None:
        reply = InteractiveReply(self._speaker.snowflakes, self._screen, self._pace, self._activity)
        with _without_echo(self._stdin):
            try:
                await run_until_signal(signal.SIGINT, handler(self._speaker.say(text), reply))
            finally:
                reply.settle()

    def _open_history(self) -> History:
        try:
            return open_history(self._history_file)
        except OSError as error:
            reason = f"What you type is not kept: {error.filename}: {error.strerror}."
            self._say(Text(reason, style="dim"))
            return InMemoryHistory()

    def _say(self, renderable: RenderableType) -> None:
        lines = self._screen.render(renderable, self._screen.size.columns)
        self._screen.show([EMPTY_LINE, *lines, EMPTY_LINE])


def _help(commands: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, description in commands:
        table.add_row(Text(f"/{name}"), Text(description, style="dim"))
    table.add_row("")
    for key, description in KEYS:
        table.add_row(Text(key), Text(description, style="dim"))
    return table


@contextmanager
def _without_echo(stream: TextIO) -> Iterator[None]:
    """Keep what is typed during an answer out of it, for the next prompt. Ctrl-C stays a signal."""
    before = termios.tcgetattr(stream)
    quiet = termios.tcgetattr(stream)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(stream, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSANOW, before)
