"""The history in a SQLite file: what `append` has returned for survives `kill -9`.

One thread owns the one connection, for reads too. Callers queue jobs for it and wait on futures of
their own loop, so nothing blocks the loop and a cancelled caller disturbs nobody. The thread, not
the job, opens and commits transactions and answers only after the commit; so several waiting
appends can share one commit without any job knowing.

The write-ahead log with `synchronous=NORMAL` keeps every commit when the process dies; a power cut
may take the last few, never the file.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Self, TypeAlias, TypeVar, cast

from acore_bot.errors import DuplicateMessage, HistoryError, HistoryUnusable
from acore_bot.history.migrations import (
    APPLICATION_ID,
    MIGRATIONS,
    migrate,
    read_pragma,
    transaction,
)
from acore_bot.messages import Author, ConversationSummary, FinishReason, Message, Role

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

BUSY_TIMEOUT_SECONDS = 5.0
LOG_ATTEMPTS = 20

Row: TypeAlias = tuple[
    int, str, int | None, Role, str, str, str, FinishReason | None, str | None, int
]

INSERT = """
INSERT INTO messages (
    id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

RECENT = """
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at
FROM messages WHERE conversation = ? ORDER BY id DESC LIMIT ?
"""

CHAIN = """
WITH RECURSIVE line (depth, line_id, next_id) AS (
    SELECT 1, id, parent_id FROM messages WHERE id = ?1 AND ?2 > 0
    UNION ALL
    SELECT depth + 1, id, parent_id FROM line JOIN messages ON id = next_id WHERE depth < ?2
)
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at
FROM line JOIN messages ON id = line_id ORDER BY depth
"""

CONVERSATIONS = """
SELECT name, length, created_at
FROM (
    SELECT conversation AS name, count(*) AS length, max(id) AS newest_id
    FROM messages GROUP BY conversation
) JOIN messages ON id = newest_id
ORDER BY newest_id DESC
"""

Result = TypeVar("Result")
Work: TypeAlias = Callable[[sqlite3.Connection], Result]


class SQLiteHistory:
    """A `History` in one SQLite file, which other processes may use at the same time.

    Each method may also raise `HistoryError` if the disk is full or another process holds the file
    for long, and `HistoryUnusable` if the file proves to be damaged. Lone surrogates, which UTF-8
    cannot hold, are stored as U+FFFD; every other text comes back as it was.
    """

    def __init__(self, path: Path | str) -> None:
        """For `open` only, inside a running loop."""
        # Absolute, because SQLite has its own ideas about names such as ":memory:".
        self.path = Path(path).absolute()
        self._thread = _DatabaseThread(self.path)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path | str) -> AsyncIterator[Self]:
        """Open a file, making it and its folder (for the owner's eyes only) if need be.

        Leaving the block finishes what is queued and closes the file. Raises `HistoryUnusable` if
        the file cannot serve; it is left as it is then.
        """
        history = cls(path)
        history._thread.start()
        try:
            await history._thread.opened.future
            yield history
        finally:
            await history._thread.stop()

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest `limit` messages of a conversation, oldest first."""
        arguments = (_storable(conversation), max(limit, 0))
        return await self._thread.read(
            lambda connection: _to_messages(connection.execute(RECENT, arguments))
        )

    async def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Return a message and what it continues, at most `limit`, oldest first."""
        return await self._thread.read(
            lambda connection: _to_messages(connection.execute(CHAIN, (message_id, limit)))
        )

    async def append(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none, durably. Raises `DuplicateMessage`.

        If the caller is cancelled while waiting, all may have been stored, or none.
        """
        rows = [_to_row(message) for message in messages]
        if rows:
            await self._thread.write(lambda connection: _insert(connection, rows))

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a message's text. False if there is no such message."""
        arguments = (_storable(text), message_id)
        update = "UPDATE messages SET text = ? WHERE id = ?"
        edited = await self._thread.write(
            lambda connection: connection.execute(update, arguments).rowcount > 0
        )
        await self._thread.read(_empty_log)
        return edited

    async def delete(self, message_id: int) -> bool:
        """Remove a message; what continued it continues its parent. False if there is none."""
        deleted = await self._thread.write(lambda connection: _delete(connection, message_id))
        await self._thread.read(_empty_log)
        return deleted

    async def clear(self, conversation: str) -> int:
        """Remove a whole conversation. Return how many messages it had."""
        arguments = (_storable(conversation),)
        delete = "DELETE FROM messages WHERE conversation = ?"
        count = await self._thread.write(
            lambda connection: connection.execute(delete, arguments).rowcount
        )
        await self._thread.read(_empty_log)
        return count

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """List the conversations, the one with the newest message first."""
        return await self._thread.read(_summarize)

    async def check(self) -> None:
        """Read the whole file. Raises `HistoryUnusable` if any of it is damaged.

        It takes about as long as reading the file does, and other calls wait meanwhile.
        """
        finding = await self._thread.read(_find_damage)
        if finding != "ok":
            raise _damaged(self.path, finding)


class _Answer(Generic[Result]):
    """A future of the caller's loop that the thread settles, whether or not anyone still waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Result] = self._loop.create_future()

    def succeed(self, result: Result) -> None:
        self._settle(lambda: self.future.set_result(result))

    def fail(self, error: Exception) -> None:
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


class _DatabaseThread:
    """Owns the connection: opens it, does one job after the other, closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopping = False
        self.opened: _Answer[None] = _Answer()
        self._closed: _Answer[None] = _Answer()
        # A daemon, lest a disk that hangs keep the process from ending: commits are safe anyway.
        self._thread = Thread(target=self._live, name="acore-history", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued and close. If cancelled, the thread does so all the same."""
        self._stopping = True
        self._jobs.put(None)
        await self._closed.future

    async def read(self, work: Work[Result]) -> Result:
        return await self._ask(work, writes=False)

    async def write(self, work: Work[Result]) -> Result:
        return await self._ask(work, writes=True)

    async def _ask(self, work: Work[Result], *, writes: bool) -> Result:
        if self._stopping:
            raise HistoryError(f"The history {self._path} is closed.")
        answer: _Answer[Result] = _Answer()

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
            self.opened.fail(_explain(error, self._path))
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
            job.fail(_explain(error, self._path))
        else:
            tell()


def _open(path: Path) -> sqlite3.Connection:
    _make_private_file(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        # Before anything that writes: a file that is not ours must stay as it is.
        _refuse_foreign(connection, path)
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


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
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


def _insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    for row in rows:
        try:
            connection.execute(INSERT, row)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise
            raise DuplicateMessage(
                f"The message {row[0]} is stored already; nothing was stored with it."
            ) from error


def _delete(connection: sqlite3.Connection, message_id: int) -> bool:
    found = connection.execute("SELECT parent_id FROM messages WHERE id = ?", (message_id,))
    row: tuple[int | None] | None = found.fetchone()
    if row is None:
        return False
    connection.execute("UPDATE messages SET parent_id = ? WHERE parent_id = ?", (*row, message_id))
    connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))
    return True


def _empty_log(connection: sqlite3.Connection) -> None:
    # The write-ahead log would keep a copy of what was removed until it happens to be reused. If
    # another process is reading just now, this does nothing, and the next time does it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _summarize(connection: sqlite3.Connection) -> tuple[ConversationSummary, ...]:
    return tuple(
        ConversationSummary(conversation=name, messages=length, last_at=_to_time(microseconds))
        for name, length, microseconds in connection.execute(CONVERSATIONS)
    )


def _find_damage(connection: sqlite3.Connection) -> str:
    (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return str(finding)


def _to_row(message: Message) -> Row:
    return (
        message.id,
        _storable(message.conversation),
        message.parent_id,
        message.role,
        _storable(message.author.id),
        _storable(message.author.name),
        _storable(message.text),
        message.finish_reason,
        None if message.model is None else _storable(message.model),
        (message.created_at - EPOCH) // MICROSECOND,
    )


def _to_messages(newest_first: sqlite3.Cursor) -> tuple[Message, ...]:
    # A wrong parent may close a circle: each message is told once, where it was first met.
    rows = dict.fromkeys(cast("Iterable[Row]", newest_first))
    return tuple(_to_message(row) for row in reversed(rows))


def _to_message(row: Row) -> Message:
    id_, conversation, parent_id, role, author_id, author_name, text, finish_reason, model, at = row
    return Message(
        id=id_,
        conversation=conversation,
        role=role,
        author=Author(author_id, author_name),
        text=text,
        created_at=_to_time(at),
        parent_id=parent_id,
        finish_reason=finish_reason,
        model=model,
    )


def _to_time(microseconds: int) -> datetime:
    return EPOCH + microseconds * MICROSECOND


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16 two halves that belong together become the character that they spell.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _explain(error: Exception, path: Path) -> Exception:
    """Translate what SQLite or the system says; anything else is a fault of ours and stays."""
    match error:
        case sqlite3.Error():
            explained: Exception = _explain_sqlite(error, path)
        case OSError():
            explained = _unusable(path, error.strerror or "it cannot be opened")
        case OverflowError():
            explained = HistoryError("A message's id or time is beyond what the history can hold.")
        case _:
            return error
    explained.__cause__ = error
    return explained


def _explain_sqlite(error: sqlite3.Error, path: Path) -> HistoryError:
    # The lower byte is the kind of the error. Text that is no UTF-8 comes without a code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return _unusable(path, str(error))
        case sqlite3.SQLITE_FULL:
            return HistoryError(
                f"There is no room left for the history {path}; nothing of this was stored.",
                remedy="Free some space on its disk: no restart is needed.",
            )
        case sqlite3.SQLITE_BUSY:
            return HistoryError(
                f"Another process keeps the history {path} locked; nothing of this was done.",
                remedy="Stop the process that uses the file, or try again.",
            )
        case _:
            return HistoryError(f"The history {path} could not do this: {error}.")


def _damaged(path: Path, finding: str) -> HistoryUnusable:
    return HistoryUnusable(
        f"The history {path} is damaged or is no SQLite database ({finding}).",
        remedy="It was left as it is. Move it away and restore a copy, or choose another file.",
    )


def _unusable(path: Path, reason: str) -> HistoryUnusable:
    return HistoryUnusable(
        f"The history {path} cannot be opened for writing ({reason}).",
        remedy="It must be a file that the bot may write, in a folder that the bot may write.",
    )
