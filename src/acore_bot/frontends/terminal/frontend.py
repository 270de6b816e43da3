"""The terminal as a front end: with a prompt for a person, without for a pipe."""

import asyncio
import io
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from acore_bot.contracts import Handler
from acore_bot.frontends.terminal.interactive import Interactive
from acore_bot.frontends.terminal.lines import Speaker
from acore_bot.frontends.terminal.piped import Piped
from acore_bot.frontends.terminal.reply import Pace
from acore_bot.frontends.terminal.signals import run_until_signal
from acore_bot.messages import Author, Finding, SnowflakeSequence, printable
from acore_bot.telemetry.events import (
    Event,
    ModelLoaded,
    ModelLoading,
    TurnFailed,
    TurnFinished,
)


def _now() -> datetime:
    return datetime.now(UTC)


class Terminal:
    """Keeps the promise of a front end for one person at a terminal, or one program at a pipe.

    `persona_name` is asked at each prompt. `commands` are the core's, name and one-line
    description. A person is shown the `greeting` first. `history_file` keeps the typed lines; None
    keeps them in memory. `clock` gives the time of a message in UTC; `monotonic` and `sleep` pace
    the drawing, in seconds. The streams stay the caller's to close.
    """

    def __init__(
        self,
        *,
        conversation: str,
        author: Author,
        snowflakes: SnowflakeSequence,
        persona_name: Callable[[], str],
        commands: Sequence[tuple[str, str]] = (),
        greeting: str = "",
        history_file: Path | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._speaker = Speaker(
            conversation=conversation, author=author, snowflakes=snowflakes, clock=clock
        )
        self._persona_name = persona_name
        self._commands = tuple(commands)
        self._greeting = greeting
        self._history_file = history_file
        self._stdin = sys.stdin if stdin is None else stdin
        self._stdout = sys.stdout if stdout is None else stdout
        self._pace = Pace(monotonic=monotonic, sleep=sleep)
        self._loading: str | None = None

    def on_event(self, event: Event) -> None:
        """Listen to what happens: the spinner tells when a model is being loaded."""
        match event:
            case ModelLoading(model=model):
                self._loading = printable(model)
            case ModelLoaded() | TurnFailed() | TurnFinished():
                self._loading = None

    async def run(self, handler: Handler) -> None:
        """Serve until the person leaves, the input ends, or SIGTERM comes.

        Raises what the handler raises.
        """
        manner = self._choose_manner()
        # Whoever handles SIGTERM already will cancel us, and so must not be replaced.
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            await run_until_signal(signal.SIGTERM, manner.serve(handler))
        else:
            await manner.serve(handler)

    async def examine(self) -> tuple[Finding, ...]:
        """Find nothing: the streams are all it needs, and it has them."""
        return ()

    def _choose_manner(self) -> Piped | Interactive:
        if isinstance(self._stdout, io.TextIOWrapper):
            # Half a surrogate pair in a model's answer must not end the conversation.
            self._stdout.reconfigure(errors="replace")
        if self._stdin.isatty() and self._stdout.isatty():
            return Interactive(
                speaker=self._speaker,
                persona_name=self._persona_name,
                commands=self._commands,
                history_file=self._history_file,
                stdin=self._stdin,
                stdout=self._stdout,
                pace=self._pace,
                activity=self._describe_activity,
                greeting=printable(self._greeting),
            )
        return Piped(self._speaker, self._commands, self._stdin, self._stdout)

    def _describe_activity(self) -> str:
        return f"loading {self._loading}…" if self._loading else "thinking…"
