"""All records in one SQLite file, beside the history's: what was told to be stored survives a power
cut too, for it is what people decided, and what was spent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.records.answers import SQLiteAnswers
from acore_bot.records.consents import SQLiteConsents
from acore_bot.records.ledger import SQLiteLedger
from acore_bot.records.migrations import RECORDS
from acore_bot.records.preferences import SQLitePreferences
from acore_bot.records.votes import SQLiteVotes


class SQLiteRecords:
    """Keeps each promise on records by the attribute of its name, all by one thread.

    Other processes may use the file at the same time. Every method may raise `HistoryError` if the
    disk is full or another process holds the file for long, and `HistoryUnusable` if the file
    proves to be damaged. Lone surrogates, which UTF-8 cannot hold, are stored as U+FFFD.
    """

    def __init__(self, path: Path | str) -> None:
        """For `open` only, inside a running loop."""
        # Absolute, because SQLite has its own ideas about names such as ":memory:".
        self.path = Path(path).absolute()
        self._thread = DatabaseThread(self.path, RECORDS)
        # One file holds all of it, so what is left in it by one is cleared for all.
        parts = (self._thread, Traces(self._thread))
        self.preferences = SQLitePreferences(*parts)
        self.ledger = SQLiteLedger(*parts)
        self.consents = SQLiteConsents(*parts)
        self.answers = SQLiteAnswers(*parts)
        self.votes = SQLiteVotes(*parts)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path | str) -> AsyncIterator[Self]:
        """Open a file, making it and its folder (for the owner's eyes only) if need be.

        Leaving the block finishes what is queued and closes the file. Raises `HistoryUnusable` if
        the file cannot serve; it is left as it is then.
        """
        records = cls(path)
        async with records._thread.running():
            yield records

    async def check(self) -> None:
        """Read the whole file. Raises `HistoryUnusable` if any of it is damaged.

        It takes about as long as reading the file does, and other calls wait meanwhile.
        """
        await self._thread.check()
