"""The steps from each earlier shape of the database to the newest."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from acore_bot.history.migrations import (
    APPLICATION_ID,
    MIGRATIONS,
    migrate,
    read_pragma,
    transaction,
)
from acore_bot.history.sqlite import SQLiteHistory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "history.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty database in autocommit mode."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def schema(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that describe the database."""
    found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name")
    return [sql for (sql,) in found]


def add_mood(connection: sqlite3.Connection) -> None:
    """Stand for a later version's step."""
    connection.execute("ALTER TABLE messages ADD COLUMN mood TEXT")


def fail_halfway(connection: sqlite3.Connection) -> None:
    """Change much, then fail."""
    connection.execute("DROP INDEX messages_by_parent")
    connection.execute("CREATE TABLE half (done INTEGER)")
    connection.execute("DELETE FROM messages")
    connection.execute("PRAGMA application_id = 1")
    connection.execute("SELECT * FROM nowhere")


def store_one(connection: sqlite3.Connection, id_: int = 1) -> None:
    """Put a message into the table of version 1."""
    connection.execute(
        "INSERT INTO messages (id, conversation, role, author_id, author_name, text, created_at)"
        " VALUES (?, 'tea', 'user', '17', 'Ada', 'Hello', 0)",
        (id_,),
    )


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_each_earlier_version_reaches_the_newest(
    connection: sqlite3.Connection, version: int
) -> None:
    """From any version that ever was, the database reaches the newest schema and number."""
    migrate(connection, MIGRATIONS[:version])
    assert read_pragma(connection, "user_version") == version
    migrate(connection)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        assert schema(connection) == schema(fresh)
    assert read_pragma(connection, "user_version") == len(MIGRATIONS)
    assert read_pragma(connection, "application_id") == APPLICATION_ID


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_each_earlier_version_keeps_every_message(
    connection: sqlite3.Connection, path: Path, version: int
) -> None:
    """A history of any version that ever was opens with all that was said, and takes more."""
    migrate(connection, MIGRATIONS[:version])
    for id_ in range(1, 101):
        store_one(connection, id_)
    connection.close()
    async with SQLiteHistory.open(path) as history:
        kept = await history.recent("tea", 1000)
        assert [message.id for message in kept] == [*range(1, 101)]
        assert {(message.text, message.part_ids) for message in kept} == {("Hello", ())}
        more = structs.replace(kept[-1], id=101, part_ids=(102,))
        await history.append([more])
        assert await history.chain(102, 1) == (more,)


def test_a_database_of_the_newest_version_stays_as_it_is(
    connection: sqlite3.Connection, path: Path
) -> None:
    """To migrate twice changes not a byte."""
    migrate(connection)
    store_one(connection)
    before = path.read_bytes()
    migrate(connection)
    assert path.read_bytes() == before


def test_a_later_step_keeps_what_was_said(connection: sqlite3.Connection) -> None:
    """A step runs on a database with messages, and they are still there."""
    migrate(connection)
    store_one(connection)
    migrate(connection, [*MIGRATIONS, add_mood])
    assert connection.execute("SELECT text, mood FROM messages").fetchall() == [("Hello", None)]
    assert read_pragma(connection, "user_version") == len(MIGRATIONS) + 1


def test_a_failing_step_changes_nothing(connection: sqlite3.Connection, path: Path) -> None:
    """A step that fails halfway leaves schema, number, mark and messages of the version before."""
    migrate(connection)
    store_one(connection)
    before = list(connection.iterdump())
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*MIGRATIONS, fail_halfway])
    assert list(connection.iterdump()) == before
    assert read_pragma(connection, "user_version") == len(MIGRATIONS)
    assert read_pragma(connection, "application_id") == APPLICATION_ID
    assert not connection.in_transaction


def test_a_failing_step_leaves_the_steps_before_it(connection: sqlite3.Connection) -> None:
    """Of several steps, those before the failing one are done for good; those after are not."""
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [*MIGRATIONS, fail_halfway, add_mood])
    assert read_pragma(connection, "user_version") == len(MIGRATIONS)
    migrate(connection, [*MIGRATIONS, add_mood])
    assert read_pragma(connection, "user_version") == len(MIGRATIONS) + 1


DYING_STEP = """
import os, signal, sqlite3, sys
from acore_bot.history.migrations import MIGRATIONS, migrate

def die_halfway(connection):
    connection.execute("PRAGMA cache_size = 1")  # so that half of the step reaches the disk
    connection.execute("UPDATE messages SET text = hex(randomblob(500))")
    connection.execute("DROP TABLE messages")
    os.kill(os.getpid(), signal.SIGKILL)

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
migrate(connection, [*MIGRATIONS, die_halfway])
"""


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_step_that_dies_with_its_process_changes_nothing(
    connection: sqlite3.Connection, path: Path, journal: str
) -> None:
    """If the process is killed in the middle of a step, the version before it is whole."""
    migrate(connection)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    for number in range(100):
        store_one(connection, number)
    before = list(connection.iterdump())
    connection.close()
    died = subprocess.run([sys.executable, "-c", DYING_STEP, path], check=False, timeout=30)
    assert died.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path, isolation_level=None)) as reopened:
        assert list(reopened.iterdump()) == before
        assert read_pragma(reopened, "user_version") == len(MIGRATIONS)
        assert reopened.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_step_taken_by_another_process_is_not_taken_again(path: Path) -> None:
    """Whoever comes second to a fresh file waits for the first, and finds the step done."""
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, isolation_level=None)) as second,
    ):
        assert read_pragma(second, "user_version") == 0
        migrate(first)
        migrate(second)
        assert schema(first) == schema(second)


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("SELECT * FROM messages WHERE conversation = ? ORDER BY id DESC LIMIT 9", "conversation"),
        ("UPDATE messages SET parent_id = 1 WHERE parent_id = ?", "parent"),
    ],
)
def test_the_indexes_serve(connection: sqlite3.Connection, question: str, index: str) -> None:
    """The newest of a conversation and the children of a message are found by index."""
    migrate(connection)
    (step,) = connection.execute(f"EXPLAIN QUERY PLAN {question}", (1,)).fetchall()
    assert f"USING INDEX messages_by_{index}" in step[3]


def test_a_transaction_is_undone_by_an_error(connection: sqlite3.Connection) -> None:
    """What a block did before it failed is undone, and the connection is free for the next."""
    migrate(connection)
    store_one(connection, 1)
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.executemany("DELETE FROM messages WHERE id = ?", [(1,)]).execute(
            "INSERT INTO messages (id) VALUES (2)"
        )
    with transaction(connection, "DEFERRED"):
        assert connection.execute("SELECT id FROM messages").fetchall() == [(1,)]
