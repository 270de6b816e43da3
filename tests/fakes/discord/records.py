"""What a fake remembers: the requests that came, and that something changed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.discord.things import File


class Changes:
    """Wakes those who wait for something to become true."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def note(self) -> None:
        """Let all who wait look again."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, predicate: Callable[[], object], seconds: float) -> None:
        """Wait until something is true. Raises `AssertionError` after `seconds` of real time."""
        try:
            async with asyncio.timeout(seconds):
                while not predicate():
                    await self._next.wait()
        except TimeoutError:
            msg = f"The fake Discord waited {seconds} s in vain for {predicate}."
            raise AssertionError(msg) from None


@dataclass(eq=False)
class Request:
    """One REST request. `turn` counts those of its route from 1; `connection` tells connections
    apart. Times are the fake's clock's; `status` and `finished_at` are None while it is in flight,
    and `status` stays so if its reply was dropped."""

    time: float
    method: str
    path: str
    route: str
    turn: int
    connection: int
    ids: tuple[int, ...] = ()
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: dict[str, Any] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    status: int | None = None
    finished_at: float | None = None

    @property
    def channel_id(self) -> int | None:
        """The channel that the path names."""
        return self.ids[0] if self.ids and self.path.startswith("/channels/") else None

    @property
    def message_id(self) -> int | None:
        """The message that the path names."""
        return self.ids[1] if len(self.ids) > 1 and self.channel_id else None
