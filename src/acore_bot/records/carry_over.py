"""What people decided since a backup was made, and what must hold after it is restored too."""

import sqlite3
from contextlib import closing
from pathlib import Path

from acore_bot.database.migrations import transaction
from acore_bot.database.opening import open_connection
from acore_bot.database.snapshot import in_words
from acore_bot.records.migrations import RECORDS


def carry_pauses_over(source: Path, target: Path) -> None:
    """Let everyone who has paused in one file of records be paused in another too, which is made if
    need be. Nobody may use the other. Raises `HistoryError`."""
    uri = f"{source.absolute().as_uri()}?mode=rw"
    with in_words(RECORDS.noun, source), closing(sqlite3.connect(uri, uri=True)) as former:
        paused = former.execute("SELECT author_id FROM paused").fetchall()
    if not paused:
        return
    with (
        in_words(RECORDS.noun, target),
        closing(open_connection(target, RECORDS)) as restored,
        transaction(restored),
    ):
        restored.executemany("INSERT OR IGNORE INTO paused VALUES (?)", paused)
