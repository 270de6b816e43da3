"""The history in a SQLite file: what `append` has returned for survives `kill -9`.

One thread owns the one connection, for reads too. Callers queue jobs for it and wait on futures of
their own loop, so nothing blocks the loop and a cancelled caller disturbs nobody. The thread, not
the job, opens and commits transactions and answers only after the commit; so several waiting
appends share one commit without any job knowing.

The write-ahead log with `synchronous=NORMAL` keeps every commit when the process dies; a power cut
may take the last few, never the file.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeAlias, cast

from acore_bot.errors import DuplicateMessage
from acore_bot.history.faults import damaged
from acore_bot.history.thread import DatabaseThread
from acore_bot.messages import Author, ConversationSummary, FinishReason, Message, Role, well_formed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Row: TypeAlias = tuple[
    int, str, int | None, Role, str, str, str, FinishReason | None, str | None, int, str | None
]

INSERT = """
INSERT INTO messages (
    id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at, part_ids
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# A part's id stands for the answer that it is a part of.
WHOLE = "coalesce((SELECT message_id FROM parts WHERE part_id = ?1), ?1)"

RECENT = """
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at, part_ids
FROM messages WHERE conversation = ? ORDER BY id DESC LIMIT ?
"""

CHAIN = f"""
WITH RECURSIVE line (depth, line_id, next_id) AS (
    SELECT 1, id, parent_id FROM messages WHERE id = {WHOLE} AND ?2 > 0
    UNION ALL
    SELECT depth + 1, id, parent_id FROM line JOIN messages ON id = next_id WHERE depth < ?2
)
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at, part_ids
FROM line JOIN messages ON id = line_id ORDER BY depth
"""  # noqa: S608 - a constant

CONVERSATIONS = """
SELECT name, length, created_at
FROM (
    SELECT conversation AS name, count(*) AS length, max(id) AS newest_id
    FROM messages GROUP BY conversation
) JOIN messages ON id = newest_id
ORDER BY newest_id DESC
"""


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
        self._thread = DatabaseThread(self.path)

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
        arguments = (well_formed(conversation), max(limit, 0))
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
        parts = [(part, message.id) for message in messages for part in message.part_ids]
        if rows:
            await self._thread.write(lambda connection: _insert(connection, rows, parts))

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a message's text. False if there is no such message."""
        arguments = (well_formed(text), message_id)
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
        arguments = (well_formed(conversation),)
        delete = "DELETE FROM messages WHERE conversation = ?"
        count = await self._thread.write(
            lambda connection: connection.execute(delete, arguments).rowcount
        )
        await self._thread.read(_empty_log)
        return count

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """List the conversations, the one with the newest message first."""
        return await self._thread.read(_summarize)

    def foreign_changes(self) -> int:
        """Count the appends and other changes that found that another connection, of this process
        or of another, had written to the file since the one before."""
        return self._thread.foreign_changes

    async def check(self) -> None:
        """Read the whole file. Raises `HistoryUnusable` if any of it is damaged.

        It takes about as long as reading the file does, and other calls wait meanwhile.
        """
        finding = await self._thread.read(_find_damage)
        if finding != "ok":
            raise damaged(self.path, finding)


def _insert(
    connection: sqlite3.Connection, rows: Sequence[Row], parts: Sequence[tuple[int, int]]
) -> None:
    changes = connection.total_changes
    try:
        connection.executemany(INSERT, rows)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
            raise
        refused = rows[connection.total_changes - changes]
        raise DuplicateMessage(
            f"The message {refused[0]} is stored already; nothing was stored with it."
        ) from error
    if parts:
        connection.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?)", parts)


def _delete(connection: sqlite3.Connection, message_id: int) -> bool:
    found = connection.execute(
        f"SELECT parent_id, id FROM messages WHERE id = {WHOLE}",  # noqa: S608 - a constant
        (message_id,),
    )
    row: tuple[int | None, int] | None = found.fetchone()
    if row is None:
        return False
    connection.execute("UPDATE messages SET parent_id = ? WHERE parent_id = ?", row)
    connection.execute("DELETE FROM messages WHERE id = ?", row[1:])
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
        well_formed(message.conversation),
        message.parent_id,
        message.role,
        well_formed(message.author.id),
        well_formed(message.author.name),
        well_formed(message.text),
        message.finish_reason,
        None if message.model is None else well_formed(message.model),
        (message.created_at - EPOCH) // MICROSECOND,
        " ".join(map(str, message.part_ids)) or None,
    )


def _to_messages(newest_first: sqlite3.Cursor) -> tuple[Message, ...]:
    # A wrong parent may close a circle: each message is told once, where it was first met.
    rows = dict.fromkeys(cast("Iterable[Row]", newest_first))
    return tuple(_to_message(row) for row in reversed(rows))


def _to_message(row: Row) -> Message:
    id_, conversation, parent_id, role, author_id, author_name, text, *_ = row
    *_, finish_reason, model, at, part_ids = row
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
        part_ids=tuple(map(int, part_ids.split())) if part_ids else (),
    )


def _to_time(microseconds: int) -> datetime:
    return EPOCH + microseconds * MICROSECOND
