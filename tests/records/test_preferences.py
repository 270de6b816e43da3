"""What is promised of settings."""

from acore_bot.contracts import Preferences, Setting
from acore_bot.records.sqlite import SQLiteRecords

PERSONA = Setting("guild", "channel", "5", "persona", '"tutor"')
# Each differs from the first in one part of its name.
ALIKE = (
    Setting("other", "channel", "5", "persona", "1"),
    Setting("guild", "role", "5", "persona", "2"),
    Setting("guild", "channel", "6", "persona", "3"),
    Setting("guild", "channel", "5", "model", "4"),
)


async def stored(preferences: Preferences) -> set[Setting]:
    """Return all settings, without an order."""
    return {*await preferences.load()}


async def test_there_are_none_at_first(records: SQLiteRecords) -> None:
    """A new file has no settings, and to remove one is no fault."""
    assert await records.preferences.load() == ()
    assert await records.preferences.drop("guild", "channel", "5", "persona") is False


async def test_a_setting_takes_the_place_of_its_former_value(records: SQLiteRecords) -> None:
    """The same name in the same place has one value, the last; all others are untouched."""
    preferences: Preferences = records.preferences
    for setting in (PERSONA, *ALIKE):
        await preferences.put(setting)
    assert await stored(preferences) == {PERSONA, *ALIKE}
    changed = Setting("guild", "channel", "5", "persona", '"acore"')
    await preferences.put(changed)
    assert await stored(preferences) == {changed, *ALIKE}


async def test_a_setting_is_dropped_alone(records: SQLiteRecords) -> None:
    """To remove a setting says whether it was there, and leaves those whose names are alike."""
    for setting in (PERSONA, *ALIKE):
        await records.preferences.put(setting)
    assert await records.preferences.drop("guild", "channel", "5", "persona") is True
    assert await records.preferences.drop("guild", "channel", "5", "persona") is False
    assert await stored(records.preferences) == {*ALIKE}


async def test_a_guild_is_forgotten_alone(records: SQLiteRecords) -> None:
    """All settings of a guild go, of whatever scope; other guilds keep theirs."""
    for setting in (PERSONA, *ALIKE):
        await records.preferences.put(setting)
    await records.preferences.forget_guild("guild")
    assert await records.preferences.load() == ALIKE[:1]


async def test_no_text_is_refused(records: SQLiteRecords) -> None:
    """Half a character that somebody typed is kept as U+FFFD."""
    await records.preferences.put(Setting("guild", "channel", "5", "model", "a\ud800"))
    assert await records.preferences.load() == (
        Setting("guild", "channel", "5", "model", "a\ufffd"),
    )
