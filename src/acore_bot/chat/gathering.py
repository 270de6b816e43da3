"""Rapid messages of one person become one turn.

People write a thought in several messages. Each waits a little while for the next one, which takes
it along; whoever is the newest when nothing more came answers them all. What arrives while that
person's last answer is still being written is taken along too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import Struct

from acore_bot.messages import IncomingMessage

MAX_GATHERED = 20

_Key: TypeAlias = tuple[str, str]


class Patience(Struct, frozen=True, kw_only=True):
    """How long a message waits for the next one, and how long the first of them waits at most, both
    in seconds. Nothing is gathered if `pause_seconds` is 0."""

    pause_seconds: float = 0.0
    longest_seconds: float = 0.0


NO_PATIENCE = Patience()


@dataclass(eq=False)
class Gathering:
    """Messages of one person that may become one turn. `since` is when the first came; `changed` is
    set, and another put in its place, whenever one of them leaves."""

    key: _Key
    since: float
    messages: list[IncomingMessage] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def awaits(self, message: IncomingMessage) -> bool:
        """Wait until a message is the newest, which happens if those after it were withdrawn. False
        if one of them took it along."""
        while message in self.messages and self.messages[-1] != message:
            await self.changed.wait()
        return message in self.messages

    def leave(self, message: IncomingMessage) -> None:
        """Go on without a message, if it is here."""
        if message in self.messages:
            self.replace([said for said in self.messages if said != message])

    def replace(self, messages: list[IncomingMessage]) -> None:
        """Go on with other messages, and let those that wait look again."""
        self.messages = messages
        self.changed.set()
        self.changed = asyncio.Event()


class Gatherings:
    """Those that are open, one at most for each person in each conversation."""

    def __init__(
        self,
        patience: Patience = NO_PATIENCE,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._open: dict[_Key, Gathering] = {}

    def be_patient(self, patience: Patience) -> None:
        """Wait as long as this from now on."""
        self._patience = patience

    def is_open_to(self, message: IncomingMessage) -> bool:
        """Tell whether a message would join others of its author."""
        if not self._open:  # as it is for nearly all that anybody says
            return False
        gathering = self._open.get((message.conversation, message.author.id))
        return gathering is not None and self._belongs(message, gathering)

    @contextmanager
    def join(self, message: IncomingMessage) -> Iterator[Gathering]:
        """Add a message to what its author says, until the block is left."""
        gathering = self._gathering_for(message)
        gathering.messages.append(message)
        try:
            yield gathering
        finally:
            # Whoever leaves without having taken the messages must not be answered by another.
            gathering.leave(message)
            if not gathering.messages:
                self._close(gathering)

    async def settle(self, gathering: Gathering, message: IncomingMessage) -> None:
        """Wait until the author seems to have said it all. A file is the end of a thought."""
        left = gathering.since + self._patience.longest_seconds - self._clock()
        pause = min(self._patience.pause_seconds, left)
        if pause > 0 and not (message.attachments or message.is_late):
            await self._sleep(pause)

    def take(self, gathering: Gathering, message: IncomingMessage) -> tuple[IncomingMessage, ...]:
        """Return what is to be answered together, in order; nothing if there is a newer message
        than this one."""
        if gathering.messages[-1:] != [message]:
            return ()
        self._close(gathering)
        together = tuple(sorted(gathering.messages, key=lambda said: said.id))
        gathering.replace([])
        return together

    def _gathering_for(self, message: IncomingMessage) -> Gathering:
        key = (message.conversation, message.author.id)
        gathering = self._open.get(key)
        if gathering is None or not self._belongs(message, gathering):
            gathering = Gathering(key, self._clock())
            if self._patience.pause_seconds > 0 and not message.is_late:
                self._open[key] = gathering
        return gathering

    def _belongs(self, message: IncomingMessage, gathering: Gathering) -> bool:
        # A reply says what it continues, which need not be what was said just before.
        is_new = message.reply_to is not None or message.is_late
        return not is_new and len(gathering.messages) < MAX_GATHERED

    def _close(self, gathering: Gathering) -> None:
        if self._open.get(gathering.key) is gathering:
            del self._open[gathering.key]
