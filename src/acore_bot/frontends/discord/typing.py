"""Typing, shown in a channel for as long as anybody there waits for an answer to begin."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from acore_bot.frontends.discord.outbox import Outbox

RENEWAL_SECONDS = 8.0  # Discord shows it for ten
MAX_SECONDS = 300.0


@dataclass(slots=True, eq=False)
class _Stream:
    """Typing in one channel: for how many, until when at the most, and the task that shows it."""

    holders: int
    until: float
    task: asyncio.Task[None]


class TypingKeeper:
    """Shows typing once for each channel, however many wait there. `clock` is monotonic seconds."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._sleep = sleep
        self._streams: dict[int, _Stream] = {}

    @asynccontextmanager
    async def typing(self, channel_id: int) -> AsyncIterator[None]:
        """Show typing until the block is left, or for five minutes. It never fails."""
        stream = self._join(channel_id)
        try:
            yield
        finally:
            stream.holders -= 1
            if not stream.holders:
                self._streams.pop(channel_id, None)
                await _stop(stream.task)

    async def aclose(self) -> None:
        """Stop all typing. May be called more than once."""
        for stream in list(self._streams.values()):
            await _stop(stream.task)

    def _join(self, channel_id: int) -> _Stream:
        until = self._clock() + MAX_SECONDS
        stream = self._streams.get(channel_id)
        if stream is None:
            stream = _Stream(0, until, self._begin(channel_id))
            self._streams[channel_id] = stream
        elif stream.task.done():
            stream.task = self._begin(channel_id)
        stream.holders += 1
        stream.until = until
        return stream

    def _begin(self, channel_id: int) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._show(channel_id))

    async def _show(self, channel_id: int) -> None:
        while self._clock() < self._streams[channel_id].until:
            if not await self._outbox.show_typing(channel_id):
                return
            await self._sleep(RENEWAL_SECONDS)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
