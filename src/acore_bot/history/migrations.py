"""The shape of the history's database, and the numbered steps that lead to it."""

import sqlite3

from acore_bot.database.layout import Layout

APPLICATION_ID = 0x61636F72  # "acor"


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


HISTORY = Layout(
    noun="history",
    application_id=APPLICATION_ID,
    migrations=(create_messages, create_parts),
    synchronous="NORMAL",
    # A commit writes whole pages, of three trees for a message: small ones write less than half as
    # much.
    page_bytes=1024,
    thread_name="acore-history",
)
