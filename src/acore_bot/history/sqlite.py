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

from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.errors import DuplicateMessage
from acore_bot.history.migrations import HISTORY
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

SAID_BY = """
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at, part_ids
FROM messages WHERE author_id = ? ORDER BY id DESC
"""

HOLDING = """
SELECT id, conversation, parent_id, role, author_id, author_name, text, finish_reason, model,
    created_at, part_ids
FROM messages WHERE instr(text, ?) ORDER BY id DESC
"""

# With the answers to it, and what continues those answers: the model alone said that, to them.
SAID_BY_AND_TO = """
WITH RECURSIVE erased (erased_id) AS (
    SELECT id FROM messages WHERE author_id = ?
    UNION
    SELECT id FROM erased JOIN messages ON parent_id = erased_id AND role = 'assistant'
)
SELECT erased_id FROM erased
"""

# What continues a message is to continue that one's parent.
RELINK = """
UPDATE messages SET parent_id = (SELECT parent_id FROM messages WHERE id = ?1) WHERE parent_id = ?1
"""

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

    What is removed or edited is gone from the file and its log when the call returns, but SQLite
    may have moved it before, and then copies of it stand in pages that are not in use until
    `leave_no_trace` or `erase` writes the file anew: that takes some 15 ms for each MiB, too long
    to do each time.
    """

    def __init__(self, path: Path | str) -> None:
        """For `open` only, inside a running loop."""
        # Absolute, because SQLite has its own ideas about names such as ":memory:".
        self.path = Path(path).absolute()
        self._thread = DatabaseThread(self.path, HISTORY)
        self._traces = Traces(self._thread)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path | str) -> AsyncIterator[Self]:
        """Open a file, making it and its folder (for the owner's eyes only) if need be.

        Leaving the block finishes what is queued and closes the file. Raises `HistoryUnusable` if
        the file cannot serve; it is left as it is then.
        """
        history = cls(path)
        async with history._thread.running():
            yield history

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
        return await self._traces.remove(
            lambda connection: connection.execute(update, arguments).rowcount > 0
        )

    async def delete(self, message_id: int) -> bool:
        """Remove a message; what continued it continues its parent. False if there is none."""
        return await self._traces.remove(lambda connection: _delete(connection, message_id))

    async def replace(self, message: Message) -> bool:
        """Put a message in the place of the one with its id, all of it. False if there is none."""
        row = _to_row(message)
        parts = [(part, message.id) for part in message.part_ids]
        return await self._traces.remove(lambda connection: _replace(connection, row, parts))

    async def clear(self, conversation: str) -> int:
        """Remove a whole conversation. Return how many messages it had."""
        arguments = (well_formed(conversation),)
        delete = "DELETE FROM messages WHERE conversation = ?"
        return await self._traces.remove(
            lambda connection: connection.execute(delete, arguments).rowcount
        )

    async def said_by(self, author_id: str) -> tuple[Message, ...]:
        """Return all that a person said, oldest first. It reads the whole file."""
        arguments = (well_formed(author_id),)
        return await self._thread.read(
            lambda connection: _to_messages(connection.execute(SAID_BY, arguments))
        )

    async def holding(self, words: str) -> tuple[Message, ...]:
        """Return all messages whose text holds these words, oldest first. It reads the whole
        file."""
        arguments = (well_formed(words),)
        return await self._thread.read(
            lambda connection: _to_messages(connection.execute(HOLDING, arguments))
        )

    async def erase(self, author_id: str) -> int:
        """Remove all that a person said, and the answers to it, leaving no trace of either in the
        files. Return how many messages that were.

        It writes the whole file anew, also if there was nothing to remove: a former call may have
        been broken off before that. Raises `HistoryError` if another process is reading the file
        all the while; then the messages are removed, but their traces are not.
        """
        name = well_formed(author_id)
        return await self._traces.erase(lambda connection: _erase(connection, name))

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove what was said in a conversation before a moment. Return how many that were."""
        arguments = (well_formed(conversation), (before - EPOCH) // MICROSECOND)
        delete = "DELETE FROM messages WHERE conversation = ? AND created_at < ?"
        return await self._traces.remove(
            lambda connection: connection.execute(delete, arguments).rowcount
        )

    async def leave_no_trace(self) -> None:
        """Write the whole file anew if anything was removed or edited since that was last done, or
        since nobody knows when: another process may have been killed before it could do so.

        Others wait meanwhile. Raises `HistoryError` if another process is reading the file all the
        while, or if there is no room for it; then the next call tries again.
        """
        await self._traces.clear()

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
        await self._thread.check()


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
        f"SELECT id FROM messages WHERE id = {WHOLE}",  # noqa: S608 - a constant
        (message_id,),
    )
    whole: tuple[int] | None = found.fetchone()
    if whole is None:
        return False
    _remove(connection, whole)
    return True


def _remove(connection: sqlite3.Connection, message: tuple[int]) -> None:
    connection.execute(RELINK, message)
    connection.execute("DELETE FROM messages WHERE id = ?", message)


def _replace(connection: sqlite3.Connection, row: Row, parts: Sequence[tuple[int, int]]) -> bool:
    if not connection.execute("DELETE FROM messages WHERE id = ?", row[:1]).rowcount:
        return False
    _insert(connection, [row], parts)
    return True


def _erase(connection: sqlite3.Connection, author_id: str) -> int:
    # One after the other, so that each hands its parent down to what continued it.
    erased: list[tuple[int]] = connection.execute(SAID_BY_AND_TO, (author_id,)).fetchall()
    for message in erased:
        _remove(connection, message)
    return len(erased)


def _summarize(connection: sqlite3.Connection) -> tuple[ConversationSummary, ...]:
    return tuple(
        ConversationSummary(conversation=name, messages=length, last_at=_to_time(microseconds))
        for name, length, microseconds in connection.execute(CONVERSATIONS)
    )


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
