"""The shape of the database of records, and the numbered steps that lead to it."""

import sqlite3

from acore_bot.database.layout import Layout

APPLICATION_ID = 0x61637263  # "acrc"

# Days are counted as `date.toordinal` does, moments in microseconds since 1970, in UTC. Dollars are
# texts, because prices of a token have more digits than any whole number of small coins.
TABLES = (
    """
    CREATE TABLE settings (
        guild  TEXT NOT NULL,
        scope  TEXT NOT NULL,
        target TEXT NOT NULL,
        name   TEXT NOT NULL,
        value  TEXT NOT NULL,
        PRIMARY KEY (guild, scope, target, name)
    ) STRICT, WITHOUT ROWID
    """,
    # What was used, with what is reserved: so a reservation needs one look.
    """
    CREATE TABLE used (
        day     INTEGER NOT NULL,
        account TEXT NOT NULL,
        tokens  INTEGER NOT NULL,
        dollars TEXT NOT NULL,
        PRIMARY KEY (day, account)
    ) STRICT, WITHOUT ROWID
    """,
    # Its numbers are never given again, lest what is settled twice settle another.
    """
    CREATE TABLE reservations (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        day     INTEGER NOT NULL,
        tokens  INTEGER NOT NULL,
        dollars TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX reservations_by_day ON reservations (day)",
    """
    CREATE TABLE reserved (
        reservation_id INTEGER NOT NULL REFERENCES reservations ON DELETE CASCADE,
        account        TEXT NOT NULL,
        PRIMARY KEY (reservation_id, account)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE paused (author_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE answers (
        id           INTEGER PRIMARY KEY,
        asker        TEXT NOT NULL,
        question_id  INTEGER NOT NULL,
        conversation TEXT NOT NULL,
        created_at   INTEGER NOT NULL,
        record       TEXT NOT NULL  -- an AnswerRecord in JSON
    ) STRICT
    """,
    "CREATE INDEX answers_by_asker ON answers (asker)",
    "CREATE INDEX answers_by_question ON answers (question_id)",
    "CREATE INDEX answers_by_conversation ON answers (conversation, created_at)",
    """
    CREATE TABLE answer_parts (
        part_id   INTEGER PRIMARY KEY,
        answer_id INTEGER NOT NULL REFERENCES answers ON DELETE CASCADE
    ) STRICT
    """,
    "CREATE INDEX answer_parts_by_answer ON answer_parts (answer_id)",
    """
    CREATE TABLE places (
        conversation TEXT PRIMARY KEY,
        guild        TEXT NOT NULL,
        channel      TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX places_by_guild ON places (guild, channel)",
    """
    CREATE TABLE comparisons (
        message_id INTEGER PRIMARY KEY,
        guild      TEXT NOT NULL,
        asker      TEXT NOT NULL,
        a          TEXT NOT NULL,
        b          TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX comparisons_by_guild ON comparisons (guild)",
    """
    CREATE TABLE votes (
        message_id INTEGER NOT NULL REFERENCES comparisons ON DELETE CASCADE,
        voter      TEXT NOT NULL,
        verdict    TEXT NOT NULL,
        PRIMARY KEY (message_id, voter)
    ) STRICT, WITHOUT ROWID
    """,
)


def create_tables(connection: sqlite3.Connection) -> None:
    """Version 1: settings, budgets, pauses, answers, places, comparisons and votes."""
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


RECORDS = Layout(
    noun="store of records",
    application_id=APPLICATION_ID,
    migrations=(create_tables,),
    # What owners and members decided, and what was spent, must outlive a power cut too.
    synchronous="FULL",
    page_bytes=4096,
    thread_name="acore-records",
)
