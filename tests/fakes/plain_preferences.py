"""Preferences kept in a dictionary, which can be told to fail."""

from acore_bot.contracts import Scope, Setting
from acore_bot.errors import HistoryError


class PlainPreferences:
    """Keeps what owners set. While `is_broken`, nothing can be stored."""

    def __init__(self, *settings: Setting) -> None:
        self.settings = {self._key(setting): setting for setting in settings}
        self.is_broken = False

    async def load(self) -> tuple[Setting, ...]:
        """Return all settings."""
        return tuple(self.settings.values())

    async def put(self, setting: Setting) -> None:
        """Store a setting."""
        self._check()
        self.settings[self._key(setting)] = setting

    async def drop(self, guild: str, scope: Scope, target: str, name: str) -> bool:
        """Remove a setting."""
        self._check()
        return self.settings.pop((guild, scope, target, name), None) is not None

    async def forget_guild(self, guild: str) -> None:
        """Remove all settings of a guild."""
        self._check()
        self.settings = {key: one for key, one in self.settings.items() if key[0] != guild}

    def _check(self) -> None:
        if self.is_broken:
            raise HistoryError("The disk is full.")

    @staticmethod
    def _key(setting: Setting) -> tuple[str, Scope, str, str]:
        return (setting.guild, setting.scope, setting.target, setting.name)
