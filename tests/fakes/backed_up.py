"""A bot's folders with something of everything in them, to be backed up and restored."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tests.fakes.answer_records import record_of
from tests.fakes.talk import line

from acore_bot.app import restoring
from acore_bot.app.backing_up import Backup, Wanted, back_up
from acore_bot.app.towers import open_history, open_records
from acore_bot.config import Settings, load

NOW = datetime(2026, 11, 24, 2, 19, 7, tzinfo=UTC)
SALT = bytes(range(32))


class House:
    """A bot's data, its personas and its settings in folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.personas = folder / "personas"
        self.backups = folder / "backups"
        for place in (self.data, self.personas, self.backups):
            place.mkdir(mode=0o700, parents=True)
        file = folder / "acore.toml"
        file.write_text(
            f'[data]\ndirectory = "{self.data}"\n[chat]\npersonas_directory = "{self.personas}"\n'
        )
        self.settings: Settings = load(file, environ={})

    async def furnish(self) -> None:
        """Let something be said, paused, noted and logged."""
        async with open_history(self.settings) as history, open_records(self.settings) as records:
            await history.append(line(1))
            await records.answers.put(record_of(2, 1))
            await records.consents.pause("18")
        (self.data / "user_salt").write_bytes(SALT)
        (self.data / "discord_guilds.json").write_text('{"1":[5,6]}')
        (self.personas / "pirate.md").write_text("Arr.")
        (self.data / "typed_lines").mkdir()
        (self.data / "typed_lines" / "default").write_text("+secret\n")
        (self.data / "events" / "acore").mkdir(parents=True)
        (self.data / "events" / "acore" / "2026-11-23.jsonl").write_text('{"event":"x"}\n')

    def back_up(self, target: Path | None = None, **wanted: object) -> Backup:
        """Write a backup as the command does."""
        options = msgspec.convert(wanted, Wanted)
        return back_up(self.settings, target or self.backups, options, lambda: NOW)

    def restore(self, file: Path) -> restoring.Prepared:
        """Restore a backup as the command does."""
        with (
            restoring.sole_restore(self.settings),
            restoring.prepared(self.settings, file) as prepared,
        ):
            restoring.put_in_place(self.settings)
        return prepared

    def state(self) -> dict[str, object]:
        """Return all of the data that a backup is about."""
        rows: dict[str, object] = {}
        for name in ("history.sqlite3", "records.sqlite3"):
            if (self.data / name).exists():
                with closing(sqlite3.connect(self.data / name)) as connection:
                    rows[name] = list(connection.iterdump())
        for name in ("user_salt", "discord_guilds.json"):
            if (self.data / name).exists():
                rows[name] = (self.data / name).read_bytes()
        return rows
