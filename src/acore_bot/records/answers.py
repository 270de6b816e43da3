"""What is known of shown answers, and where the conversations are in which they were given."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import structs

from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.messages import AnswerRecord, Place, Quote, well_formed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

INSERT = """
INSERT INTO answers (id, asker, question_id, conversation, created_at, record)
VALUES (?, ?, ?, ?, ?, ?)
"""
FIND = """
SELECT record FROM answers
WHERE id = coalesce((SELECT answer_id FROM answer_parts WHERE part_id = ?1), ?1)
"""
SET_PLACE = "INSERT OR REPLACE INTO places (conversation, guild, channel) VALUES (?, ?, ?)"
# Records that name somebody, in whatever field.
QUOTING = "SELECT record FROM answers WHERE instr(record, ?)"
SET_RECORD = "UPDATE answers SET record = ? WHERE id = ?"
# A conversation that a person has alone in a channel bears their id, after a slash.
FORGET_OWN = "DELETE FROM places WHERE substr(conversation, -length(?1) - 1) = '/' || ?1"
# A private chat bears an id that is theirs as well.
FORGET_PRIVATE = """
DELETE FROM places
WHERE guild = '' AND conversation IN (SELECT conversation FROM answers WHERE asker = ?)
"""


class SQLiteAnswers:
    """`Answers` in a SQLite file. Every method may raise `HistoryError`."""

    def __init__(self, thread: DatabaseThread, traces: Traces) -> None:
        self._thread = thread
        self._traces = traces

    async def put(self, record: AnswerRecord) -> None:
        """Store a record in the place of a former one of the same id."""
        kept, text = _encode(record)
        await self._thread.write(lambda connection: _put(connection, kept, text))

    async def find(self, message_id: int) -> AnswerRecord | None:
        """Return the record of the answer that a message is, or is a part of."""
        found = await self._select(FIND, (message_id,))
        return found[0] if found else None

    async def to_question(self, question_id: int) -> tuple[AnswerRecord, ...]:
        """Return the records of the answers to a message, oldest first."""
        select = "SELECT record FROM answers WHERE question_id = ? ORDER BY id"
        return await self._select(select, (question_id,))

    async def of(self, author_id: str) -> tuple[AnswerRecord, ...]:
        """Return the records of all answers that a person asked for, oldest first."""
        select = "SELECT record FROM answers WHERE asker = ? ORDER BY id"
        return await self._select(select, (well_formed(author_id),))

    async def delete(self, answer_id: int) -> bool:
        """Remove a record. False if there was none."""
        delete = "DELETE FROM answers WHERE id = ?"
        return (
            await self._traces.remove(lambda connection: _count(connection, delete, answer_id)) > 0
        )

    async def erase(self, author_id: str) -> int:
        """Remove all records of a person, where the conversations are that they had alone, and what
        others' questions quote of them, leaving no trace in the files. Return how many records were
        removed.

        It writes the whole file anew, also if there was nothing to remove: a former call may have
        been broken off before that. Raises `HistoryError` if another process is reading the file
        all the while; then the records are removed, but their traces are not.
        """
        name = well_formed(author_id)
        return await self._traces.erase(lambda connection: _erase(connection, name))

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove the records of a conversation from before a moment. Return how many."""
        name, moment = well_formed(conversation), (before - EPOCH) // MICROSECOND
        delete = "DELETE FROM answers WHERE conversation = ? AND created_at < ?"
        return await self._traces.remove(
            lambda connection: _count(connection, delete, name, moment)
        )

    async def places(self) -> Mapping[str, Place]:
        """Tell where each known conversation is."""
        select = "SELECT conversation, guild, channel FROM places"
        return await self._thread.read(
            lambda connection: {name: Place(*place) for name, *place in connection.execute(select)}
        )

    async def forget_conversation(self, conversation: str) -> None:
        """Remove the records of a conversation, and where it was."""
        name = well_formed(conversation)
        await self._traces.remove(lambda connection: _forget_conversation(connection, name))

    async def leave_no_trace(self) -> None:
        """Write the whole file anew if anything was removed since that was last done, or since
        nobody knows when: another process may have been killed before it could do so."""
        await self._traces.clear()

    async def _select(self, select: str, key: tuple[int | str]) -> tuple[AnswerRecord, ...]:
        return await self._thread.read(lambda connection: _decode(connection.execute(select, key)))


def _put(connection: sqlite3.Connection, record: AnswerRecord, text: str) -> None:
    # Its parts go with the former one.
    _count(connection, "DELETE FROM answers WHERE id = ?", record.id)
    at = (record.created_at - EPOCH) // MICROSECOND
    row = (record.id, record.asker, record.question_id, record.conversation, at, text)
    connection.execute(INSERT, row)
    parts = [(part, record.id) for part in record.part_ids]
    connection.executemany("INSERT OR REPLACE INTO answer_parts VALUES (?, ?)", parts)
    place = (record.conversation, record.place.guild, record.place.channel)
    connection.execute(SET_PLACE, place)


def _erase(connection: sqlite3.Connection, name: str) -> int:
    connection.execute(FORGET_OWN, (name,))
    connection.execute(FORGET_PRIVATE, (name,))
    count = _count(connection, "DELETE FROM answers WHERE asker = ?", name)
    _unquote(connection, name)
    return count


def _unquote(connection: sqlite3.Connection, name: str) -> None:
    """Take a person's words out of the questions of others that quote them."""
    found = connection.execute(QUOTING, (msgspec.json.encode(name).decode(),)).fetchall()
    for record in _decode(found):
        if (question := record.question) is not None:
            quotes = tuple(_unreadable(quote, name) for quote in question.quotes)
            left = structs.replace(record, question=structs.replace(question, quotes=quotes))
            connection.execute(SET_RECORD, (msgspec.json.encode(left).decode(), record.id))


def _unreadable(quote: Quote, name: str) -> Quote:
    is_theirs = quote.author is not None and quote.author.id == name
    return Quote(kind=quote.kind, text="") if is_theirs else quote


def _forget_conversation(connection: sqlite3.Connection, name: str) -> int:
    places = _count(connection, "DELETE FROM places WHERE conversation = ?", name)
    return places + _count(connection, "DELETE FROM answers WHERE conversation = ?", name)


def _count(connection: sqlite3.Connection, delete: str, *key: int | str) -> int:
    return connection.execute(delete, key).rowcount


def _encode(record: AnswerRecord) -> tuple[AnswerRecord, str]:
    """Return a record as it will be read again, and its JSON."""
    try:
        return record, msgspec.json.encode(record).decode()
    except UnicodeEncodeError:
        # Somebody typed half a character. Python's own JSON leaves it in the text, to be mended.
        text = well_formed(json.dumps(msgspec.to_builtins(record), ensure_ascii=False))
        return msgspec.json.decode(text, type=AnswerRecord), text


def _decode(rows: Iterable[tuple[str]]) -> tuple[AnswerRecord, ...]:
    return tuple(msgspec.json.decode(text, type=AnswerRecord) for (text,) in rows)
