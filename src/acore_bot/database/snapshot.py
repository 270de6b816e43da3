"""Copies of a database that others may be writing to, and the checks of such a copy."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from acore_bot.database.faults import damaged, explain
from acore_bot.database.layout import Layout
from acore_bot.database.migrations import read_pragma
from acore_bot.database.opening import BUSY_TIMEOUT_SECONDS, open_connection, refuse_foreign

SIDE_FILES = ("-wal", "-shm", "-journal")


@contextmanager
def in_words(noun: str, path: Path) -> Iterator[None]:
    """Let what SQLite and the system say about a file come out as `HistoryError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explain(error, noun, path) from error


def copy_database(source: Path, target: Path, layout: Layout) -> int:
    """Copy a database as it is at this moment into a new file, and return its schema.

    It is written anew on the way: nothing that was removed is left in the copy. Raises
    `HistoryError`, and `HistoryUnusable` for a file that is not ours, too new or damaged.
    """
    with in_words(layout.noun, source):
        # Made here, so that it is never for others' eyes; SQLite takes an empty file.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(_connect(source)) as connection:
            refuse_foreign(connection, source, layout)
            connection.execute("VACUUM INTO ?", (str(target),))
        with closing(_connect(target)) as copy:
            return read_pragma(copy, "user_version")


def check_copy(path: Path, layout: Layout) -> None:
    """Read every page of a copy that nobody else uses, and bring it to the newest schema. Raises
    `HistoryUnusable` if it is damaged, not ours or too new."""
    with in_words(layout.noun, path):
        with closing(_connect(path)) as connection:
            refuse_foreign(connection, path, layout)
            (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if finding != "ok":
            raise damaged(layout.noun, path, finding)
        open_connection(path, layout).close()


def take_out_of_use(path: Path, layout: Layout) -> None:
    """Make sure that no process has a database open, and leave no log beside it. A damaged one is
    left as it is. Raises `HistoryError` if it is in use."""
    try:
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA busy_timeout = 1000")
            # To leave the write-ahead log takes being the only one.
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise explain(error, layout.noun, path) from None
    except sqlite3.Error:
        pass  # what is damaged is about to be replaced


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
