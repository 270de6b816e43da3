"""The history in a SQLite file: what it survives, what it refuses, and what it leaves on the disk.

What every history promises is in `tests/contracts/test_history.py`.
"""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from msgspec import structs
from tests.history.crashing_writer import make_message

from acore_bot.database.migrations import migrate
from acore_bot.database.opening import refuse_foreign
from acore_bot.errors import DuplicateMessage, HistoryError, HistoryUnusable
from acore_bot.history.migrations import HISTORY
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, Message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITER = Path(__file__).with_name("crashing_writer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file in a folder, neither of which exists yet."""
    return tmp_path / "data" / "history.db"


def said(id_: int, text: str = "Hello", parent_id: int | None = None) -> Message:
    """Make a message of the one conversation used here."""
    return Message(
        id=id_,
        conversation="tea",
        role="user",
        author=Author("17", "Ada"),
        text=text,
        created_at=NOON,
        parent_id=parent_id,
    )


async def fill(path: Path, count: int = 200) -> None:
    """Make a history with so many messages of half a kilobyte, and close it."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(number, f"{number} " * 100) for number in range(count)])


def mode_of(path: Path) -> int:
    """Return the permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


async def open_and_read(path: Path) -> tuple[Message, ...]:
    """Open a history, read what it has, close it."""
    async with SQLiteHistory.open(path) as history:
        return await history.recent("tea", 1000)


# What lies on the disk


async def test_what_was_said_is_there_when_opened_again(path: Path) -> None:
    """A history that was closed and opened again has every message."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(1), said(2, parent_id=1)])
    assert await open_and_read(path) == (said(1), said(2, parent_id=1))


async def test_the_path_is_told_and_may_be_a_string(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is absolute, even if a name was given that means something else to SQLite."""
    monkeypatch.chdir(path.parent.parent)
    async with SQLiteHistory.open(":memory:") as history:
        await history.append([said(1)])
        assert history.path == path.parent.parent / ":memory:"
    assert await open_and_read(path.parent.parent / ":memory:") == (said(1),)


async def test_p6_what_it_makes_is_for_the_owner_only(path: Path) -> None:
    """The folder has mode 0700; the file, its log and its index have 0600, whatever the umask."""
    former = os.umask(0)
    try:
        async with SQLiteHistory.open(path) as history:
            await history.append([said(1)])
            modes = {name: mode_of(path.with_name(name)) for name in snapshot(path.parent)}
    finally:
        os.umask(former)
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}
    assert mode_of(path.parent) == 0o700


def test_modes_that_the_owner_chose_stay(path: Path) -> None:
    """A folder and file that were there before keep their modes."""
    asyncio.run(fill(path, 1))
    path.parent.chmod(0o750)
    path.chmod(0o640)
    assert asyncio.run(open_and_read(path))
    assert (mode_of(path.parent), mode_of(path)) == (0o750, 0o640)


async def test_closing_leaves_one_file(path: Path) -> None:
    """After closing, everything is in the one file, which can be copied as it is."""
    await fill(path)
    assert list(snapshot(path.parent)) == ["history.db"]


async def test_the_connection_is_set_up_as_promised(path: Path) -> None:
    """The settings on which durability, patience and privacy rest are in force."""
    settings = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
    async with SQLiteHistory.open(path) as history:
        values = await history._thread.read(
            lambda connection: [
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings
            ]
        )
    assert values == ["wal", 1, 1, 5000, 1]


@pytest.mark.parametrize("remove", ["edit", "delete", "replace", "clear", "expire"])
async def test_what_was_removed_is_gone_from_the_disk(path: Path, remove: str) -> None:
    """As soon as a text was edited, deleted or cleared, no file holds it any more."""
    canary = "the canary sings at dawn"
    async with SQLiteHistory.open(path) as history:
        await history.append([said(number) for number in range(50)])
        await history.append([said(50, canary)])
        assert any(canary.encode() in content for content in snapshot(path.parent).values())
        match remove:
            case "edit":
                await history.edit(50, "silence")
            case "delete":
                await history.delete(50)
            case "replace":
                await history.replace(said(50, "silence"))
            case "clear":
                await history.clear("tea")
            case _:
                await history.expire("tea", NOON + timedelta(days=1))
        assert not any(canary.encode() in content for content in snapshot(path.parent).values())


def count_canaries(path: Path) -> int:
    """Count the canaries in all files, whatever they are used for just now."""
    return sum(content.count(b"CANARY") for content in snapshot(path.parent).values())


@pytest.mark.parametrize("seed", range(3))
async def test_p1_erasing_leaves_no_trace(path: Path, seed: int) -> None:
    """After thousands of messages of all lengths were stored, moved about by each other, edited and
    removed, no byte of an erased person's texts, name and answers is left in any file, and all of
    the others is."""
    chance = random.Random(seed)
    ada, bob = Author("17", "CANARY Ada"), Author("18", "Bob")
    ids = chance.sample(range(0, 6000, 2), 3000)
    async with SQLiteHistory.open(path) as history:
        for start in range(0, len(ids), 20):
            await history.append([*talk(ids[start : start + 20], chance, ada, bob)])
        for id_ in chance.sample(ids, 300):
            (message,) = await history.chain(id_, 1)
            await history.edit(id_, message.text + "y" * chance.randrange(300))
        for id_ in chance.sample(ids, 100):
            await history.delete(id_ + 1)  # the answer: without its question nobody knows whose
            await history.delete(id_)
        bobs = await history.said_by("18")
        assert count_canaries(path) > 1000
        assert await history.erase("17") > 1000
        assert count_canaries(path) == 0
        assert await history.said_by("18") == bobs
        assert await history.said_by("17") == ()
        await history.check()
    assert count_canaries(path) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_removed_can_be_removed_without_a_trace(path: Path, seed: int) -> None:
    """After messages of all lengths were stored, moved about, edited and deleted one by one, no
    byte of what is gone is left in any file once the traces are removed."""
    chance = random.Random(seed)
    ada, bob = Author("17", "CANARY Ada"), Author("18", "Bob")
    ids = chance.sample(range(0, 4000, 2), 2000)
    async with SQLiteHistory.open(path) as history:
        for start in range(0, len(ids), 20):
            await history.append([*talk(ids[start : start + 20], chance, ada, bob)])
        for message in await history.said_by("17"):
            await history.edit(message.id + 1, "silence")
            await history.delete(message.id)
        assert count_canaries(path) > 0  # what was moved before it was removed
        await history.leave_no_trace()
        assert count_canaries(path) == 0
        assert len(await history.recent("tea", 9_999)) == 2000 + len(await history.said_by("18"))
        await history.check()


async def test_the_file_is_written_anew_only_if_there_may_be_traces(path: Path) -> None:
    """Once after the opening, for nobody knows what was before, and then after something was
    removed or edited, or may have been, and not after appends, reads and what found nothing."""
    async with SQLiteHistory.open(path) as history:
        counted = count_writing_anew(history)
        await history.append([said(number) for number in range(9)])
        for expected in (1, 1):
            await history.leave_no_trace()
            assert counted() == expected
        await history.append([said(9), structs.replace(said(10), conversation="milk")])
        await history.recent("tea", 9)
        assert not await history.delete(99)
        assert not await history.edit(99, "?")
        assert await history.expire("tea", NOON) == await history.clear("beer") == 0
        await history.leave_no_trace()
        assert counted() == 1
        for number, removal in enumerate(
            (
                history.edit(1, "silence"),
                history.replace(said(2, "silence")),
                history.delete(3),
                history.expire("tea", NOON + timedelta(days=1)),
                history.clear("milk"),
            )
        ):
            assert await removal
            await history.leave_no_trace()
            await history.leave_no_trace()
            assert counted() == 2 + number
        await history.append([said(1)])
        leaving = asyncio.create_task(history.delete(1))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await history.leave_no_trace()
        assert counted() == 7


def count_writing_anew(history: SQLiteHistory) -> Callable[[], int]:
    """Count from now on how often the whole file is written anew."""
    write_anew, times = history._thread.leave_no_trace, 0

    async def counting() -> None:
        nonlocal times
        times += 1
        await write_anew()

    history._thread.leave_no_trace = counting  # type: ignore[method-assign]
    return lambda: times


async def test_traces_that_could_not_be_removed_are_removed_the_next_time(path: Path) -> None:
    """While somebody else reads the file the log keeps them, which is said; later they go."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(1, "CANARY")])
        await execute(history, "PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchone()
            assert await history.delete(1)
            with pytest.raises(HistoryError, match="still stands in the log"):
                await history.leave_no_trace()
        await history.leave_no_trace()
        assert count_canaries(path) == 0


def talk(ids: list[int], chance: random.Random, ada: Author, bob: Author) -> Iterator[Message]:
    """Make questions of two people, and an answer to each that repeats it."""
    for id_ in ids:
        author = chance.choice((ada, bob))
        text = ("CANARY" if author is ada else "song") + " " * chance.randrange(
            chance.choice((9, 900))
        )
        yield structs.replace(said(id_, text), author=author)
        answer = said(id_ + 1, f"You said: {text}", parent_id=id_)
        yield structs.replace(answer, role="assistant", author=Author("bot", "Acore"))


async def test_an_erasure_that_another_reader_hinders_says_so_and_can_be_repeated(
    path: Path,
) -> None:
    """As long as somebody else reads the file, its log must keep what was erased: then the error
    says that, and once they are done, to ask again removes the last trace."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(1, "CANARY")])
        await execute(history, "PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchone()
            with pytest.raises(HistoryError, match="still stands in the log") as raised:
                await history.erase("17")
            assert str(path) in raised.value.sentence
            assert await history.recent("tea", 10) == ()
            assert count_canaries(path) > 0
        assert await history.erase("17") == 0
        assert count_canaries(path) == 0


async def test_erasing_is_no_change_by_others(path: Path) -> None:
    """That the file was written anew is no reason to distrust what is cached."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(1)])
        await history.erase("17")
        await history.append([said(2)])
        assert history.foreign_changes() == 0


def test_a_fresh_file_may_exist_empty(tmp_path: Path) -> None:
    """A file of no bytes, as `touch` makes it, becomes a history."""
    path = tmp_path / "history.db"
    path.touch()
    assert asyncio.run(open_and_read(path)) == ()


# Texts


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\0b", "a\0b"),
        ("", ""),
        ("x" * 5_000_000, "x" * 5_000_000),
    ],
    ids=["lone-high", "lone-low", "pair", "swapped", "nul", "empty", "long"],
)
async def test_no_text_is_refused(path: Path, given_text: str, kept: str) -> None:
    """Any text is kept; of surrogates, pairs become their character and lone ones U+FFFD."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(1, given_text), said(2)])
        await history.edit(2, given_text)
        assert [message.text for message in await history.recent("tea", 2)] == [kept, kept]


async def test_names_with_lone_surrogates_are_found_again(path: Path) -> None:
    """A conversation whose name UTF-8 cannot hold is found, listed and cleared by that name."""
    odd = Message(
        id=1,
        conversation="c\udc80",
        role="assistant",
        author=Author("\ud800", "\udbff"),
        text="Hello",
        created_at=NOON,
        model="a/\udc00",
    )
    async with SQLiteHistory.open(path) as history:
        await history.append([odd])
        (kept,) = await history.recent("c\udc80", 1)
        assert (kept.author, kept.model) == (Author("\ufffd", "\ufffd"), "a/\ufffd")
        assert await history.clear("c\udc80") == 1


@pytest.mark.parametrize("id_", [2**63, -(2**63) - 1, 10**40])
async def test_an_id_that_is_none_is_refused_in_words(path: Path, id_: int) -> None:
    """A number that no snowflake has, as a person may type it, is refused with a sentence."""
    async with SQLiteHistory.open(path) as history:
        with pytest.raises(HistoryError, match="beyond"):
            await history.delete(id_)
        with pytest.raises(HistoryError, match="beyond"):
            await history.append([said(1), said(id_)])
        assert await history.recent("tea", 10) == ()


# Files that cannot serve


def damage(edit: Callable[[bytearray], None]) -> Callable[[Path], None]:
    """Make a spoiler that edits the file's bytes."""

    def spoil(path: Path) -> None:
        content = bytearray(path.read_bytes())
        edit(content)
        path.write_bytes(content)

    return spoil


def scribble(content: bytearray) -> None:
    """Overwrite all pages but the first, which hold the schema."""
    content[16384:] = random.Random(1).randbytes(len(content) - 16384)


def from_the_future(path: Path) -> None:
    """Give the file a schema version that does not exist yet."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(HISTORY.migrations) + 1}")


def somebody_elses(path: Path) -> None:
    """Put another program's database in its place, without a mark of its own."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY)")


def marked_by_another(path: Path) -> None:
    """Put in its place a database that is empty but carries another program's mark."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 42")
        connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage(lambda content: content.__setitem__(slice(None), b"abc")), "damaged"),
        (
            damage(lambda content: content.__setitem__(slice(None), b'{"not": "SQL"}' * 99)),
            "damaged",
        ),
        (damage(lambda content: content.__setitem__(slice(None), bytes(8192))), "damaged"),
        (damage(lambda content: content.__setitem__(slice(0, 16), b"x" * 16)), "damaged"),
        (damage(lambda content: content.__delitem__(slice(5000, None))), "damaged"),
        (from_the_future, "newer version"),
        (somebody_elses, "another program"),
        (marked_by_another, "another program"),
    ],
    ids=["short", "json", "zeros", "header", "cut", "newer", "foreign", "marked"],
)
async def test_a_file_that_cannot_serve_is_named_and_left_alone(
    path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    """What is no history of ours is refused with its name and a way out; not a byte changes."""
    await fill(path)
    spoil(path)
    before = snapshot(path.parent)
    with pytest.raises(HistoryUnusable, match=words) as raised:
        await open_and_read(path)
    assert str(path) in raised.value.sentence
    assert "another file" in raised.value.remedy
    assert snapshot(path.parent) == before


async def test_damage_further_down_is_told_when_met(path: Path) -> None:
    """Opening is quick and looks at the head only; damaged pages are reported by who meets them."""
    await fill(path)
    damage(scribble)(path)
    before = snapshot(path.parent)
    async with SQLiteHistory.open(path) as history:
        with pytest.raises(HistoryUnusable, match=r"history\.db"):
            await history.recent("tea", 1000)
        with pytest.raises(HistoryUnusable, match=r"history\.db"):
            await history.append([said(1000)])
        with pytest.raises(HistoryUnusable, match=r"history\.db"):
            await history.check()
    assert snapshot(path.parent) == before


async def test_text_that_is_no_text_is_told_as_damage(path: Path) -> None:
    """Bytes that are no UTF-8 in the place of a text are reported as damage, not as a traceback."""
    await fill(path, 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE messages SET text = CAST(x'ff41' AS TEXT)")
    with pytest.raises(HistoryUnusable, match="damaged"):
        await open_and_read(path)


async def test_check_is_content_with_a_whole_file(path: Path) -> None:
    """The check of a file without damage says nothing."""
    async with SQLiteHistory.open(path) as history:
        await history.append([said(number) for number in range(100)])
        await history.check()


async def test_check_finds_what_reading_does_not_meet(path: Path) -> None:
    """An index that disagrees with its table is found by the check, which names the file."""
    await fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX messages_by_parent ON messages (model)'"
            " WHERE name = 'messages_by_parent'"
        )
    async with SQLiteHistory.open(path) as history:
        assert len(await history.recent("tea", 1000)) == 200
        with pytest.raises(HistoryUnusable, match=r"history\.db"):
            await history.check()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The path of a folder is refused with its name, and the folder stays."""
    with pytest.raises(HistoryUnusable, match="cannot be opened") as raised:
        asyncio.run(open_and_read(tmp_path))
    assert str(tmp_path) in raised.value.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(path: Path) -> None:
    """A path that leads through a file is refused, and that file stays as it is."""
    path.parent.write_text("precious")
    with pytest.raises(HistoryUnusable, match="cannot be opened"):
        asyncio.run(open_and_read(path))
    assert path.parent.read_text() == "precious"


async def test_a_path_that_no_system_takes_is_refused_at_once(tmp_path: Path) -> None:
    """A path with a NUL in it raises instead of leaving the caller to wait."""
    with pytest.raises(ValueError, match="null"):
        await open_and_read(tmp_path / "a\0b")


OPEN_WITHOUT_PRIVILEGE = """
import asyncio, ctypes, sys
from acore_bot.errors import HistoryUnusable
from acore_bot.history.sqlite import SQLiteHistory

# Root may write any file. Without its capabilities it is bound by the modes like anyone.
version_3, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(version_3, nothing) == 0

async def main():
    try:
        async with SQLiteHistory.open(sys.argv[1]):
            print("opened")
    except HistoryUnusable as error:
        print(error)

asyncio.run(main())
"""


def open_without_privilege(path: Path) -> str:
    """Open a history in a process that the files' modes bind, and return what it says."""
    command = [sys.executable, "-c", OPEN_WITHOUT_PRIVILEGE, str(path)]
    return subprocess.check_output(command, text=True, timeout=30)


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o400), (0o500, 0o600)])
def test_a_read_only_file_or_folder_is_named_at_the_opening(
    path: Path, folder_mode: int, file_mode: int
) -> None:
    """A history that cannot be written is refused at once, with what must be changed."""
    asyncio.run(fill(path, 5))
    assert open_without_privilege(path) == "opened\n"
    before = path.read_bytes()
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    try:
        answer = open_without_privilege(path)
    finally:
        path.parent.chmod(0o700)
    assert f"The history {path} cannot be opened for writing" in answer
    assert "may write" in answer
    assert path.read_bytes() == before


def test_a_new_file_in_a_read_only_folder_is_refused(path: Path) -> None:
    """Where no file can be made, the sentence names the file that was wanted."""
    path.parent.mkdir(mode=0o500)
    assert f"The history {path} cannot be opened" in open_without_privilege(path)
    path.parent.chmod(0o700)
    assert list(path.parent.iterdir()) == []


# A disk that is full or fails


async def execute(history: SQLiteHistory, statement: str) -> int:
    """Run a pragma on the history's own connection and return its number."""

    def run(connection: sqlite3.Connection) -> int:
        (value,) = connection.execute(statement).fetchone()
        return int(value)

    return await history._thread.read(run)


async def append_until_it_fails(history: SQLiteHistory) -> tuple[int, HistoryError]:
    """Append pairs of long messages. Return how many were acknowledged, and the first error."""
    for pair in range(1000):
        try:
            await history.append([said(2 * pair + n, f"{pair} " * 500) for n in (0, 1)])
        except HistoryError as error:
            return pair, error
    raise AssertionError("the disk never failed")


async def test_r2_a_full_disk_loses_nothing_and_heals(path: Path) -> None:
    """On a full disk an append fails whole and says so; reading works; with room all is well."""
    async with SQLiteHistory.open(path) as history:
        pages = await execute(history, "PRAGMA page_count")
        await execute(history, f"PRAGMA max_page_count = {pages + 20}")
        kept, error = await append_until_it_fails(history)
        assert "There is no room left" in error.sentence
        for _ in range(20):
            with pytest.raises(HistoryError, match=str(path)):
                await history.append([said(9000, "x" * 5000), said(9001, "x" * 5000)])
        assert [message.id for message in await history.recent("tea", 1000)] == [*range(2 * kept)]
        await execute(history, "PRAGMA max_page_count = 100000")
        await history.append([said(9000, "x" * 5000), said(9001, "x" * 5000)])
        await history.check()
    assert [message.id for message in await open_and_read(path)] == [*range(2 * kept), 9000, 9001]


async def test_r2_a_disk_that_refuses_to_write_loses_nothing_and_heals(path: Path) -> None:
    """If the system fails in the midst of a write, the append fails whole, and later ones work."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with SQLiteHistory.open(path) as history:
        # The system cuts the very write that crosses this length, in the middle of a page.
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_001, former[1]))
        try:
            kept, error = await append_until_it_fails(history)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        assert kept > 10
        assert f"{path} could not do this: disk I/O error" in error.sentence
        assert [message.id for message in await history.recent("tea", 1000)] == [*range(2 * kept)]
        await history.append([said(9000)])
        await history.check()
    assert [message.id for message in await open_and_read(path)] == [*range(2 * kept), 9000]


# Cancelled and concurrent callers


async def hold(history: SQLiteHistory, release: Event) -> None:
    """Occupy the history's thread until released."""
    await history._thread.read(lambda connection: release.wait(30))


async def test_a_cancelled_append_is_stored_whole_or_not(path: Path) -> None:
    """Who is cancelled while waiting goes at once; the batch is whole; others are not disturbed."""
    release = Event()
    async with SQLiteHistory.open(path) as history, asyncio.TaskGroup() as group:
        group.create_task(hold(history, release))
        cancelled = group.create_task(history.append([said(1), said(2)]))
        patient = group.create_task(history.append([said(3)]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        release.set()
        await patient
        assert [message.id for message in await history.recent("tea", 10)] in ([1, 2, 3], [3])


async def test_a_cancelled_append_that_fails_harms_nobody(path: Path) -> None:
    """An answer that nobody waits for any more is dropped without a word; the thread goes on."""
    release = Event()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    async with SQLiteHistory.open(path) as history, asyncio.TaskGroup() as group:
        await history.append([said(1)])
        group.create_task(hold(history, release))
        failing = group.create_task(history.append([said(1)]))
        succeeding = group.create_task(history.append([said(2)]))
        await asyncio.sleep(0)
        failing.cancel()
        succeeding.cancel()
        release.set()
        await asyncio.wait([failing, succeeding])
        await history.append([said(3)])
    assert complaints == []


async def test_leaving_finishes_what_is_queued(path: Path) -> None:
    """Appends that wait when the block is left are stored and acknowledged before it closes."""
    release = Event()
    async with asyncio.TaskGroup() as group, SQLiteHistory.open(path) as history:
        group.create_task(hold(history, release))
        appends = [group.create_task(history.append([said(number)])) for number in range(20)]
        await asyncio.sleep(0)
        release.set()
    assert all(append.done() for append in appends)
    assert len(await open_and_read(path)) == 20


async def test_a_closed_history_says_so(path: Path) -> None:
    """After the block, every call raises with the file's name instead of waiting forever."""
    async with SQLiteHistory.open(path) as history:
        pass
    with pytest.raises(HistoryError, match="is closed") as raised:
        await history.append([said(1)])
    assert str(path) in raised.value.sentence
    with pytest.raises(HistoryError, match="is closed"):
        await history.recent("tea", 1)


async def test_an_error_in_the_block_closes_the_file(path: Path) -> None:
    """The block's own error passes, and the file is closed all the same."""
    with pytest.raises(DuplicateMessage):
        async with SQLiteHistory.open(path) as history:
            await history.append([said(1), said(1)])
    assert list(snapshot(path.parent)) == ["history.db"]


async def test_a_cancelled_opening_leaves_nothing_open(path: Path) -> None:
    """Who is cancelled while opening waits for the thread, which closes the file."""
    await fill(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.ensure_future(open_and_read(path))
        await asyncio.sleep(0)
        opening.cancel()
        other.execute("ROLLBACK")
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert list(snapshot(path.parent)) == ["history.db"]


async def test_two_histories_in_one_process_share_a_file(path: Path) -> None:
    """Two apps in one process may use one file: each sees at once what the other has stored."""
    async with SQLiteHistory.open(path) as one, SQLiteHistory.open(path) as other:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task((one, other)[number % 2].append([said(number)]))
        assert await one.recent("tea", 100) == await other.recent("tea", 100)
        assert len(await one.recent("tea", 100)) == 50


async def test_a_file_locked_for_long_is_told(path: Path) -> None:
    """If another process keeps the lock beyond our patience, the sentence says so."""
    async with SQLiteHistory.open(path) as history:
        await execute(history, "PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(HistoryError, match="Another process keeps"):
                await history.append([said(1)])
            assert await history.recent("tea", 10) == ()
            other.execute("ROLLBACK")
        await history.append([said(1)])


# Other processes, and their deaths


async def test_an_opening_waits_for_who_is_making_the_same_file(tmp_path: Path) -> None:
    """The switch to the write-ahead log waits too, though SQLite itself would give up at once."""
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.ensure_future(open_and_read(path))
        await asyncio.wait([opening], timeout=0.05)
        other.execute("ROLLBACK")
        assert await opening == ()
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_is_made_while_we_look_is_not_foreign(tmp_path: Path) -> None:
    """Mark, version and tables are judged as of one moment, whatever another process does."""
    path = tmp_path / "history.db"

    class MadeMeanwhile(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = ()) -> sqlite3.Cursor:
            cursor = super().execute(sql)
            if "application_id" in sql:
                migrate(other, HISTORY.migrations)
            return cursor

    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(sqlite3.connect(path, isolation_level=None, factory=MadeMeanwhile)) as ours,
    ):
        other.execute("PRAGMA journal_mode = WAL")
        refuse_foreign(ours, path, HISTORY)


class WriterProcess:
    """Drives `crashing_writer.py`: one Python, many short lives."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, path: Path, batches: int) -> None:
        """Begin one life."""
        assert self._process.stdin
        self._process.stdin.write(f"{batches} {path}\n")
        self._process.stdin.flush()
        self._writer = int(self._read())

    def acknowledged(self, count: int) -> list[int]:
        """Wait for so many acknowledgements and return their ids."""
        return [int(self._read()) for _ in range(count)]

    def kill(self) -> None:
        """Kill the writer as nothing can prevent."""
        os.kill(self._writer, signal.SIGKILL)

    def end(self) -> tuple[list[int], int]:
        """Wait for the end of this life; return what was still acknowledged, and the exit code."""
        ids: list[int] = []
        while not (line := self._read()).startswith("ended"):
            ids.append(int(line))
        return ids, int(line.split()[1])

    def close(self) -> None:
        """End the process when its last writer is dead."""
        self._process.communicate(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@pytest.fixture
def make_writer() -> Iterator[Callable[[], WriterProcess]]:
    """Start writers that end with the test."""
    with ExitStack() as stack:

        def make() -> WriterProcess:
            writer = WriterProcess()
            stack.callback(writer.close)
            return writer

        yield make


def read_all(path: Path) -> list[Message]:
    """Open the file as after a crash, check it wholly, and return all that the writer stored."""

    async def read() -> list[Message]:
        async with SQLiteHistory.open(path) as history:
            await history.check()
            channels = [await history.recent(f"channel {n}", 100_000) for n in range(3)]
        return sorted((m for channel in channels for m in channel), key=lambda message: message.id)

    return asyncio.run(read())


def wait_out(seconds: float) -> None:
    """Do nothing, precisely: a sleep would be too coarse to hit the middle of a commit."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize("seed", range(4))
def test_r1_no_acknowledged_message_is_lost_by_a_kill(
    path: Path, make_writer: Callable[[], WriterProcess], seed: int
) -> None:
    """Killed at fifty random points, the writer's file has each acknowledged message, once, whole.

    At most the one batch that was under way may be there without acknowledgement, and then whole.
    """
    chance = random.Random(seed)
    writer = make_writer()
    stored: list[Message] = []
    for _ in range(50):
        writer.start(path, 100_000)
        acknowledged = writer.acknowledged(chance.randint(0, 55))
        wait_out(chance.uniform(0, 600e-6))
        writer.kill()
        later, exit_code = writer.end()
        assert exit_code == -signal.SIGKILL
        known = len(stored) // 2 + len(acknowledged) + len(later)
        before, stored = stored, read_all(path)
        assert acknowledged + later == list(range(len(before), 2 * known, 2))
        assert stored[: len(before)] == before
        assert stored == [make_message(number) for number in range(len(stored))]
        assert len(stored) in {2 * known, 2 * known + 2}
    assert len(stored) > 1000


def test_processes_that_make_one_file_at_once_agree(
    tmp_path: Path, make_writer: Callable[[], WriterProcess]
) -> None:
    """Of processes that open a file which does not exist yet at the same moment, none fails."""
    writers = [make_writer() for _ in range(3)]
    for round_ in range(15):
        path = tmp_path / str(round_) / "history.db"
        for writer in writers:
            writer.start(path, 0)
        assert [writer.end() for writer in writers] == [([], 0)] * 3
        assert read_all(path) == []


async def test_two_processes_write_one_file(
    path: Path, make_writer: Callable[[], WriterProcess]
) -> None:
    """While another process appends, ours does too; both wait for each other and lose nothing."""
    writer = make_writer()
    async with SQLiteHistory.open(path) as history:
        writer.start(path, 150)
        for number in range(150):
            await history.append([said(1_000_000 + number)])
        ids, exit_code = await asyncio.to_thread(writer.end)
        assert (len(ids), exit_code) == (150, 0)
        assert len(await history.recent("tea", 1000)) == 150
    assert len(await asyncio.to_thread(read_all, path)) == 300
