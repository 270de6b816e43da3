"""Who asked the bot not to take in what they say."""

from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.messages import well_formed


class SQLiteConsents:
    """`Consents` in a SQLite file. Every method may raise `HistoryError`."""

    def __init__(self, thread: DatabaseThread, traces: Traces) -> None:
        self._thread = thread
        self._traces = traces

    async def paused(self) -> frozenset[str]:
        """Return the ids of those who asked so."""
        select = "SELECT author_id FROM paused"
        return await self._thread.read(
            lambda connection: frozenset(author_id for (author_id,) in connection.execute(select))
        )

    async def pause(self, author_id: str) -> None:
        """Note, durably, that a person wants it so."""
        insert, row = "INSERT OR IGNORE INTO paused VALUES (?)", (well_formed(author_id),)
        await self._thread.write(lambda connection: connection.execute(insert, row).rowcount)

    async def resume(self, author_id: str) -> None:
        """Note that they do not any more."""
        delete, row = "DELETE FROM paused WHERE author_id = ?", (well_formed(author_id),)
        await self._traces.remove(lambda connection: connection.execute(delete, row).rowcount)
