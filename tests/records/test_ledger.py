"""What is promised of budgets."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acore_bot.contracts import Account, Ledger, Reservation, Spent
from acore_bot.records.ledger import KEPT_DAYS
from acore_bot.records.sqlite import SQLiteRecords

TODAY = date(2026, 3, 1)
ADA, GUILD = "5/person:17", "guild:5"


@pytest.fixture
def ledger(records: SQLiteRecords) -> Ledger:
    """The budgets."""
    return records.ledger


async def take(
    ledger: Ledger, accounts: Sequence[Account], most: Spent, day: date = TODAY
) -> Reservation:
    """Reserve what is there to be had."""
    reservation = await ledger.reserve(accounts, most, day)
    assert isinstance(reservation, Reservation), reservation
    return reservation


def dollars(text: str) -> Spent:
    """Make an amount of money alone."""
    return Spent(dollars=Decimal(text))


async def test_what_is_reserved_counts_as_used_until_it_is_settled(ledger: Ledger) -> None:
    """All accounts have the most taken from them at once, and later what was really used."""
    accounts = [Account(ADA), Account(GUILD, most_tokens=1000)]
    reservation = await take(ledger, accounts, Spent(100, Decimal("0.5")))
    for name in (ADA, GUILD):
        assert await ledger.spent(name, TODAY) == Spent(100, Decimal("0.5"))
    await ledger.settle(reservation, Spent(30, Decimal("0.125")))
    for name in (ADA, GUILD):
        assert await ledger.spent(name, TODAY) == Spent(30, Decimal("0.125"))
    assert await ledger.spent("5/person:18", TODAY) == Spent()


async def test_more_may_have_been_used_than_was_reserved(ledger: Ledger) -> None:
    """Whatever a settlement says is what counts, though it passes the limit."""
    account = Account(ADA, most_tokens=100)
    await ledger.settle(await take(ledger, [account], Spent(100)), Spent(170))
    assert await ledger.spent(ADA, TODAY) == Spent(170)
    assert await ledger.reserve([account], Spent(0), TODAY) == account


@pytest.mark.parametrize(
    ("limit", "fits", "exceeds"),
    [
        (Account(ADA, most_tokens=100), Spent(40, Decimal(999)), Spent(41)),
        (Account(ADA, most_dollars=Decimal("0.3")), dollars("0.1"), dollars("0.1000000000001")),
        (Account(ADA, most_tokens=100, most_dollars=Decimal(9)), Spent(40), dollars("9.1")),
    ],
)
async def test_a_limit_may_be_reached_and_not_passed(
    ledger: Ledger, limit: Account, fits: Spent, exceeds: Spent
) -> None:
    """To the last token and the last fraction of a cent may be used, and nothing beyond."""
    await take(ledger, [Account(ADA)], Spent(60, Decimal("0.2")))
    assert await ledger.reserve([limit], exceeds, TODAY) == limit
    await take(ledger, [limit], fits)


async def test_of_several_accounts_all_are_taken_from_or_none(ledger: Ledger) -> None:
    """The first account that lacks is named, and none has changed, be it before or after it."""
    rich, poor = Account(ADA, most_tokens=1000), Account(GUILD, most_tokens=10)
    poorer = Account("third", most_tokens=1)
    assert await ledger.reserve([rich, poor, poorer], Spent(11), TODAY) == poor
    assert [await ledger.spent(name, TODAY) for name in (ADA, GUILD, "third")] == [Spent()] * 3


async def test_what_was_settled_is_settled_once(ledger: Ledger) -> None:
    """Settling again changes nothing, whatever was reserved since."""
    former = await take(ledger, [Account(ADA)], Spent(100))
    await ledger.settle(former, Spent(10))
    await ledger.settle(former, Spent(90))
    assert await ledger.spent(ADA, TODAY) == Spent(10)
    await take(ledger, [Account(ADA)], Spent(5))
    await ledger.settle(former, Spent(90))
    assert await ledger.spent(ADA, TODAY) == Spent(15)


async def test_a_number_is_never_given_again(path: Path) -> None:
    """What is settled after a restart cannot be mistaken for a later reservation."""
    async with SQLiteRecords.open(path) as records:
        former = await take(records.ledger, [Account(ADA)], Spent(100))
        await records.ledger.settle(former, Spent(10))
    async with SQLiteRecords.open(path) as records:
        later = await take(records.ledger, [Account(ADA)], Spent(5))
        assert later.id != former.id


async def test_each_day_has_its_own_account(ledger: Ledger) -> None:
    """A new day begins with nothing used; what is settled late counts on the day of its asking."""
    account = Account(ADA, most_tokens=100)
    late = await take(ledger, [account], Spent(100))
    tomorrow = TODAY + timedelta(days=1)
    await take(ledger, [account], Spent(70), tomorrow)
    await ledger.settle(late, Spent(20))
    assert await ledger.spent(ADA, TODAY) == Spent(20)
    assert await ledger.spent(ADA, tomorrow) == Spent(70)


async def test_what_is_fullest_is_told(ledger: Ledger) -> None:
    """Of all limits, the one of which the greatest part is used is told with that part; what has no
    limit is not counted."""
    limits = [
        Account("free"),
        Account(ADA, most_tokens=1000, most_dollars=Decimal(2)),
        Account(GUILD, most_tokens=400),
    ]
    first = await take(ledger, limits, Spent(100, Decimal("0.02")))
    assert (first.fullest, first.share) == (GUILD, 0.25)
    second = await take(ledger, limits, dollars("1.48"))
    assert (second.fullest, second.share) == (ADA, 0.75)


async def test_without_limits_nothing_is_full(ledger: Ledger) -> None:
    """Accounts without limits, or none at all, are no account to warn of."""
    for accounts in ([Account(ADA)], []):
        reservation = await take(ledger, accounts, Spent(100))
        assert (reservation.fullest, reservation.share) == ("", 0.0)


async def test_of_a_limit_of_nothing_nothing_is_left(ledger: Ledger) -> None:
    """Where nothing may be used, only what costs nothing is granted."""
    account = Account(ADA, most_tokens=0)
    assert await ledger.reserve([account], Spent(1), TODAY) == account
    assert (await take(ledger, [account], Spent(0))).share == 1.0


async def test_an_account_that_is_named_twice_pays_once(ledger: Ledger) -> None:
    """Two limits of one account are both looked at, and the use is counted once."""
    wide, narrow = Account(ADA, most_tokens=1000), Account(ADA, most_tokens=50)
    assert await ledger.reserve([wide, narrow], Spent(60), TODAY) == narrow
    reservation = await take(ledger, [wide, narrow], Spent(40))
    assert await ledger.spent(ADA, TODAY) == Spent(40)
    await ledger.settle(reservation, Spent(10))
    assert await ledger.spent(ADA, TODAY) == Spent(10)


async def test_s17_a_thousand_at_once_pass_no_limit(ledger: Ledger) -> None:
    """Of a thousand requests at the same moment just as many are granted as the limit allows."""
    account = Account(ADA, most_tokens=1050)
    asked = [ledger.reserve([account, Account(GUILD)], Spent(100), TODAY) for _ in range(1000)]
    answers = await asyncio.gather(*asked)
    assert sum(isinstance(answer, Reservation) for answer in answers) == 10
    assert answers.count(account) == 990
    assert await ledger.spent(ADA, TODAY) == await ledger.spent(GUILD, TODAY) == Spent(1000)


async def test_s17_two_processes_share_one_limit(path: Path) -> None:
    """Two connections to one file grant together no more than the limit."""
    account = Account(ADA, most_tokens=1000)
    async with SQLiteRecords.open(path) as one, SQLiteRecords.open(path) as other:
        asked = [
            records.ledger.reserve([account], Spent(100), TODAY)
            for _ in range(20)
            for records in (one, other)
        ]
        answers = await asyncio.gather(*asked)
    assert sum(isinstance(answer, Reservation) for answer in answers) == 10


async def test_forgetting_takes_a_person_from_all_guilds(ledger: Ledger) -> None:
    """An account goes with those that end in its name after a slash, on every day before the one
    that is named; names that are alike stay."""
    gone = ["person:1_", "5/person:1_", "6/person:1_"]
    stay = ["person:11", "5/person:11", "aperson:1_", "person:1_/5", "guild:1_"]
    days = (TODAY, TODAY + timedelta(days=1))
    for day in (*days, TODAY + timedelta(days=2)):
        await take(ledger, [Account(name) for name in gone + stay], Spent(7), day)
    await ledger.forget("person:1_", TODAY + timedelta(days=2))
    assert [day for _, day, _ in await ledger.days("person:1_")] == [TODAY + timedelta(days=2)] * 3
    for day in days:
        assert [await ledger.spent(name, day) for name in gone] == [Spent()] * 3
        assert [await ledger.spent(name, day) for name in stay] == [Spent(7)] * 5


async def test_what_is_settled_after_forgetting_changes_the_others_only(ledger: Ledger) -> None:
    """A request that was under way while its asker was forgotten brings nothing of them back, and
    takes nothing from what they use since."""
    accounts = [Account("5/person:17"), Account(GUILD)]
    former = await take(ledger, accounts, Spent(100))
    tomorrow = TODAY + timedelta(days=1)
    await ledger.forget("person:17", TODAY)  # which is about the days before
    assert await ledger.spent("5/person:17", TODAY) == Spent(100)
    await ledger.forget("person:17", tomorrow)
    await take(ledger, accounts, Spent(50))
    await ledger.settle(former, Spent(10))
    assert await ledger.spent("5/person:17", TODAY) == Spent(50)
    assert await ledger.spent(GUILD, TODAY) == Spent(60)


async def test_all_days_of_a_person_can_be_looked_at(ledger: Ledger) -> None:
    """Each account that is named so, or that ends so after a slash, is told with each day, the
    latest first; others are not."""
    tomorrow = TODAY + timedelta(days=1)
    await take(ledger, [Account("person:1"), Account("person:11"), Account(GUILD)], Spent(7))
    await take(ledger, [Account("5/person:1")], dollars("0.25"), tomorrow)
    assert await ledger.days("person:1") == (
        ("5/person:1", tomorrow, dollars("0.25")),
        ("person:1", TODAY, Spent(7)),
    )
    assert await ledger.days("person:2") == ()


async def test_old_days_are_removed(records: SQLiteRecords) -> None:
    """The first reservation of a day removes what is too old to matter, settled or not."""
    ledger = records.ledger
    for age in (KEPT_DAYS + 1, KEPT_DAYS, 1):
        day = TODAY - timedelta(days=age)
        await ledger.settle(await take(ledger, [Account(ADA)], Spent(9), day), Spent(7))
        await take(ledger, [Account(ADA)], Spent(1), day)
    await take(ledger, [Account(GUILD)], Spent(2))
    tables = ("used", "reservations", "reserved")
    counts = await records._thread.read(
        lambda connection: [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        ]
    )
    assert counts == [3, 3, 3]
    assert await ledger.spent(ADA, TODAY - timedelta(days=KEPT_DAYS)) == Spent(8)
    assert await ledger.spent(ADA, TODAY - timedelta(days=KEPT_DAYS + 1)) == Spent()


amounts = st.builds(
    Spent, st.integers(0, 60), st.decimals(0, 1, places=9, allow_nan=False, allow_infinity=False)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(amounts, st.none() | amounts), max_size=12))
async def test_the_books_are_exact(ledger: Ledger, steps: list[tuple[Spent, Spent | None]]) -> None:
    """Whatever is reserved and settled, what is used is the sum to the last digit; and what was
    granted was within the limits when it was."""
    await ledger.forget(ADA, TODAY + timedelta(days=1))
    account = Account(ADA, most_tokens=100, most_dollars=Decimal("1.5"))
    tokens, money = 0, Decimal(0)
    for most, really in steps:
        answer = await ledger.reserve([account], most, TODAY)
        fits = tokens + most.tokens <= 100 and money + most.dollars <= Decimal("1.5")
        assert isinstance(answer, Reservation) == fits
        if isinstance(answer, Reservation):
            counted = most if really is None else really
            tokens, money = tokens + counted.tokens, money + counted.dollars
            if really is not None:
                await ledger.settle(answer, really)
    assert await ledger.spent(ADA, TODAY) == Spent(tokens, money)
