"""What all tests of records need: a file, and records in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acore_bot.records.sqlite import SQLiteRecords


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder, neither of which exists yet."""
    return tmp_path / "data" / "records.sqlite3"


@pytest.fixture
async def records(path: Path) -> AsyncIterator[SQLiteRecords]:
    """Open empty records."""
    async with SQLiteRecords.open(path) as opened:
        yield opened
