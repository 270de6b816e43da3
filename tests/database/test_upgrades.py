"""Data of every earlier version, with rows in every table, opened by the program of today."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import TypeAlias

import pytest

from acore_bot.database.layout import Layout
from acore_bot.database.migrations import migrate, read_pragma
from acore_bot.errors import HistoryUnusable
from acore_bot.history.migrations import HISTORY
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.records.migrations import RECORDS
from acore_bot.records.sqlite import SQLiteRecords

Open: TypeAlias = Callable[[Path], AbstractAsyncContextManager[object]]
Rows: TypeAlias = dict[str, list[dict[str, object]]]

STORES: list[tuple[Layout, Open]] = [(HISTORY, SQLiteHistory.open), (RECORDS, SQLiteRecords.open)]
VERSIONS = [
    pytest.param(layout, opening, version, id=f"{layout.noun} {version}")
    for layout, opening in STORES
    for version in range(1, len(layout.migrations) + 1)
]
# A version that people have is never changed: what comes later is another step. The digests are of
# the statements that make each version; a new version adds one.
SHAPES = {
    "history": ("f1e2f14fdf51afcb", "4f338e6b3ed409a6"),
    "store of records": ("b9b8db566df3a9a9",),
}
ROWS = 50


def build(path: Path, layout: Layout, version: int) -> Rows:
    """Make a file as it was in a version, as the bot of then kept it, and return its rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {layout.page_bytes}")
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, layout.migrations[:version])
        fill(connection)
        return rows_of(connection)


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """Name our tables."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(name for (name,) in found)


def fill(connection: sqlite3.Connection) -> None:
    """Put rows into every table, whatever its columns are."""
    for table in tables_of(connection):
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        marks = ", ".join("?" * len(columns))
        for number in range(1, ROWS + 1):
            row = [
                number if kind == "INTEGER" else f"{name} {number} ✓"
                for _, name, kind, *_ in columns
            ]
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)


def rows_of(connection: sqlite3.Connection) -> Rows:
    """Return all rows by table, each by the names of its columns."""
    rows: Rows = {}
    for table in tables_of(connection):
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1")
        names = [name for name, *_ in found.description]
        rows[table] = [dict(zip(names, row, strict=True)) for row in found]
    return rows


def holds(after: Rows, before: Rows) -> bool:
    """Tell whether every row of before is there, in every column that it had."""
    return all(
        len(after[table]) == len(rows)
        and all(new.items() >= old.items() for new, old in zip(after[table], rows, strict=True))
        for table, rows in before.items()
    )


@pytest.mark.parametrize(("layout", "opening", "version"), VERSIONS)
async def test_data_of_each_version_keeps_every_row(
    tmp_path: Path, layout: Layout, opening: Open, version: int
) -> None:
    """What an earlier version stored opens today with every row, in the newest schema."""
    path = tmp_path / "store.sqlite3"
    before = build(path, layout, version)
    assert all(len(rows) == ROWS for rows in before.values())
    async with opening(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        assert holds(rows_of(connection), before)
        assert read_pragma(connection, "user_version") == len(layout.migrations)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("layout", [HISTORY, RECORDS], ids=lambda it: it.noun)
def test_a_version_that_people_have_is_never_changed(layout: Layout) -> None:
    """A step that was published makes the same schema for ever, else data of one version would have
    two shapes."""
    shapes = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for number in range(1, len(layout.migrations) + 1):
            migrate(connection, layout.migrations[:number])
            found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name")
            words = " ".join(word for (sql,) in found if sql for word in sql.split())
            shapes.append(hashlib.sha256(words.encode()).hexdigest()[:16])
    assert tuple(shapes) == SHAPES[layout.noun]


@pytest.mark.parametrize(("layout", "opening"), STORES, ids=lambda it: getattr(it, "noun", ""))
async def test_data_of_a_newer_version_is_refused(
    tmp_path: Path, layout: Layout, opening: Open
) -> None:
    """The sentence names both schemas and the way out, and not a byte changes."""
    path = tmp_path / "store.sqlite3"
    newest = len(layout.migrations)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, (*layout.migrations, lambda _: None))
        fill(connection)
    before = path.read_bytes()
    with pytest.raises(HistoryUnusable) as refused:
        async with opening(path):
            pass
    assert "was written by a newer version of acore-bot" in refused.value.sentence
    assert (
        f"its schema is {newest + 1}, this version knows up to {newest}" in refused.value.sentence
    )
    assert "Install that version again" in refused.value.remedy
    assert path.read_bytes() == before


# Kills a migration before each of its statements in turn, until one gets through.
KILLED_MIGRATIONS = """
import os, shutil, signal, sqlite3, sys
from contextlib import closing
from pathlib import Path
from acore_bot.database.migrations import migrate, read_pragma
from acore_bot.history.migrations import HISTORY
from acore_bot.records.migrations import RECORDS
from tests.database.test_upgrades import build, holds, rows_of

folder, noun, version = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
layout = {it.noun: it for it in (HISTORY, RECORDS)}[noun]
before = build(folder / "template", layout, version)
found = set()
for kill_at in range(1, 500):
    path = folder / f"try-{kill_at}"
    shutil.copyfile(folder / "template", path)
    child = os.fork()
    if child == 0:
        count = 0
        def count_down(statement):
            global count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA cache_size = 1")  # so that half of a step reaches the disk
        connection.set_trace_callback(count_down)
        migrate(connection, layout.migrations)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert holds(rows_of(connection), before)
        found.add(read_pragma(connection, "user_version"))
        migrate(connection, layout.migrations)  # as the next start does
        assert holds(rows_of(connection), before)
    if status == 0:
        break
print(kill_at, *sorted(found))
"""


@pytest.mark.parametrize("version", range(1, len(HISTORY.migrations)))
def test_a_kill_amid_an_upgrade_leaves_the_old_or_the_new(tmp_path: Path, version: int) -> None:
    """Before whichever statement the process is killed, the file is whole, in one version or the
    other, with every row; and the next start brings it to the newest."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_MIGRATIONS, tmp_path, HISTORY.noun, str(version)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, *found = map(int, done.stdout.split())
    assert count > 5
    assert found == [*range(version, len(HISTORY.migrations) + 1)]
