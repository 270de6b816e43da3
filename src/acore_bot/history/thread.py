"""The one thread that owns the database's connection: opens it, does jobs in order, closes it."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeAlias, TypeVar

from acore_bot.errors import HistoryError, HistoryUnusable
from acore_bot.history.faults import explain
from acore_bot.history.migrations import (
    APPLICATION_ID,
    MIGRATIONS,
    migrate,
    read_pragma,
    transaction,
)

BUSY_TIMEOUT_SECONDS = 5.0
LOG_ATTEMPTS = 20

Result = TypeVar("Result")
Work: TypeAlias = Callable[[sqlite3.Connection], Result]


class Answer(Generic[Result]):
    """A future of the caller's loop that the thread settles, whether or not anyone still waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Result] = self._loop.create_future()

    def succeed(self, result: Result) -> None:
        """Settle it with a result."""
        self._settle(lambda: self.future.set_result(result))

    def fail(self, error: Exception) -> None:
        """Settle it with an error."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        def settle_unless_cancelled() -> None:
            if not self.future.done():
                settle()

        # The loop may be closed by now; then nobody waits, and the thread must still go on.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle_unless_cancelled)


@dataclass(frozen=True, slots=True)
class _Job:
    """`run` does the work and returns what tells its result, to be called after the commit."""

    run: Work[Callable[[], None]]
    fail: Callable[[Exception], None]
    writes: bool


class DatabaseThread:
    """Owns the connection: opens it, does one job after the other, closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopping = False
        self.opened: Answer[None] = Answer()
        self._closed: Answer[None] = Answer()
        # A daemon, lest a disk that hangs keep the process from ending: commits are safe anyway.
        self._thread = Thread(target=self._live, name="acore-history", daemon=True)

    def start(self) -> None:
        """Begin to open the file; `opened` tells how that went."""
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued and close. If cancelled, the thread does so all the same."""
        self._stopping = True
        self._jobs.put(None)
        await self._closed.future

    async def read(self, work: Work[Result]) -> Result:
        """Do work that changes nothing and return its result. Raises `HistoryError`."""
        return await self._ask(work, writes=False)

    async def write(self, work: Work[Result]) -> Result:
        """Do work in a transaction; return its result after the commit. Raises `HistoryError`."""
        return await self._ask(work, writes=True)

    async def _ask(self, work: Work[Result], *, writes: bool) -> Result:
        if self._stopping:
            raise HistoryError(f"The history {self._path} is closed.")
        answer: Answer[Result] = Answer()

        def run(connection: sqlite3.Connection) -> Callable[[], None]:
            return partial(answer.succeed, work(connection))

        self._jobs.put(_Job(run, answer.fail, writes))
        return await answer.future

    def _live(self) -> None:
        try:
            with closing(_open(self._path)) as connection:
                self.opened.succeed(None)
                self._serve(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, `open` must not wait forever
            self.opened.fail(explain(error, self._path))
        finally:
            self._closed.succeed(None)

    def _serve(self, connection: sqlite3.Connection) -> None:
        while (job := self._jobs.get()) is not None:
            self._perform(connection, job)

    def _perform(self, connection: sqlite3.Connection, job: _Job) -> None:
        try:
            with transaction(connection) if job.writes else nullcontext():
                tell = job.run(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, its caller must not wait forever
            job.fail(explain(error, self._path))
        else:
            tell()


def _open(path: Path) -> sqlite3.Connection:
    _make_private_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        # Before anything that writes: a file that is not ours must stay as it is.
        refuse_foreign(connection, path)
        _configure(connection)
        migrate(connection)
        _try_to_write(connection)
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


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `HistoryUnusable` for a file of another program or of a newer version of ours."""
    # One moment's view: another process may be making the file just now.
    with transaction(connection, "DEFERRED"):
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        application_id = read_pragma(connection, "application_id")
        version = read_pragma(connection, "user_version")
    if application_id != APPLICATION_ID and (tables or application_id or version):
        raise HistoryUnusable(
            f"The file {path} belongs to another program.",
            remedy="It was left as it is. Choose another file for the history.",
        )
    if version > len(MIGRATIONS):
        raise HistoryUnusable(
            f"The history {path} was written by a newer version of acore-bot "
            f"(its schema is {version}, this version knows up to {len(MIGRATIONS)}).",
            remedy="It was left as it is. Install that version again, or choose another file.",
        )


def _try_to_write(connection: sqlite3.Connection) -> None:
    # SQLite quietly opens a file that it may only read, and grants any lock on it: only a write
    # tells. It is undone, so nothing reaches the disk.
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    finally:
        connection.rollback()


def _configure(connection: sqlite3.Connection) -> None:
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
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
