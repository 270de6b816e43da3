"""What is removed from a store, and the traces that this may leave in its file."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from acore_bot.database.thread import DatabaseThread

Count = TypeVar("Count", int, bool)


class Traces:
    """Removes things from one file, and remembers whether copies of any may still stand there: at
    first nobody knows, for another process may have been killed before it could clear them."""

    def __init__(self, thread: DatabaseThread) -> None:
        self._thread = thread
        self._may_be_left = True
        self._clearing = asyncio.Lock()

    async def remove(self, work: Callable[[sqlite3.Connection], Count]) -> Count:
        """Do work that returns how much it removed or overwrote, and leave none of that in the
        log. Raises `HistoryError`."""
        try:
            count = await self._thread.write(work)
        except BaseException:  # who is cancelled does not know
            self._may_be_left = True
            raise
        if count:
            self._may_be_left = True
            await self._thread.empty_log()
        return count

    async def erase(self, work: Callable[[sqlite3.Connection], Count]) -> Count:
        """Do work that removes or overwrites things, and write the whole file anew, also if there
        was nothing to remove: a former call may have been broken off before that. What is erased
        meanwhile shares the writing. Raises `HistoryError` as `remove` and `clear` do."""
        # Noted before it is asked: the thread does things in order, so whoever has the file written
        # anew afterwards has this removed before it.
        self._may_be_left = True
        count = await self._thread.write(work)
        await self.clear()
        return count

    async def clear(self) -> None:
        """Write the whole file anew if there may be any. Raises `HistoryError` as the thread does;
        then the next call tries again."""
        async with self._clearing:
            if not self._may_be_left:
                return
            self._may_be_left = False  # what is removed meanwhile may leave some
            try:
                await self._thread.leave_no_trace()
            except BaseException:
                self._may_be_left = True
                raise
