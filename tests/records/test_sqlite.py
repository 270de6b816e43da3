"""The file of all records: what it survives, what it refuses, and what it leaves on the disk."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs

from acore_bot.contracts import Account, Comparison, Reservation, Setting, Spent
from acore_bot.errors import HistoryError, HistoryUnusable
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import AnswerRecord, Author, Host, IncomingMessage, Place, Receipt
from acore_bot.records.migrations import RECORDS
from acore_bot.records.sqlite import SQLiteRecords

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)
SETTING = Setting("guild", "channel", "5", "persona", '"tutor"')
RECORD = AnswerRecord(
    id=2,
    asker="17",
    question_id=1,
    conversation="discord:5",
    place=Place("guild", "5"),
    created_at=NOON,
    receipt=Receipt(
        model="scripted/echo",
        persona="acore",
        host=Host("this machine", is_local=True),
        finish_reason="stop",
        total_seconds=1.5,
    ),
)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def mode_of(path: Path) -> int:
    """Return the permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


async def put_something(records: SQLiteRecords) -> Reservation | Account:
    """Write to each of the tables."""
    await records.preferences.put(SETTING)
    await records.consents.pause("17")
    await records.answers.put(RECORD)
    comparison = Comparison(message_id=9, guild="guild", a="x/1", b="y/2")
    await records.votes.open(comparison)
    await records.votes.cast(9, "17", "tie")
    spent = Spent(10, Decimal("0.0000015"))
    return await records.ledger.reserve([Account("person:17")], spent, DAY)


async def test_all_is_there_when_opened_again(path: Path) -> None:
    """Records that were closed and opened again have everything; a reservation can be settled."""
    async with SQLiteRecords.open(path) as records:
        reservation = await put_something(records)
    async with SQLiteRecords.open(str(path)) as records:
        assert records.path == path
        assert await records.preferences.load() == (SETTING,)
        assert await records.consents.paused() == {"17"}
        assert await records.answers.find(2) == RECORD
        assert [score.ties for score in await records.votes.scores("guild")] == [1, 1]
        assert await records.ledger.spent("person:17", DAY) == Spent(10, Decimal("0.0000015"))
        assert isinstance(reservation, Reservation)
        await records.ledger.settle(reservation, Spent(1))
        assert await records.ledger.spent("person:17", DAY) == Spent(1)


async def test_p6_what_it_makes_is_for_the_owner_only(path: Path) -> None:
    """The folder has mode 0700; the file, its log and its index have 0600, whatever the umask."""
    former = os.umask(0)
    try:
        async with SQLiteRecords.open(path) as records:
            await put_something(records)
            modes = {name: mode_of(path.with_name(name)) for name in snapshot(path.parent)}
    finally:
        os.umask(former)
    name = "records.sqlite3"
    assert modes == {name: 0o600, f"{name}-wal": 0o600, f"{name}-shm": 0o600}
    assert mode_of(path.parent) == 0o700
    assert [*snapshot(path.parent)] == [name]


async def test_a_commit_reaches_the_disk_itself(records: SQLiteRecords) -> None:
    """Each commit is synchronized, so that a power cut takes nothing that was decided or spent; and
    what is removed is overwritten."""
    settings = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    values = await records._thread.read(
        lambda connection: [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings]
    )
    assert values == ["wal", 2, 1, 1]


async def open_and_close(opened: AbstractAsyncContextManager[object]) -> None:
    """Enter a block and leave it."""
    async with opened:
        pass


def make_a_history(path: Path) -> None:
    """Put our own history in its place."""
    asyncio.run(open_and_close(SQLiteHistory.open(path)))


def make_a_newer_one(path: Path) -> None:
    """Give the records a version that does not exist yet."""
    asyncio.run(open_and_close(SQLiteRecords.open(path)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(RECORDS.migrations) + 1}")


def make_nonsense(path: Path) -> None:
    """Put no database in its place."""
    path.parent.mkdir()
    path.write_bytes(b'{"not": "SQL"}' * 99)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_a_history, "another program"),
        (make_a_newer_one, "store of records .* newer version"),
        (make_nonsense, "store of records .* damaged"),
    ],
)
def test_what_is_no_file_of_records_is_named_and_left_alone(
    path: Path, make: Callable[[Path], None], words: str
) -> None:
    """What is not ours to use, our own history included, is refused; not a byte changes."""
    make(path)
    before = snapshot(path.parent)
    with pytest.raises(HistoryUnusable, match=words) as raised:
        asyncio.run(open_and_close(SQLiteRecords.open(path)))
    assert str(path) in raised.value.sentence
    assert snapshot(path.parent) == before


async def test_closed_records_say_so(path: Path) -> None:
    """After the block, every call raises with the file's name instead of waiting forever."""
    async with SQLiteRecords.open(path) as records:
        pass
    with pytest.raises(HistoryError, match=r"store of records .*is closed"):
        await records.preferences.load()


async def test_a_full_disk_fails_whole_and_heals(records: SQLiteRecords) -> None:
    """On a full disk a record fails whole and says so; reading works; with room all is well."""

    def bound(connection: sqlite3.Connection, most: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}").fetchone()

    await records._thread.read(lambda connection: bound(connection, 1))
    long = structs.replace(RECORD, part_ids=(3, 4), receipt=with_remark("x" * 99_999))
    with pytest.raises(HistoryError, match="no room left for the store of records"):
        await records.answers.put(long)
    assert await records.answers.find(3) is None
    assert await records.answers.places() == {}
    await records._thread.read(lambda connection: bound(connection, 100_000))
    await records.answers.put(long)
    assert await records.answers.find(3) == long


def with_remark(remark: str) -> Receipt:
    """Make a receipt that says something."""
    return structs.replace(RECORD.receipt, remarks=(remark,))


RECORD_AND_DIE = """
import asyncio, os, signal, sys
from datetime import date
from acore_bot.contracts import Account, Setting, Spent
from acore_bot.records.sqlite import SQLiteRecords

async def main(path):
    async with SQLiteRecords.open(path) as records:
        await records.preferences.put(Setting("guild", "channel", "5", "persona", '"tutor"'))
        await records.consents.pause("17")
        account = Account("person:17", most_tokens=100)
        await records.ledger.reserve([account], Spent(60), date(2026, 3, 1))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


async def test_s17_a_kill_loses_no_reservation(path: Path) -> None:
    """What was reserved by a process that was killed counts as used, and what was decided holds."""
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", RECORD_AND_DIE, path)
    async with asyncio.timeout(30):
        assert await dying.wait() == -signal.SIGKILL
    async with SQLiteRecords.open(path) as records:
        assert await records.preferences.load() == (SETTING,)
        assert await records.consents.paused() == {"17"}
        assert await records.ledger.spent("person:17", DAY) == Spent(60)
        account = Account("person:17", most_tokens=100)
        assert await records.ledger.reserve([account], Spent(41), DAY) == account
        assert isinstance(await records.ledger.reserve([account], Spent(40), DAY), Reservation)


def question_of(asker: Author, text: str) -> IncomingMessage:
    """Make a stateless question."""
    return IncomingMessage(
        id=1,
        conversation="discord:5",
        author=asker,
        text=text,
        created_at=NOON,
        is_stateless=True,
    )


@pytest.mark.parametrize("seed", range(3))
async def test_p1_erasing_leaves_no_trace_of_answers(path: Path, seed: int) -> None:
    """After many records of all lengths were stored, moved about by each other, replaced and
    removed, no byte of an erased person is left in any file, and all of the others is."""
    chance = random.Random(seed)
    async with SQLiteRecords.open(path) as records:
        for id_ in chance.sample(range(2000), 1000):
            await put_answer_of(chance.choice(("CANARY17", "18")), id_, records, chance)
        for id_ in chance.sample(range(2000), 200):
            await put_answer_of("CANARY17", id_, records, chance)
        others = await records.answers.of("18")
        assert count_canaries(path) > 1000
        assert await records.answers.erase("CANARY17") > 500
        assert count_canaries(path) == 0
        assert await records.answers.of("18") == others
    assert count_canaries(path) == 0


async def vote(number: int, records: SQLiteRecords) -> None:
    """Begin a comparison, and vote in it."""
    comparison = Comparison(message_id=number, guild="guild", a="x/1", b="y/2")
    await records.votes.open(comparison)
    await records.votes.cast(number, "CANARY17", "a")


async def spend(number: int, records: SQLiteRecords) -> None:
    """Use something of several accounts, on one of many days."""
    accounts = [Account("person:CANARY17"), Account("guild/person:CANARY17"), Account("guild:1")]
    day = date.fromordinal(DAY.toordinal() + number % 30)
    await records.ledger.reserve(accounts, Spent(5), day)


async def pause(number: int, records: SQLiteRecords) -> None:
    """Want to be left alone."""
    await records.consents.pause("CANARY17")
    await records.consents.pause(str(number))


async def remember(number: int, records: SQLiteRecords) -> None:
    """Set something, and be answered."""
    await records.preferences.put(structs.replace(SETTING, guild="CANARY17", target=str(number)))
    await records.answers.put(structs.replace(RECORD, id=number, conversation="CANARY17"))


@pytest.mark.parametrize(
    ("leave", "remove"),
    [
        (vote, lambda records: records.votes.erase("CANARY17")),
        (spend, lambda records: records.ledger.forget("person:CANARY17", date.max)),
        (pause, lambda records: records.consents.resume("CANARY17")),
    ],
)
async def test_p1_each_room_for_traces_is_emptied(
    path: Path,
    leave: Callable[[int, SQLiteRecords], Awaitable[None]],
    remove: Callable[[SQLiteRecords], Awaitable[None]],
) -> None:
    """As soon as votes, budgets or a pause of a person are removed, no file holds their id."""
    async with SQLiteRecords.open(path) as records:
        for number in range(200):
            await leave(number, records)
        assert count_canaries(path) > 0
        await remove(records)
        assert count_canaries(path) == 0


async def test_what_is_forgotten_of_a_guild_is_gone_from_the_disk(path: Path) -> None:
    """As soon as a guild's settings, or a conversation, are forgotten, no file holds them."""
    async with SQLiteRecords.open(path) as records:
        await remember(1, records)
        await records.preferences.forget_guild("CANARY17")
        assert count_canaries(path) > 0
        await records.answers.forget_conversation("CANARY17")
        assert count_canaries(path) == 0
        await remember(2, records)
        await records.answers.forget_conversation("CANARY17")
        assert count_canaries(path) > 0
        await records.preferences.forget_guild("CANARY17")
        assert count_canaries(path) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_p4_records_that_are_gone_leave_no_trace(path: Path, seed: int) -> None:
    """After records of all lengths were stored, replaced and removed in several ways, no byte of
    them is left once the traces are removed, and that is done only if there may be some."""
    chance = random.Random(seed)
    async with SQLiteRecords.open(path) as records:
        for id_ in chance.sample(range(2000), 1000):
            await put_answer_of(chance.choice(("CANARY17", "18")), id_, records, chance)
        for record in await records.answers.of("CANARY17"):
            await records.answers.delete(record.id)
        await records.answers.forget_conversation("discord:5/CANARY17")
        times = note_writing_anew(records)
        await records.answers.leave_no_trace()
        assert count_canaries(path) == 0
        assert await records.answers.delete(9_999) is False
        await records.answers.leave_no_trace()
        assert len(times) == 1
        await records.answers.expire("discord:5", datetime(2100, 1, 1, tzinfo=UTC))
        for _ in range(2):
            await records.answers.leave_no_trace()
        assert len(times) == 2


async def test_p1_who_is_forgotten_has_the_file_written_anew_once(path: Path) -> None:
    """What is erased of answers, votes and budgets at the same time shares it, and when each of
    them returns it is done; also if there was nothing to erase, for nobody knows of what was broken
    off before; what is erased later has it done again."""
    async with SQLiteRecords.open(path) as records:
        for number in range(200):
            await vote(number, records)
            await spend(number, records)
            await put_answer_of("CANARY17", number, records, random.Random(number))
        times = note_writing_anew(records)
        left: list[int] = []

        async def erase(work: Awaitable[object]) -> None:
            await work
            left.append(count_canaries(path))

        for expected in (1, 2):
            async with asyncio.TaskGroup() as group:
                group.create_task(erase(records.answers.erase("CANARY17")))
                group.create_task(erase(records.votes.erase("CANARY17")))
                group.create_task(erase(records.ledger.forget("person:CANARY17", date.max)))
            assert left == [0] * 3 * expected
            assert len(times) == expected
        await records.answers.leave_no_trace()
        assert len(times) == 2


async def test_p1_a_file_that_could_not_be_written_anew_is_tried_again(
    records: SQLiteRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several that share the writing, each hears of the fault for itself, and the next sweep
    makes up for it."""
    faults: list[HistoryError] = []

    async def fail() -> None:
        faults.append(HistoryError("Another process is reading."))
        raise faults[-1]

    with monkeypatch.context() as patch:
        patch.setattr(records._thread, "leave_no_trace", fail)
        outcomes = await asyncio.gather(
            records.votes.erase("17"), records.answers.erase("17"), return_exceptions=True
        )
    assert [*outcomes] == faults
    times = note_writing_anew(records)
    await records.answers.leave_no_trace()
    await records.answers.leave_no_trace()
    assert len(times) == 1


def note_writing_anew(records: SQLiteRecords) -> list[None]:
    """Note from now on each time that the whole file is written anew."""
    write_anew, times = records._thread.leave_no_trace, list[None]()

    async def noting() -> None:
        times.append(None)
        await write_anew()

    records._thread.leave_no_trace = noting  # type: ignore[method-assign]
    return times


async def test_check_reads_all_of_the_file(path: Path) -> None:
    """A whole file is found whole; an index that disagrees with its table is damage."""
    async with SQLiteRecords.open(path) as records:
        await put_something(records)
        await records.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX answers_by_asker ON answers (record)'"
            " WHERE name = 'answers_by_asker'"
        )
    async with SQLiteRecords.open(path) as records:
        with pytest.raises(HistoryUnusable, match="damaged"):
            await records.check()


async def put_answer_of(
    asker: str, id_: int, records: SQLiteRecords, chance: random.Random
) -> None:
    """Store a record with the asker's words, in a conversation they may have alone."""
    words = asker + " " * chance.randrange(chance.choice((9, 3000)))
    record = structs.replace(
        RECORD,
        id=id_,
        asker=asker,
        part_ids=(10_000 + id_,),
        conversation=chance.choice(("discord:5", f"discord:5/{asker}")),
        question=question_of(Author(asker, asker), words),
        receipt=with_remark(f"{asker}.txt is too long."),
    )
    await records.answers.put(record)


def count_canaries(path: Path) -> int:
    """Count the canaries in all files, whatever they are used for just now."""
    return sum(content.count(b"CANARY") for content in snapshot(path.parent).values())
