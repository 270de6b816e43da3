"""What people said of answers whose models they did not know."""

import sqlite3
from collections.abc import Mapping

from acore_bot.contracts import Comparison, Score, Verdict
from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.messages import well_formed

# Who asked is not kept; the column stays, because files of former versions name them there.
OPEN = "INSERT INTO comparisons (message_id, guild, asker, a, b) VALUES (?, ?, '', ?, ?)"
FIND = "SELECT message_id, guild, a, b FROM comparisons WHERE message_id = ?"
FORMER = "SELECT 1 FROM votes WHERE (message_id, voter) = (?, ?)"
CAST = "INSERT OR REPLACE INTO votes (message_id, voter, verdict) VALUES (?, ?, ?)"
# A tie is half a win to both; of equal shares, the better tried one stands first.
SCORES = """
WITH marks (model, mark) AS (
    SELECT a, CASE verdict WHEN 'a' THEN 1.0 WHEN 'tie' THEN 0.5 ELSE 0.0 END
    FROM comparisons JOIN votes USING (message_id) WHERE guild = ?1
    UNION ALL
    SELECT b, CASE verdict WHEN 'b' THEN 1.0 WHEN 'tie' THEN 0.5 ELSE 0.0 END
    FROM comparisons JOIN votes USING (message_id) WHERE guild = ?1
)
SELECT model, sum(mark = 1.0), sum(mark = 0.5), sum(mark = 0.0)
FROM marks GROUP BY model ORDER BY avg(mark) DESC, count(*) DESC, model
"""


class SQLiteVotes:
    """`Votes` in a SQLite file. Every method may raise `HistoryError`."""

    def __init__(self, thread: DatabaseThread, traces: Traces) -> None:
        self._thread = thread
        self._traces = traces

    async def open(self, comparison: Comparison) -> None:
        """Store a comparison."""
        texts = (comparison.guild, comparison.a, comparison.b)
        row = (comparison.message_id, *map(well_formed, texts))
        await self._thread.write(lambda connection: connection.execute(OPEN, row).rowcount)

    async def cast(
        self, message_id: int, voter: str, verdict: Verdict
    ) -> tuple[Comparison, bool] | None:
        """Store a person's vote in the place of a former one. Return the comparison, and whether
        it is this person's first in it; None if there is no such comparison."""
        name = well_formed(voter)
        return await self._thread.write(
            lambda connection: _cast(connection, message_id, name, verdict)
        )

    async def scores(self, guild: str) -> tuple[Score, ...]:
        """Return how each model did in a guild, the best first. Who has no votes is left out."""
        key = (well_formed(guild),)
        return await self._thread.read(
            lambda connection: tuple(Score(*row) for row in connection.execute(SCORES, key))
        )

    async def of(self, author_id: str) -> Mapping[int, Verdict]:
        """Return all votes of a person, by the messages under which they were cast."""
        select = "SELECT message_id, verdict FROM votes WHERE voter = ? ORDER BY message_id"
        key = (well_formed(author_id),)
        return await self._thread.read(lambda connection: dict(connection.execute(select, key)))

    async def erase(self, author_id: str) -> None:
        """Remove a person's votes, without a trace in the files."""
        name = (well_formed(author_id),)
        await self._traces.erase(lambda connection: _erase(connection, name))

    async def forget_guild(self, guild: str) -> None:
        """Remove all of a guild."""
        delete, key = "DELETE FROM comparisons WHERE guild = ?", (well_formed(guild),)
        await self._traces.remove(lambda connection: connection.execute(delete, key).rowcount)


def _cast(
    connection: sqlite3.Connection, message_id: int, voter: str, verdict: Verdict
) -> tuple[Comparison, bool] | None:
    row: tuple[int, str, str, str] | None
    if (row := connection.execute(FIND, (message_id,)).fetchone()) is None:
        return None
    is_first = connection.execute(FORMER, (message_id, voter)).fetchone() is None
    connection.execute(CAST, (message_id, voter, verdict))
    _, guild, a, b = row
    return Comparison(message_id=message_id, guild=guild, a=a, b=b), is_first


def _erase(connection: sqlite3.Connection, name: tuple[str]) -> int:
    connection.execute("UPDATE comparisons SET asker = '' WHERE asker = ?", name)
    return connection.execute("DELETE FROM votes WHERE voter = ?", name).rowcount
