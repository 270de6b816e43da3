"""Numbered steps that bring a database from any earlier shape to the newest.

A database carries the number of its last step in `PRAGMA user_version`. Each step runs in one
transaction with the change of that number, so a crash leaves the former version whole.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from acore_bot.database.layout import Migration

Kind: TypeAlias = Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"]


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


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Take the steps that the database lacks. Raises `sqlite3.Error`; what was done stays whole.

    A list of steps is only ever appended to. A step must not commit, so it must not use
    `executescript`.
    """
    for number, migration in enumerate(migrations, start=1):
        with transaction(connection):
            # Asked inside the lock: another process may have taken this step meanwhile.
            if read_pragma(connection, "user_version") < number:
                migration(connection)
                connection.execute(f"PRAGMA user_version = {number}")
