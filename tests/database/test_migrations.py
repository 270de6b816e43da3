"""The steps from each earlier shape of a database to the newest."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from acore_bot.database.layout import Layout
from acore_bot.database.migrations import migrate, read_pragma, transaction
from acore_bot.history.migrations import HISTORY
from acore_bot.records.migrations import RECORDS

# Every kind of file that we keep.
LAYOUTS = [HISTORY, RECORDS]
VERSIONS = [
    pytest.param(layout, version, id=f"{layout.noun} {version}")
    for layout in LAYOUTS
    for version in range(len(layout.migrations) + 1)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "notes.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty database in autocommit mode."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def create_notes(connection: sqlite3.Connection) -> None:
    """Stand for a first version."""
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT) STRICT")
    connection.execute("CREATE INDEX notes_by_text ON notes (text)")
    connection.execute("PRAGMA application_id = 7")


def add_mood(connection: sqlite3.Connection) -> None:
    """Stand for a later version's step."""
    connection.execute("ALTER TABLE notes ADD COLUMN mood TEXT")


def fail_halfway(connection: sqlite3.Connection) -> None:
    """Change much, then fail."""
    connection.execute("DROP INDEX notes_by_text")
    connection.execute("CREATE TABLE half (done INTEGER)")
    connection.execute("DELETE FROM notes")
    connection.execute("PRAGMA application_id = 1")
    connection.execute("SELECT * FROM nowhere")


FIRST = (create_notes,)


def store_one(connection: sqlite3.Connection, id_: int = 1) -> None:
    """Put a note into the table of version 1."""
    connection.execute("INSERT INTO notes (id, text) VALUES (?, 'Hello')", (id_,))


def schema(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that describe the database."""
    found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name")
    return [sql for (sql,) in found]


@pytest.mark.parametrize(("layout", "version"), VERSIONS)
def test_each_earlier_version_reaches_the_newest(
    connection: sqlite3.Connection, layout: Layout, version: int
) -> None:
    """From any version that ever was, a database reaches the newest schema, number and mark."""
    migrate(connection, layout.migrations[:version])
    assert read_pragma(connection, "user_version") == version
    migrate(connection, layout.migrations)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh, layout.migrations)
        assert schema(connection) == schema(fresh)
    assert read_pragma(connection, "user_version") == len(layout.migrations)
    assert read_pragma(connection, "application_id") == layout.application_id


def test_each_kind_of_file_has_its_own_mark() -> None:
    """No file of ours is taken for one of another kind."""
    assert len({layout.application_id for layout in LAYOUTS}) == len(LAYOUTS)


def test_a_database_of_the_newest_version_stays_as_it_is(
    connection: sqlite3.Connection, path: Path
) -> None:
    """To migrate twice changes not a byte."""
    migrate(connection, FIRST)
    store_one(connection)
    before = path.read_bytes()
    migrate(connection, FIRST)
    assert path.read_bytes() == before


def test_a_later_step_keeps_what_is_there(connection: sqlite3.Connection) -> None:
    """A step runs on a database with rows, and they are still there."""
    migrate(connection, FIRST)
    store_one(connection)
    migrate(connection, [*FIRST, add_mood])
    assert connection.execute("SELECT text, mood FROM notes").fetchall() == [("Hello", None)]
    assert read_pragma(connection, "user_version") == 2


def test_a_failing_step_changes_nothing(connection: sqlite3.Connection) -> None:
    """A step that fails halfway leaves schema, number, mark and rows of the version before."""
    migrate(connection, FIRST)
    store_one(connection)
    before = list(connection.iterdump())
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*FIRST, fail_halfway])
    assert list(connection.iterdump()) == before
    assert read_pragma(connection, "user_version") == 1
    assert read_pragma(connection, "application_id") == 7
    assert not connection.in_transaction


def test_a_failing_step_leaves_the_steps_before_it(connection: sqlite3.Connection) -> None:
    """Of several steps, those before the failing one are done for good; those after are not."""
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*FIRST, fail_halfway, add_mood])
    assert read_pragma(connection, "user_version") == 1
    migrate(connection, [*FIRST, add_mood])
    assert read_pragma(connection, "user_version") == 2


DYING_STEP = """
import os, signal, sqlite3, sys
from acore_bot.database.migrations import migrate

def die_halfway(connection):
    connection.execute("PRAGMA cache_size = 1")  # so that half of the step reaches the disk
    connection.execute("UPDATE notes SET text = hex(randomblob(500))")
    connection.execute("DROP TABLE notes")
    os.kill(os.getpid(), signal.SIGKILL)

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
migrate(connection, [lambda _: None, die_halfway])
"""


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_step_that_dies_with_its_process_changes_nothing(
    connection: sqlite3.Connection, path: Path, journal: str
) -> None:
    """If the process is killed in the middle of a step, the version before it is whole."""
    migrate(connection, FIRST)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    for number in range(100):
        store_one(connection, number)
    before = list(connection.iterdump())
    connection.close()
    died = subprocess.run([sys.executable, "-c", DYING_STEP, path], check=False, timeout=30)
    assert died.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path, isolation_level=None)) as reopened:
        assert list(reopened.iterdump()) == before
        assert read_pragma(reopened, "user_version") == 1
        assert reopened.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_step_taken_by_another_process_is_not_taken_again(path: Path) -> None:
    """Whoever comes second to a fresh file waits for the first, and finds the step done."""
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, isolation_level=None)) as second,
    ):
        assert read_pragma(second, "user_version") == 0
        migrate(first, FIRST)
        migrate(second, FIRST)
        assert schema(first) == schema(second)


def test_a_transaction_is_undone_by_an_error(connection: sqlite3.Connection) -> None:
    """What a block did before it failed is undone, and the connection is free for the next."""
    migrate(connection, FIRST)
    store_one(connection, 1)
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.executemany("DELETE FROM notes WHERE id = ?", [(1,)]).executemany(
            "INSERT INTO notes (id) VALUES (?)", [(2,), (2,)]
        )
    with transaction(connection, "DEFERRED"):
        assert connection.execute("SELECT id FROM notes").fetchall() == [(1,)]
