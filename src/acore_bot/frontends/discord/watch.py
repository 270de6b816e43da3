"""Whether we are alive: how late the event loop is, and how long the gateway has been silent.

A loop that stands still answers no heartbeat, and a gateway that went silent without closing leaves
a bot that is online but deaf. The first is told in the log; the second is closed so that it
resumes, should discord.py not have noticed by itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec import Struct

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MAX_LAG_SECONDS = 0.25
MAX_SILENT_HEARTBEATS = 2


class Silence(Struct, frozen=True):
    """How long ago a shard's last frame came, and how often one has to come, in seconds."""

    seconds: float
    heartbeat_seconds: float

    @property
    def is_too_long(self) -> bool:
        """Whether two heartbeats went unanswered."""
        return self.seconds > MAX_SILENT_HEARTBEATS * self.heartbeat_seconds


class Gateway(Protocol):
    """What is watched: the connections, by their shard ids."""

    def silences(self) -> Mapping[int, Silence]:
        """Tell how silent each open connection is."""
        ...

    async def reopen(self, shard_id: int) -> None:
        """Close a connection in such a way that it resumes."""
        ...


class Watch:
    """Looks twice a second. `clock` is monotonic seconds."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            began = self._clock()
            await self._sleep(TICK_SECONDS)
            lag_seconds = self._clock() - began - TICK_SECONDS
            if lag_seconds > MAX_LAG_SECONDS:
                # While we were late ourselves, what the gateway sent may wait to be read.
                log.warning("the event loop stood still for %.2f s", lag_seconds)
            else:
                await self._reopen_silent()

    async def _reopen_silent(self) -> None:
        for shard_id, silence in self._gateway.silences().items():
            if silence.is_too_long:
                log.warning(
                    "shard %d has been silent for %.0f s: closing it, so that it resumes",
                    shard_id,
                    silence.seconds,
                )
                await self._gateway.reopen(shard_id)
