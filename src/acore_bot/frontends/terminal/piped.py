"""The manner for pipes: reads one message a line and writes final answers as plain text."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TextIO

from acore_bot.contracts import Handler
from acore_bot.errors import FileUnreadable
from acore_bot.frontends.terminal.lines import Speaker, read_lines
from acore_bot.frontends.terminal.only_place import OnlyPlace
from acore_bot.messages import Attachment, Control, SnowflakeSequence, printable


class Piped:
    """Serves one line after the other. Ends with the input, at `/quit`, or when nobody reads."""

    def __init__(
        self,
        speaker: Speaker,
        commands: Sequence[tuple[str, str]],
        stdin: TextIO,
        stdout: TextIO,
    ) -> None:
        self._speaker = speaker
        self._commands = commands
        self._stdin = stdin
        self._writer = Writer(stdout)

    async def serve(self, handler: Handler) -> None:
        """Hand each line to the handler and wait for its answer."""
        async with aclosing(read_lines(self._stdin)) as lines:
            async for line in lines:
                text = line.strip()
                if text.split()[:1] == ["/quit"]:
                    return
                if text:
                    await self._answer(handler, text)
                if self._writer.is_closed:
                    return

    async def _answer(self, handler: Handler, text: str) -> None:
        if text == "/help":
            self._writer.write("\n".join(f"/{name}  {what}" for name, what in self._commands))
            return
        reply = PipedReply(self._speaker.snowflakes, self._writer)
        try:
            await handler(self._speaker.say(text), reply)
        finally:
            reply.settle()


class Writer:
    """Writes whole texts, each followed by a newline, until nobody reads any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_closed = False

    def write(self, text: str) -> None:
        """Write a text without control characters, and a newline."""
        if self.is_closed:
            return
        try:
            self._stream.write(printable(text) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self.is_closed = True
            self._divert()

    def _divert(self) -> None:
        # What is left in the stream's buffer would raise once more when the process ends.
        with suppress(OSError), open(os.devnull, "wb") as devnull:  # noqa: PTH123
            os.dup2(devnull.fileno(), self._stream.fileno())


class PipedReply(OnlyPlace):
    """A reply target that shows a text once it is final."""

    max_length = None

    def __init__(self, snowflakes: SnowflakeSequence, writer: Writer) -> None:
        self._snowflakes = snowflakes
        self._writer = writer
        self._unfinished: dict[int, str] = {}

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Show nothing: a program reads this."""
        yield

    async def post(
        self,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> int:
        """Take a new message, write it if it is final, and return its id."""
        message_id = self._snowflakes.next()
        await self.edit(message_id, text, final=final)
        return message_id

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return at once: nothing is shown before it is final."""

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> None:
        """Take a message's newer text and write it if it is final."""
        self._unfinished[message_id] = text
        if final:
            self._writer.write(self._unfinished.pop(message_id))

    async def attach(
        self,
        text: str,
        file_name: str,  # noqa: ARG002
        content: str,
        *,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> int:
        """Write a new message with what the file would hold: a pipe has room for it."""
        return await self.post(f"{text}\n\n{content}", final=True)

    async def fetch(self, attachment: Attachment) -> bytes:
        """Raise `FileUnreadable`: nothing is attached to a line."""
        raise FileUnreadable(f"{attachment.name} cannot be fetched from a pipe.")

    def settle(self) -> None:
        """Write what was never made final, for no message may vanish in silence."""
        while self._unfinished:
            self._writer.write(self._unfinished.pop(next(iter(self._unfinished))))
