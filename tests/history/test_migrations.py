"""What a history of an earlier version keeps, and how it is found.

That each version reaches the newest is in `tests/database/test_migrations.py`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from acore_bot.database.migrations import migrate
from acore_bot.history.migrations import HISTORY
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


def store_one(connection: sqlite3.Connection, id_: int = 1) -> None:
    """Put a message into the table of version 1."""
    connection.execute(
        "INSERT INTO messages (id, conversation, role, author_id, author_name, text, created_at)"
        " VALUES (?, 'tea', 'user', '17', 'Ada', 'Hello', 0)",
        (id_,),
    )


@pytest.mark.parametrize("version", range(1, len(HISTORY.migrations) + 1))
async def test_each_earlier_version_keeps_every_message(
    connection: sqlite3.Connection, path: Path, version: int
) -> None:
    """A history of any version that ever was opens with all that was said, and takes more."""
    migrate(connection, HISTORY.migrations[:version])
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


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("SELECT * FROM messages WHERE conversation = ? ORDER BY id DESC LIMIT 9", "conversation"),
        ("UPDATE messages SET parent_id = 1 WHERE parent_id = ?", "parent"),
    ],
)
def test_the_indexes_serve(connection: sqlite3.Connection, question: str, index: str) -> None:
    """The newest of a conversation and the children of a message are found by index."""
    migrate(connection, HISTORY.migrations)
    (step,) = connection.execute(f"EXPLAIN QUERY PLAN {question}", (1,)).fetchall()
    assert f"USING INDEX messages_by_{index}" in step[3]
