"""The shape of the history's database, and the numbered steps that lead to it.

A database carries the number of its last step in `PRAGMA user_version`. Each step runs in one
transaction with the change of that number, so a crash leaves the former version whole.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

# Written into the header of our files ("acor"), so that no other program's file is taken for ours.
APPLICATION_ID = 0x61636F72

Kind: TypeAlias = Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"]
Migration: TypeAlias = Callable[[sqlite3.Connection], None]


def create_messages(connection: sqlite3.Connection) -> None:
    """Version 1: one table of messages."""
    # A parent may be older than the bot, deleted or never stored: so it is no foreign key, and a
    # chain simply ends there.
    connection.execute(
        """
        CREATE TABLE messages (
            id            INTEGER PRIMARY KEY,
            conversation  TEXT NOT NULL,
            parent_id     INTEGER,
            role          TEXT NOT NULL,
            author_id     TEXT NOT NULL,
            author_name   TEXT NOT NULL,
            text          TEXT NOT NULL,
            finish_reason TEXT,
            model         TEXT,
            created_at    INTEGER NOT NULL  -- microseconds since 1970, in UTC
        ) STRICT
        """
    )
    # Every index ends with the row's id, so this one also hands a conversation out in order.
    connection.execute("CREATE INDEX messages_by_conversation ON messages (conversation)")
    connection.execute(
        "CREATE INDEX messages_by_parent ON messages (parent_id) WHERE parent_id IS NOT NULL"
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def create_parts(connection: sqlite3.Connection) -> None:
    """Version 2: answers that took several messages to show, found by each of them."""
    # Twice, because an answer is read with its parts a thousand times before it is sought by one.
    connection.execute("ALTER TABLE messages ADD COLUMN part_ids TEXT")
    connection.execute(
        """
        CREATE TABLE parts (
            part_id    INTEGER PRIMARY KEY,
            message_id INTEGER NOT NULL
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX parts_by_message ON parts (message_id)")
    connection.execute(
        """
        CREATE TRIGGER forget_parts AFTER DELETE ON messages WHEN old.part_ids IS NOT NULL
        BEGIN DELETE FROM parts WHERE message_id = old.id; END
        """
    )


# Only ever appended to. A step must not commit, so it must not use `executescript`.
MIGRATIONS: tuple[Migration, ...] = (create_messages, create_parts)


def read_pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of a pragma that is a number."""
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


@contextmanager
def transaction(connection: sqlite3.Connection, kind: Kind = "IMMEDIATE") -> Iterator[None]:
    """Commit what the block did, or nothing of it. The connection must be in autocommit mode.

    A block that only reads is `DEFERRED`. One that writes takes its lock at once, because another
    writer could come between its reading and its writing, and no waiting would help it then.
    """
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled back already; this does nothing then.
        connection.rollback()
        raise


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Take the steps that the database lacks. Raises `sqlite3.Error`; what was done stays whole."""
    for number, migration in enumerate(migrations, start=1):
        with transaction(connection):
            # Asked inside the lock: another process may have taken this step meanwhile.
            if read_pragma(connection, "user_version") < number:
                migration(connection)
                connection.execute(f"PRAGMA user_version = {number}")
