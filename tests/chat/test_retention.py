"""What is older than owners want to keep goes, at start and every hour."""

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.answer_records import record_of
from tests.fakes.talk import ADA, NOON, answered, asked, heard, line

from acore_bot.chat.policy import Policies, Policy
from acore_bot.chat.retention import HOUR_SECONDS, Retention
from acore_bot.contracts import Answers, History
from acore_bot.errors import HistoryError
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Message, Place
from acore_bot.records.sqlite import SQLiteRecords

POLICY = Policy(persona="acore", model="scripted/script")


class Hours:
    """Time that passes an hour at a time, when a test lets it. `slept` are the seconds that were
    wanted each time."""

    def __init__(self) -> None:
        self.now = NOON
        self.slept: list[float] = []
        self._asleep = asyncio.Event()
        self._passes = asyncio.Event()

    def clock(self) -> datetime:
        """Tell the time of day."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Sleep until the test lets time pass."""
        self.slept.append(seconds)
        self._asleep.set()
        self._passes.clear()
        await self._passes.wait()

    async def swept(self) -> None:
        """Wait until a sweep is over."""
        await self._asleep.wait()

    async def pass_by(self, time: timedelta) -> None:
        """Let the time pass, and wait until the next sweep is over."""
        self.now += time
        self._asleep.clear()
        self._passes.set()
        await self._asleep.wait()


class House:
    """A history and records, and the policies that say how long they keep things."""

    def __init__(self, folder: Path, history: SQLiteHistory, records: SQLiteRecords) -> None:
        self.folder = folder
        self.history = history
        self.records = records
        self.hours = Hours()

    async def open_policies(self, default_days: int | None = None) -> Policies:
        """Make policies as the app does."""
        policies = Policies(
            self.records.preferences,
            structs.replace(POLICY, retention_days=default_days),
            personas=lambda: (("acore", "Acore"),),
            knows_model=str,
        )
        await policies.load()
        return policies

    def open(
        self,
        policies: Policies,
        *,
        history: History | None = None,
        answers: Answers | None = None,
    ) -> Retention:
        """Make a retention as the app does."""
        return Retention(
            policies,
            history or self.history,
            answers or self.records.answers,
            now=self.hours.clock,
            sleep=self.hours.sleep,
        )

    async def left(self, conversation: str = "tea") -> list[int]:
        """Name the messages that are still stored."""
        return [message.id for message in await self.history.recent(conversation, 100)]

    async def records_left(self) -> list[int]:
        """Name the records of answers that are still stored."""
        return [record.id for record in await self.records.answers.of("17")]

    def holds(self, text: str) -> bool:
        """Search all bytes of all files."""
        return any(text.encode() in file.read_bytes() for file in self.folder.iterdir())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """An empty house."""
    async with (
        SQLiteHistory.open(tmp_path / "history.sqlite3") as history,
        SQLiteRecords.open(tmp_path / "records.sqlite3") as records,
    ):
        yield House(tmp_path, history, records)


def moved(message: Message, days: int) -> Message:
    """Let something be said some days later."""
    return structs.replace(message, created_at=message.created_at + timedelta(days=days))


async def test_p4_what_is_too_old_goes_at_start_and_hourly(house: House) -> None:
    """With 30 days set, nothing older is there after 31, neither messages nor records; what was
    said since stays."""
    await house.history.append(line(2))
    await house.history.append([moved(asked(11), 20), moved(answered(12, parent_id=11), 20)])
    aside = heard(13)
    elsewhere = record_of(16, 15, conversation="of records alone")
    for record in (record_of(2, 1), record_of(14, 13, question=aside), elsewhere):
        await house.records.answers.put(record)
    policies = await house.open_policies()
    await policies.turn_knob("home", "channel", "tea", "retention_days", "30")
    async with house.open(policies):
        await house.hours.swept()
        assert await house.left() == [1, 2, 3, 4, 11, 12]
        await house.hours.pass_by(timedelta(days=31))
        assert await house.left() == [11, 12]
        assert await house.records_left() == []
        await house.hours.pass_by(timedelta(days=20))
        assert await house.left() == []
    assert house.hours.slept == [HOUR_SECONDS] * 3


async def test_p4_no_table_keeps_words_that_are_too_old(house: House) -> None:
    """After 31 days of 30, no column of any table holds a word of then, and no byte of any file:
    what was said, answered, asked by `/ask`, and the names of those who said it."""
    canary = structs.replace(ADA, name="canary")
    await house.history.append([asked(1, "canary", author=canary), answered(2, "canary")])
    await house.history.append([structs.replace(answered(4, "canary"), part_ids=(5, 6))])
    for id_, question in ((2, None), (4, heard(3, "canary", author=canary))):
        await house.records.answers.put(record_of(id_, id_ - 1, question=question))
    house.hours.now += timedelta(days=31)
    async with house.open(await house.open_policies(default_days=30)):
        await house.hours.swept()
        assert not house.holds("canary")
    rows = {
        table: count
        for file in ("history.sqlite3", "records.sqlite3")
        for table, count in rows_of(house.folder / file).items()
    }
    assert rows.pop("places") == 1  # which channel a conversation is, and nobody's words
    assert rows.keys() >= {"messages", "parts", "answers", "answer_parts"}
    assert not any(rows.values())


def rows_of(file: Path) -> dict[str, int]:
    """Count the rows of each table of ours."""
    select = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute(select)]
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names
        }


async def test_p4_the_first_sweep_needs_no_hour(house: House) -> None:
    """What grew too old while the bot was away goes as soon as it is back."""
    await house.history.append(line(1))
    house.hours.now += timedelta(days=2)
    async with house.open(await house.open_policies(default_days=1)):
        await house.hours.swept()
        assert await house.left() == []


async def test_p4_each_place_has_its_own_time(house: House) -> None:
    """A channel's policy counts where it is known what channel it is, the file's elsewhere."""
    for id_, name in ((1, "tea"), (3, "milk"), (5, "water")):
        await house.history.append([asked(id_, conversation=name)])
    answers = house.records.answers
    await answers.put(record_of(2, 1))
    await answers.put(record_of(4, 3, conversation="milk", place=Place("home", "milk")))
    policies = await house.open_policies(default_days=5)
    await policies.turn_knob("home", "channel", "tea", "retention_days", "1")
    await policies.turn_knob("home", "channel", "milk", "retention_days", "3")
    retention = house.open(policies)
    for left, records in (([[], [3], [5]], [4]), ([[], [], [5]], []), ([[], [], []], [])):
        house.hours.now += timedelta(days=2)
        await retention.sweep()
        assert [await house.left(name) for name in ("tea", "milk", "water")] == left
        assert await house.records_left() == records


async def test_p4_without_a_time_nothing_goes(house: House) -> None:
    """Unless an owner says otherwise, what was said stays."""
    await house.history.append(line(1))
    house.hours.now += timedelta(days=10_000)
    await house.open(await house.open_policies()).sweep()
    assert await house.left() == [1, 2]


class Failing:
    """Anything of which one method raises an error the first times."""

    def __init__(self, whole: object, method: str, error: Exception, times: int) -> None:
        self._whole = whole
        self._method = method
        self._error = error
        self._times = times

    def __getattr__(self, name: str) -> object:
        if name == self._method and self._times:
            self._times -= 1
            raise self._error
        return getattr(self._whole, name)


@pytest.mark.parametrize("error", [HistoryError("The disk is full."), RuntimeError("a fault")])
async def test_p4_a_sweep_that_fails_is_made_up_for(
    house: House, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, the next hour's sweep comes, and the log knows."""
    await house.history.append(line(1))
    house.hours.now += timedelta(days=2)
    answers = Failing(house.records.answers, "places", error, times=1)
    policies = await house.open_policies(default_days=1)
    with caplog.at_level(logging.ERROR):
        async with house.open(policies, answers=answers):  # type: ignore[arg-type]
            await house.hours.swept()
            assert await house.left() == [1, 2]
            assert "could not be looked for" in caplog.text
            await house.hours.pass_by(timedelta(hours=1))
            assert await house.left() == []


async def test_p4_a_conversation_that_fails_harms_no_other(house: House) -> None:
    """What can be removed is."""
    for id_, name in ((1, "tea"), (3, "milk"), (5, "water")):
        await house.history.append([asked(id_, conversation=name)])
    house.hours.now += timedelta(days=2)
    history = Failing(house.history, "expire", HistoryError("The disk is full."), times=1)
    policies = await house.open_policies(default_days=1)
    await house.open(policies, history=history).sweep()  # type: ignore[arg-type]
    assert [await house.left(name) for name in ("milk", "tea", "water")] == [[3], [], []]


@pytest.mark.parametrize("remove", ["delete", "clear", "expire"])
async def test_p5_what_anybody_removed_leaves_no_trace_for_more_than_an_hour(
    house: House, remove: str
) -> None:
    """Whoever removed it, by age, by `/reset` or on Discord: after the next sweep no byte of it is
    in any file, also none that was moved about before."""
    policies = await house.open_policies(default_days=30)
    async with house.open(policies):
        await house.hours.swept()
        chance = random.Random(remove)
        ids = chance.sample(range(1, 1001), 500)
        for id_ in ids:
            text = ("canary " if id_ <= 500 else "other ") * chance.randrange(1, 90)
            name = "milk" if id_ <= 500 else "tea"
            await house.history.append([asked(id_, text, conversation=name)])
        match remove:
            case "delete":
                for id_ in ids:
                    if id_ <= 500:
                        await house.history.delete(id_)
            case "clear":
                await house.history.clear("milk")
            case _:
                await house.history.expire("milk", NOON + timedelta(days=9))
        await house.hours.pass_by(timedelta(hours=1))
        assert not house.holds("canary")
        assert house.holds("other")


@pytest.mark.parametrize("store", ["history", "answers"])
async def test_p5_traces_that_stay_in_one_store_keep_none_in_the_other(
    house: House, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of it, and the next hour tries again."""
    await house.history.append([asked(1, "canary")])
    await house.history.delete(1)
    calls = []

    async def note() -> None:
        calls.append("other")

    whole = {"history": house.history, "answers": house.records.answers}
    failing = Failing(whole[store], "leave_no_trace", HistoryError("The disk is full."), times=1)
    other = {"history": "answers", "answers": "history"}[store]
    whole[other].leave_no_trace = note  # type: ignore[attr-defined]
    policies = await house.open_policies()
    async with house.open(policies, **{store: failing}):  # type: ignore[arg-type]
        await house.hours.swept()
        assert calls == ["other"]
        assert "traces until the next hour: The disk is full." in caplog.text
        await house.hours.pass_by(timedelta(hours=1))
        assert len(calls) == 2


async def test_p4_leaving_the_block_ends_it(house: House) -> None:
    """No sweep goes on behind the back of whoever opened it; errors of the block come out."""
    with pytest.raises(KeyError):
        async with house.open(await house.open_policies()):
            raise KeyError
    assert [task for task in asyncio.all_tasks() if task.get_name() == "retention"] == []
