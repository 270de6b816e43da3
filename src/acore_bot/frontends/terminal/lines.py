"""What a person types, as the handler gets it."""

import asyncio
import codecs
import io
import os
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import TextIO

from msgspec import Struct

from acore_bot.messages import (
    Author,
    IncomingCommand,
    IncomingMessage,
    Place,
    SnowflakeSequence,
)

CHUNK_BYTES = 65_536


class Speaker(Struct, frozen=True, kw_only=True):
    """The person at the terminal: turns what was typed into what the handler gets."""

    conversation: str
    author: Author
    snowflakes: SnowflakeSequence
    clock: Callable[[], datetime]

    def say(self, text: str) -> IncomingMessage | IncomingCommand:
        """Read `/name argument` as a command and all else, `//text` as `/text`, as a message."""
        if text.startswith("/") and not text.startswith("//"):
            return self._command(text[1:])
        return IncomingMessage(
            id=self.snowflakes.next(),
            conversation=self.conversation,
            author=self.author,
            text=text.removeprefix("/"),
            created_at=self.clock(),
            place=self._place,
            is_private=True,
        )

    def _command(self, text: str) -> IncomingCommand:
        name, argument = [*text.split(maxsplit=1), "", ""][:2]
        return IncomingCommand(
            conversation=self.conversation,
            author=self.author,
            name=name,
            argument=argument,
            place=self._place,
            is_private=True,
            may_manage=True,
        )

    @property
    def _place(self) -> Place:
        return Place(channel=self.conversation)


async def read_lines(stream: TextIO) -> AsyncGenerator[str, None]:
    """Yield a stream's lines, their ends included, as they come; bytes that do not decode are
    replaced. Other readers of the stream must not have begun."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        for line in stream:  # in memory: it cannot block
            yield line
        return
    decoder = codecs.getincrementaldecoder(stream.encoding or "utf-8")(errors="replace")
    pending = ""
    while chunk := await _read_chunk(descriptor):
        *lines, pending = (pending + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line + "\n"
    if pending := pending + decoder.decode(b"", final=True):
        yield pending


async def _read_chunk(descriptor: int) -> bytes:
    """Return what is there to read, empty at the end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    # A thread that waits in a read cannot be cancelled and would hold up our leaving; so the loop
    # waits, and the thread reads what is there.
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a regular file: always ready
        ready.set()
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return await asyncio.to_thread(os.read, descriptor, CHUNK_BYTES)
