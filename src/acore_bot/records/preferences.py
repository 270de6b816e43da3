"""What owners set from inside the front end."""

from acore_bot.contracts import Scope, Setting
from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.messages import well_formed

PUT = """
INSERT INTO settings (guild, scope, target, name, value) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value
"""
DROP = "DELETE FROM settings WHERE (guild, scope, target, name) = (?, ?, ?, ?)"


class SQLitePreferences:
    """`Preferences` in a SQLite file. Every method may raise `HistoryError`."""

    def __init__(self, thread: DatabaseThread, traces: Traces) -> None:
        self._thread = thread
        self._traces = traces

    async def load(self) -> tuple[Setting, ...]:
        """Return all settings."""
        select = "SELECT guild, scope, target, name, value FROM settings"
        return await self._thread.read(
            lambda connection: tuple(Setting(*row) for row in connection.execute(select))
        )

    async def put(self, setting: Setting) -> None:
        """Store a setting in the place of a former one, durably."""
        texts = (setting.guild, setting.scope, setting.target, setting.name, setting.value)
        row = [well_formed(text) for text in texts]
        await self._thread.write(lambda connection: connection.execute(PUT, row).rowcount)

    async def drop(self, guild: str, scope: Scope, target: str, name: str) -> bool:
        """Remove a setting. False if there was none."""
        key = [well_formed(text) for text in (guild, scope, target, name)]
        return await self._thread.write(
            lambda connection: connection.execute(DROP, key).rowcount > 0
        )

    async def forget_guild(self, guild: str) -> None:
        """Remove all settings of a guild."""
        delete, key = "DELETE FROM settings WHERE guild = ?", (well_formed(guild),)
        await self._traces.remove(lambda connection: connection.execute(delete, key).rowcount)
