"""From a path to a connection that can be relied on, or to a sentence that says why not."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from acore_bot.database.layout import Layout
from acore_bot.database.migrations import migrate, read_pragma, transaction
from acore_bot.errors import HistoryUnusable

BUSY_TIMEOUT_SECONDS = 5.0
LOG_ATTEMPTS = 20
LOG_BYTES = 4 * 2**20


def open_connection(path: Path, layout: Layout) -> sqlite3.Connection:
    """Open a file of this layout, in its newest shape, for this thread alone; make it, and its
    folder, for the owner's eyes only if need be.

    Raises `HistoryUnusable`, `sqlite3.Error` or `OSError`. A file that is not ours stays as it is.
    """
    _make_private_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        # Before anything that writes: a file that is not ours must stay as it is.
        refuse_foreign(connection, path, layout)
        _configure(connection, layout)
        migrate(connection, layout.migrations)
        _try_to_write(connection, layout)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only a new file is opened here: closing an existing one would drop the locks that another
    # connection of this process holds on it. SQLite gives its log and its index the same mode.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def refuse_foreign(connection: sqlite3.Connection, path: Path, layout: Layout) -> None:
    """Raise `HistoryUnusable` for a file of another program or of a newer version of ours."""
    # One moment's view: another process may be making the file just now.
    with transaction(connection, "DEFERRED"):
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        application_id = read_pragma(connection, "application_id")
        version = read_pragma(connection, "user_version")
    if application_id != layout.application_id and (tables or application_id or version):
        raise HistoryUnusable(
            f"The file {path} belongs to another program.",
            remedy=f"It was left as it is. Choose another file for the {layout.noun}.",
        )
    newest = len(layout.migrations)
    if version > newest:
        raise HistoryUnusable(
            f"The {layout.noun} {path} was written by a newer version of acore-bot "
            f"(its schema is {version}, this version knows up to {newest}).",
            remedy="It was left as it is. Install that version again, or choose another file.",
        )


def _try_to_write(connection: sqlite3.Connection, layout: Layout) -> None:
    # SQLite quietly opens a file that it may only read, and grants any lock on it: only a write
    # tells. It is undone, so nothing reaches the disk.
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {len(layout.migrations)}")
    finally:
        connection.rollback()


def _configure(connection: sqlite3.Connection, layout: Layout) -> None:
    connection.execute(f"PRAGMA page_size = {layout.page_bytes}")  # only a new file takes it
    _use_write_ahead_log(connection)
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // layout.page_bytes}")
    connection.execute(f"PRAGMA synchronous = {layout.synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    for _ in range(LOG_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            # Alone of all statements this one does not wait for another process that is making
            # the same file, so the waiting is done by an empty transaction.
            with transaction(connection, "EXCLUSIVE"):
                pass
        else:
            return
