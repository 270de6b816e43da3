"""The import of JSON files: what goes in, what is set aside and why, and that twice is once."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acore_bot.errors import HistoryError, NotFound
from acore_bot.history.json_import import (
    MAX_FILE_BYTES,
    ImportReport,
    SetAside,
    import_folder,
)
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, Message, SnowflakeSequence

NOON = datetime(2025, 12, 6, 12, tzinfo=UTC)
LATER = (NOON + timedelta(days=100)).timestamp()
CHANNEL = 112233445566778899
GOOD = [
    {"role": "user", "content": "Hello", "username": "Ada", "user_id": 17},
    {"role": "assistant", "content": "Hi Ada"},
    {"role": "user", "content": "Tea?", "username": "Bob", "user_id": "18"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make an empty folder for the files."""
    made = tmp_path / "chat_history"
    made.mkdir()
    return made


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[SQLiteHistory]:
    """Open an empty history."""
    async with SQLiteHistory.open(tmp_path / "history.db") as opened:
        yield opened


def put(folder: Path, content: object, name: str = f"{CHANNEL}.json", at: datetime = NOON) -> Path:
    """Write a file as it was kept: bytes as they are, anything else as JSON, with its time."""
    path = folder / name
    path.write_bytes(
        content if isinstance(content, bytes) else json.dumps(content, indent=2).encode()
    )
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return the bytes and times of all files in a folder."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


async def run(history: SQLiteHistory, folder: Path) -> ImportReport:
    """Import with a clock that is later than the files."""
    return await import_folder(history, folder, clock=lambda: LATER)


async def stored(history: SQLiteHistory, channel: int = CHANNEL) -> tuple[Message, ...]:
    """Return what a channel's conversation has."""
    return await history.recent(f"discord:{channel}", 1000)


async def test_a_file_becomes_a_conversation(history: SQLiteHistory, folder: Path) -> None:
    """Speakers, words, order and line are kept; the file's time is that of its last message."""
    put(folder, GOOD)
    report = await run(history, folder)
    first, second, third = await stored(history)
    assert [(said.role, said.author, said.text) for said in (first, second, third)] == [
        ("user", Author("17", "Ada"), "Hello"),
        ("assistant", Author("bot", "bot"), "Hi Ada"),
        ("user", Author("18", "Bob"), "Tea?"),
    ]
    assert [said.parent_id for said in (first, second, third)] == [None, first.id, second.id]
    assert [said.created_at for said in (third, second, first)] == [
        NOON - timedelta(seconds=number) for number in range(3)
    ]
    assert await history.chain(third.id, 10) == (first, second, third)
    assert report == ImportReport(
        files=1, conversations=1, messages=3, already=0, system=0, set_aside=()
    )


async def test_ids_are_snowflakes_of_their_time(history: SQLiteHistory, folder: Path) -> None:
    """Each id stands within a second of its message's time, so what is said now comes after it."""
    put(folder, GOOD)
    await run(history, folder)
    for said in await stored(history):
        milliseconds = (said.id >> 22) + SnowflakeSequence.EPOCH_MILLISECONDS
        assert 0 <= milliseconds - said.created_at.timestamp() * 1000 < 1000
        assert said.id < SnowflakeSequence(lambda: LATER).next()


@pytest.mark.parametrize("year", [1970, 2014, 2199])
async def test_an_odd_file_time_is_brought_into_range(
    history: SQLiteHistory, folder: Path, year: int
) -> None:
    """Neither a file without a time nor one from the future gets ids that no message can have."""
    put(folder, GOOD, at=datetime(year, 1, 2, tzinfo=UTC))
    assert (await run(history, folder)).messages == 3
    now = SnowflakeSequence(lambda: LATER).next()
    assert all(0 < said.id < now for said in await stored(history))


async def test_twice_is_once(history: SQLiteHistory, folder: Path) -> None:
    """A second import adds nothing and says so, even if the file got another time meanwhile."""
    path = put(folder, GOOD)
    await run(history, folder)
    before = await stored(history)
    again = await run(history, folder)
    assert (again.messages, again.already, again.conversations) == (0, 3, 1)
    os.utime(path, (LATER - 5, LATER - 5))
    assert (await run(history, folder)).already == 3
    assert await stored(history) == before


async def test_what_is_missing_is_added_in_line(history: SQLiteHistory, folder: Path) -> None:
    """An import over one that has only a part adds the rest, which continues what was there."""
    put(folder, GOOD[:2])
    await run(history, folder)
    put(folder, GOOD)
    report = await run(history, folder)
    assert (report.messages, report.already) == (1, 2)
    first, second, third = await stored(history)
    assert (second.parent_id, third.parent_id) == (first.id, second.id)


async def test_equal_words_are_kept_apart(history: SQLiteHistory, folder: Path) -> None:
    """Who says the same twice has said it twice."""
    put(folder, [GOOD[0], GOOD[0]])
    await run(history, folder)
    assert [said.text for said in await stored(history)] == ["Hello", "Hello"]


async def test_many_files_of_one_moment_do_not_meet(history: SQLiteHistory, folder: Path) -> None:
    """Files that were copied in one go, and so have one time, get ids of their own."""
    for channel in range(200):
        put(folder, GOOD, name=f"{channel}.json")
    report = await run(history, folder)
    assert (report.messages, report.conversations, report.set_aside) == (600, 200, ())


async def test_an_id_that_is_taken_is_avoided(history: SQLiteHistory, folder: Path) -> None:
    """If another conversation has the very id of a message, the file goes in with other ids."""
    put(folder, GOOD)
    await run(history, folder)
    taken = (await stored(history))[1]
    await history.clear(taken.conversation)
    stranger = Message(
        id=taken.id,
        conversation="elsewhere",
        role="user",
        author=Author("1", "One"),
        text="mine",
        created_at=NOON,
    )
    await history.append([stranger])
    assert (await run(history, folder)).messages == 3
    assert [said.text for said in await stored(history)] == ["Hello", "Hi Ada", "Tea?"]
    assert await history.recent("elsewhere", 10) == (stranger,)
    assert (await run(history, folder)).already == 3


async def test_prompts_of_the_system_are_left_out_and_counted(
    history: SQLiteHistory, folder: Path
) -> None:
    """A system prompt of old is no message; what stands around it is one line."""
    put(folder, [{"role": "system", "content": "Be kind."}, GOOD[0], GOOD[1]])
    report = await run(history, folder)
    assert (report.system, report.messages, report.already, report.set_aside) == (1, 2, 0, ())
    first, second = await stored(history)
    assert (first.parent_id, second.parent_id) == (None, first.id)
    assert (await run(history, folder)).already == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (json.dumps(GOOD).encode()[:-20], "truncated"),
        (bytes(4096), "malformed"),
        (json.dumps(GOOD).encode()[:40] + bytes(60), "malformed"),
        (b'{"messages": []}', "object"),
        (b'"text"', "str"),
        (b"\x80\x81", "malformed"),
        (b"[" * 100_000, "recursion"),
        (b"[" + b" " * MAX_FILE_BYTES + b"]", "larger than 4 MiB"),
    ],
    ids=["empty", "blank", "cut", "nul", "nul-tail", "object", "text", "bytes", "deep", "large"],
)
async def test_a_damaged_file_is_set_aside_and_the_rest_go_in(
    history: SQLiteHistory, folder: Path, content: bytes, words: str
) -> None:
    """A file that is no list is named with the reason and left as it is; the others go in."""
    damaged = put(folder, content, name="1.json")
    put(folder, GOOD, name="2.json")
    report = await run(history, folder)
    (aside,) = report.set_aside
    assert (aside.file, aside.index) == ("1.json", None)
    assert words in aside.reason
    assert (report.files, report.conversations, report.messages) == (2, 1, 3)
    assert damaged.read_bytes() == content
    assert [line.conversation for line in await history.conversations()] == ["discord:2"]


@pytest.mark.parametrize(
    "element",
    [
        b"7",
        b"null",
        b'"hello"',
        b"[]",
        b"{}",
        b'{"role": "user"}',
        b'{"role": "user", "content": null}',
        b'{"role": "tool", "content": "x"}',
        b'{"role": "user", "content": "x", "user_id": {}}',
        b'{"role": "user", "content": "\xff\xfe"}',
    ],
)
async def test_a_damaged_element_is_set_aside_and_the_rest_go_in(
    history: SQLiteHistory, folder: Path, element: bytes
) -> None:
    """What is no message is named by file and place; its neighbours become one line."""
    good = [json.dumps(item).encode() for item in GOOD]
    put(folder, b"[%s, %s, %s, %s]" % (good[0], element, good[1], good[2]))
    report = await run(history, folder)
    assert [(aside.file, aside.index) for aside in report.set_aside] == [(f"{CHANNEL}.json", 1)]
    assert report.set_aside[0].reason
    first, second, third = await stored(history)
    assert [said.parent_id for said in (first, second, third)] == [None, first.id, second.id]
    assert (await run(history, folder)).already == 3


@pytest.mark.parametrize("name", ["general.json", "12a.json", "-1.json", "9" * 20 + ".json"])
async def test_a_file_that_names_no_channel_is_set_aside(
    history: SQLiteHistory, folder: Path, name: str
) -> None:
    """Only the file's name tells the channel, so another name is no guess of ours."""
    put(folder, GOOD, name=name)
    report = await run(history, folder)
    assert report.set_aside == (SetAside(name, None, "its name is no channel's number"),)
    assert await history.conversations() == ()


async def test_what_is_no_file_is_set_aside_at_once(history: SQLiteHistory, folder: Path) -> None:
    """A pipe, a folder or a broken link by such a name does not keep the import waiting."""
    os.mkfifo(folder / "1.json")
    (folder / "2.json").mkdir()
    (folder / "3.json").symlink_to(folder / "nowhere")
    report = await run(history, folder)
    assert report.set_aside == tuple(
        SetAside(f"{number}.json", None, "it is no file") for number in (1, 2, 3)
    )


async def test_other_files_are_none_of_its_business(history: SQLiteHistory, folder: Path) -> None:
    """What is not named as such a file is neither read nor mentioned."""
    (folder / "notes.txt").write_text("keep")
    (folder / "1.json.bak").write_text("[")
    assert await run(history, folder) == ImportReport(
        files=0, conversations=0, messages=0, already=0, system=0, set_aside=()
    )


async def test_the_folder_is_left_as_it_is(history: SQLiteHistory, folder: Path) -> None:
    """Neither bytes nor times nor names in the folder change."""
    put(folder, GOOD, name="1.json")
    put(folder, b"[", name="2.json")
    before = snapshot(folder)
    await run(history, folder)
    assert snapshot(folder) == before


async def test_no_folder_is_told(history: SQLiteHistory, folder: Path) -> None:
    """A path that is no folder is named, with what is wanted."""
    for path in (folder / "nowhere", put(folder, GOOD)):
        with pytest.raises(NotFound, match=path.name) as raised:
            await run(history, path)
        assert "folder that holds" in raised.value.remedy


async def test_progress_is_told_file_by_file(history: SQLiteHistory, folder: Path) -> None:
    """Whoever watches hears how many files are done, of how many, from none to all."""
    for channel in range(3):
        put(folder, GOOD, name=f"{channel}.json")
    heard: list[tuple[int, int]] = []
    await import_folder(history, folder, lambda done, total: heard.append((done, total)))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_each_file_is_one_transaction(history: SQLiteHistory, folder: Path) -> None:
    """However long a file is, its messages are stored together."""
    for channel in range(5):
        put(folder, GOOD * 100, name=f"{channel}.json")
    before = history._thread.commits
    await run(history, folder)
    assert history._thread.commits - before == 5


async def test_an_import_that_was_broken_off_is_finished_by_the_next(
    history: SQLiteHistory, folder: Path
) -> None:
    """If the store fails half-way, what went in stays, and the next run adds the rest."""
    for channel in range(4):
        put(folder, GOOD * 300, name=f"{channel}.json")
    pages = await execute(history, "PRAGMA page_count")
    await execute(history, f"PRAGMA max_page_count = {pages + 240}")
    with pytest.raises(HistoryError, match="no room"):
        await run(history, folder)
    await execute(history, "PRAGMA max_page_count = 100000")
    report = await run(history, folder)
    assert report.messages + report.already == 4 * 900
    assert report.messages % 900 == 0 < report.already
    assert [len(await stored(history, channel)) for channel in range(4)] == [900] * 4


async def execute(history: SQLiteHistory, statement: str) -> int:
    """Run a pragma on the history's own connection and return its number."""
    rows = await history._thread.read(lambda connection: connection.execute(statement).fetchone())
    return int(rows[0])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_no_bytes_stop_an_import(
    history: SQLiteHistory, folder: Path, data: st.DataObject
) -> None:
    """However a file is mutilated, the import ends with a report that accounts for all of it."""
    content = bytearray(json.dumps(GOOD, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 5)))
        content[start:end] = data.draw(st.binary(max_size=5))
    put(folder, bytes(content))
    await history.clear(f"discord:{CHANNEL}")
    report = await run(history, folder)
    assert len(await stored(history)) == report.messages
    if report.set_aside[:1] and report.set_aside[0].index is None:
        assert (report.messages, len(report.set_aside)) == (0, 1)
    else:
        elements = json.loads(content.decode(errors="replace"), strict=False)
        assert report.messages + report.system + len(report.set_aside) == len(elements)
    assert (await run(history, folder)).messages == 0
