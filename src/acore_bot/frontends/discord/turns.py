"""The messages that are being answered: each but once, and none cut off when the bot stops.

Each is handled in the task in which it was heard. Told to stop, nothing new is taken; what is under
way gets a while to finish, and is cancelled after that, which its handler answers by keeping and
marking what was said. Whoever takes too long for that too is cancelled again, as nothing that it
needs will be there much longer.
"""

import asyncio
import logging

log = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000
# One cancellation ends the work, one the marking of it, and one the wait for that.
MORE_CANCELLATIONS = 2
OBEYING_SECONDS = 0.25


class SeenMessages:
    """Remembers the ids of the latest messages, so that one that comes twice is heard once: of
    `max_remembered` at least, and of twice as many at most."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        # Two generations cost a third of what an ordered memory does, for each message.
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._max_remembered = max_remembered

    def is_new(self, message_id: int) -> bool:
        """Whether this id comes for the first time; it does not from now on."""
        if message_id in self._newer or message_id in self._older:
            return False
        self._newer.add(message_id)
        if len(self._newer) >= self._max_remembered:
            self._newer, self._older = set(), self._newer
        return True


class Turns:
    """The tasks that answer messages: each is one of them from `begin` to `end`.

    Every message that anybody says passes here, so this is no context manager, which costs more.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.is_stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self) -> asyncio.Task[object]:
        """Count the current task among the turns, and return it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """Let go of a task."""
        self._tasks.discard(task)

    async def settle(self, grace_seconds: float, cancelled_seconds: float) -> None:
        """Let the turns finish, cancel those that take too long, and wait for these a while; cancel
        those again that are still there."""
        self.is_stopping = True
        await self._wait(grace_seconds)
        for seconds in (cancelled_seconds, *[OBEYING_SECONDS] * MORE_CANCELLATIONS):
            for task in self._tasks:
                task.cancel()
            await self._wait(seconds)
        if self._tasks:
            log.error("%d turns did not end when told to, and are left", len(self._tasks))

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
