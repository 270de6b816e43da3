"""What was used of the budgets.

A reservation counts as used from the moment it is stored: the sums hold it already, so that to look
is to read one row an account, and a process that dies changes nothing about it. To settle it puts
what was really used in its place.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from acore_bot.contracts import Account, Reservation, Spent
from acore_bot.database.thread import DatabaseThread
from acore_bot.database.traces import Traces
from acore_bot.messages import well_formed

KEPT_DAYS = 40

Use: TypeAlias = tuple[Account, Spent]

USED = "SELECT tokens, dollars FROM used WHERE (day, account) = (?, ?)"
SET_USED = "INSERT OR REPLACE INTO used (day, account, tokens, dollars) VALUES (?, ?, ?, ?)"
RESERVE = "INSERT INTO reservations (day, tokens, dollars) VALUES (?, ?, ?)"
# Whoever is forgotten is no longer among a reservation's accounts.
RESERVED = """
SELECT account, day, tokens, dollars
FROM reserved JOIN reservations ON id = reservation_id WHERE id = ?
"""
# The account itself, or the same in some guild: `person:1` is not `person:11`, nor `aperson:1`.
IS_NAMED_SO = "(account = ?1 OR substr(account, -length(?1) - 1) = '/' || ?1)"

DAYS = f"""
SELECT account, day, tokens, dollars FROM used WHERE {IS_NAMED_SO} ORDER BY day DESC, account
"""  # noqa: S608 - a constant
FORGET = (
    f"DELETE FROM used WHERE {IS_NAMED_SO} AND day < ?2",  # noqa: S608 - a constant
    f"""
    DELETE FROM reserved WHERE {IS_NAMED_SO}
        AND reservation_id IN (SELECT id FROM reservations WHERE day < ?2)
    """,  # noqa: S608 - a constant
)


class SQLiteLedger:
    """A `Ledger` in a SQLite file. Every method may raise `HistoryError`."""

    def __init__(self, thread: DatabaseThread, traces: Traces) -> None:
        self._thread = thread
        self._traces = traces

    async def reserve(
        self, accounts: Sequence[Account], most: Spent, day: date
    ) -> Reservation | Account:
        """Take the most that a request may use from all accounts, durably, or from none: then
        return the first account that has not so much left."""
        number = day.toordinal()
        return await self._thread.write(
            lambda connection: _reserve(connection, accounts, most, number)
        )

    async def settle(self, reservation: Reservation, spent: Spent) -> None:
        """Put what was really used in the place of a reservation, once."""
        await self._thread.write(lambda connection: _settle(connection, reservation.id, spent))

    async def spent(self, account: str, day: date) -> Spent:
        """Return what was used, with what is reserved."""
        name, number = well_formed(account), day.toordinal()
        return await self._thread.read(lambda connection: _used(connection, name, number))

    async def days(self, account: str) -> tuple[tuple[str, date, Spent], ...]:
        """Return what was used by accounts that are named so, or that end so after a slash: name,
        day and use, the latest day first."""
        name = (well_formed(account),)
        return await self._thread.read(lambda connection: _days(connection, name))

    async def forget(self, account: str, before: date) -> None:
        """Remove all that is known of accounts that are named so, or that end so after a slash,
        from before a day, without a trace in the files."""
        key = (well_formed(account), before.toordinal())
        await self._traces.erase(lambda connection: _forget(connection, key))


def _reserve(
    connection: sqlite3.Connection, accounts: Sequence[Account], most: Spent, day: int
) -> Reservation | Account:
    uses: list[Use] = []
    for account in accounts:
        name = well_formed(account.name)
        use = _sum(_used(connection, name, day), most)
        if _exceeds(use, account):
            return account
        uses.append((account, use))
    _remove_old(connection, day)
    id_ = _insert(connection, uses, most, day)
    fullest, share = max(_shares(uses), key=lambda each: each[1], default=("", 0.0))
    return Reservation(id=id_, fullest=fullest, share=share)


def _insert(connection: sqlite3.Connection, uses: Sequence[Use], most: Spent, day: int) -> int:
    id_ = connection.execute(RESERVE, (day, most.tokens, str(most.dollars))).lastrowid
    assert id_ is not None  # an insert that did not raise has made a row
    for account, use in uses:
        name = well_formed(account.name)
        _set_used(connection, name, day, use)
        connection.execute("INSERT OR IGNORE INTO reserved VALUES (?, ?)", (id_, name))
    return id_


def _settle(connection: sqlite3.Connection, id_: int, spent: Spent) -> None:
    for name, day, tokens, dollars in connection.execute(RESERVED, (id_,)).fetchall():
        used = _used(connection, name, day)
        difference = Spent(spent.tokens - tokens, spent.dollars - Decimal(dollars))
        _set_used(connection, name, day, _sum(used, difference))
    connection.execute("DELETE FROM reservations WHERE id = ?", (id_,))


def _days(connection: sqlite3.Connection, name: tuple[str]) -> tuple[tuple[str, date, Spent], ...]:
    return tuple(
        (account, date.fromordinal(day), Spent(tokens, Decimal(dollars)))
        for account, day, tokens, dollars in connection.execute(DAYS, name)
    )


def _forget(connection: sqlite3.Connection, key: tuple[str, int]) -> int:
    return sum(connection.execute(delete, key).rowcount for delete in FORGET)


def _remove_old(connection: sqlite3.Connection, day: int) -> None:
    # Once a day, by the first who reserves.
    if connection.execute("SELECT 1 FROM used WHERE day = ? LIMIT 1", (day,)).fetchone() is None:
        for table in ("used", "reservations"):
            connection.execute(f"DELETE FROM {table} WHERE day < ?", (day - KEPT_DAYS,))  # noqa: S608


def _used(connection: sqlite3.Connection, name: str, day: int) -> Spent:
    row: tuple[int, str] | None = connection.execute(USED, (day, name)).fetchone()
    return Spent() if row is None else Spent(row[0], Decimal(row[1]))


def _set_used(connection: sqlite3.Connection, name: str, day: int, used: Spent) -> None:
    connection.execute(SET_USED, (day, name, used.tokens, str(used.dollars)))


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(one.tokens + other.tokens, one.dollars + other.dollars)


def _exceeds(use: Spent, account: Account) -> bool:
    return (account.most_tokens is not None and use.tokens > account.most_tokens) or (
        account.most_dollars is not None and use.dollars > account.most_dollars
    )


def _shares(uses: Sequence[Use]) -> Iterator[tuple[str, float]]:
    for account, use in uses:
        if account.most_tokens is not None:
            yield account.name, _share(use.tokens, account.most_tokens)
        if account.most_dollars is not None:
            yield account.name, _share(use.dollars, account.most_dollars)


def _share(used: Decimal | int, most: Decimal | int) -> float:
    return float(used / most) if most else 1.0  # of a limit of nothing, nothing is left
