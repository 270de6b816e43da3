"""The journal: records in memory that outlive the process."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.telemetry.journal import Journal, Write
from acore_bot.telemetry.journal_layout import PAGE, SEGMENTS, Header, Intent, whole_end

RECORD = b"x" * (PAGE // 4 - 1) + b"\n"  # four fill a segment of one page


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An empty file."""
    opened = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def taken(journal: Journal, limit: int = 1000) -> list[bytes]:
    """Take and consume everything there is."""
    records: list[bytes] = []
    while batch := journal.take(limit):
        records += batch.records.splitlines()
        journal.consume(batch)
    return records


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Make records of which four fill a segment."""
    return [b"%0*d\n" % (PAGE // 4 - 1, number) for number in range(start, start + count)]


def read(records: list[bytes]) -> list[int]:
    """Return the numbers of such records."""
    return [int(record) for record in records]


def test_records_come_out_in_order_across_segments() -> None:
    """What is written comes out once, in order, however many segments it took."""
    with closing(Journal.in_memory(1)) as journal:
        for record in numbered(30):
            assert journal.write(record)
        assert journal.count() == 30
        assert read(taken(journal, 7)) == list(range(30))
        assert journal.count() == 0


def test_what_is_put_back_comes_again() -> None:
    """A batch that could not be written is taken anew."""
    with closing(Journal.in_memory(1)) as journal:
        journal.write(b"1\n")
        first = journal.take(5)
        journal.put_back()
        assert journal.take(5) == first


def test_a_batch_is_full_when_it_can_hold_no_more() -> None:
    """A batch with as many as wanted is full, and so is one that ends where two segments do."""
    with closing(Journal.in_memory(1)) as journal:
        for record in numbered(9):
            journal.write(record)
        assert [_is_full(journal, limit) for limit in (3, 50)] == [True, True]
        assert not _is_full(journal, 50)


def _is_full(journal: Journal, limit: int) -> bool:
    batch = journal.take(limit)
    assert batch
    journal.consume(batch)
    return batch.is_full


def test_a_full_journal_drops_the_oldest_segment() -> None:
    """Without room, the oldest segment is dropped whole, and its records are counted."""
    with closing(Journal.in_memory(1)) as journal:
        for record in numbered(4 * SEGMENTS + 1):
            assert journal.write(record)
        assert journal.dropped == 4
        assert read(taken(journal)) == list(range(4, 4 * SEGMENTS + 1))


def test_what_is_being_written_is_not_dropped() -> None:
    """While a batch is on its way, others than its segments are dropped."""
    with closing(Journal.in_memory(1)) as journal:
        for record in numbered(4 * SEGMENTS):
            journal.write(record)
        batch = journal.take(6)
        assert batch
        for record in numbered(8, start=100):
            assert journal.write(record)
        assert read(batch.records.splitlines()) == list(range(6))
        journal.consume(batch)
        assert journal.dropped == 8
        kept = [6, 7, *range(16, 4 * SEGMENTS), *range(100, 108)]
        assert read(taken(journal)) == kept


def test_partly_consumed_segments_count_what_is_left() -> None:
    """Dropping counts only records that were not done with."""
    with closing(Journal.in_memory(1)) as journal:
        for record in numbered(4 * SEGMENTS):
            journal.write(record)
        batch = journal.take(3)
        assert batch
        journal.consume(batch)
        journal.write(RECORD)
        assert journal.dropped == 1


def test_records_outlive_the_process(fd: int) -> None:
    """Opened anew, a journal has what was not consumed, in order, and goes on behind it."""
    with closing(Journal.in_file(fd, 1)) as journal:
        for record in numbered(10):
            journal.write(record)
        batch = journal.take(5)
        assert batch
        journal.consume(batch)
    with closing(Journal.in_file(fd, 1)) as journal:
        journal.write(numbered(1, start=10)[0])
        assert read(taken(journal)) == list(range(5, 11))
    with closing(Journal.in_file(fd, 1)) as journal:
        assert taken(journal) == []


def test_many_starts_use_no_more_room_than_one(fd: int) -> None:
    """A journal that cannot be emptied loses nothing by being opened again and again."""
    for number in range(3 * SEGMENTS):
        with closing(Journal.in_file(fd, 1)) as journal:
            journal.write(b"%d\n" % number)
    with closing(Journal.in_file(fd, 1)) as journal:
        assert journal.dropped == 0
        assert read(taken(journal)) == list(range(3 * SEGMENTS))


@pytest.mark.parametrize("torn", [b"[1,2", b"[1\x00\x002]\n", b"\x00\x002]2]\n", b"\x00\n"])
def test_a_record_that_was_being_copied_is_not_there(fd: int, torn: bytes) -> None:
    """What a kill left half copied is no record, is wiped, and new records follow unharmed."""
    with closing(Journal.in_file(fd, 1)) as journal:
        journal.write(b"1\n")
    os.pwrite(fd, torn, PAGE + len(b"1\n"))
    with closing(Journal.in_file(fd, 1)) as journal:
        journal.write(b"2\n")
    with closing(Journal.in_file(fd, 1)) as journal:
        assert taken(journal) == [b"1", b"2"]


def test_an_intent_counts_until_its_records_are_consumed(fd: int) -> None:
    """Whoever opens a journal learns of a write that was begun, and of none that was finished."""
    intent = Intent(day=739578, part=2, size=1234)
    with closing(Journal.in_file(fd, 1)) as journal:
        assert journal.unresolved is None
        journal.write(b"1\n")
        batch = journal.take(1)
        assert batch
        journal.intend(batch, intent)
    with closing(Journal.in_file(fd, 1)) as journal:
        assert journal.unresolved == intent
        batch = journal.take(1)
        assert batch
        journal.consume(batch)
    with closing(Journal.in_file(fd, 1)) as journal:
        assert journal.unresolved is None


def test_an_intent_is_never_half_another() -> None:
    """At each step of noting an intent, it is the old one, none, or the new one."""
    steps: list[Intent | None] = []

    class Words(dict[int, int]):
        def __setitem__(self, entry: int, word: int) -> None:
            super().__setitem__(entry, word)
            steps.append(header.intent)

    header = Header(cast("memoryview", Words(dict.fromkeys(range(99), 0))))
    old, new = Intent(1, 2, 3), Intent(4, 5, 6)
    header.intend(10, old)
    header.intend(10, new)
    assert set(steps) == {old, None, new}


def test_another_size_waits_until_the_journal_is_empty(fd: int) -> None:
    """A journal with records keeps its segments' size; an empty one takes the size wanted."""
    with closing(Journal.in_file(fd, 1)) as journal:
        journal.write(b"1\n")
    larger = 2 * SEGMENTS * PAGE
    with closing(Journal.in_file(fd, larger)) as journal:
        assert journal.segment_bytes == PAGE
        assert taken(journal) == [b"1"]
    with closing(Journal.in_file(fd, larger)) as journal:
        assert journal.segment_bytes == 2 * PAGE
        assert taken(journal) == []


@given(content=st.binary(max_size=200), size=st.sampled_from([0, PAGE, PAGE * 17]))
def test_a_file_that_is_no_journal_becomes_one(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    """Whatever is in the file, a journal can be made of it, without records."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    path.write_bytes((content * PAGE * 17)[:size] if content else bytes(size))
    fd = os.open(path, os.O_RDWR)
    with closing(Journal.in_file(fd, 1)) as journal:
        journal.write(b"1\n")
        assert taken(journal) == [b"1"]
    os.close(fd)


def test_room_that_cannot_be_had_is_said_at_once(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its whole room on the disk a journal is not opened, for later it would be a crash."""

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="full"):
        Journal.in_file(fd, 1)


def test_a_closed_journal_drops_what_comes() -> None:
    """After closing, nothing raises: what comes is counted as dropped."""
    journal = Journal.in_memory(1)
    journal.write(b"1\n")
    journal.close()
    journal.close()
    assert not journal.write(b"2\n")
    assert (journal.dropped, journal.count()) == (1, 1)


@given(st.lists(st.one_of(st.integers(1, PAGE), st.none()), max_size=120))
def test_nothing_is_lost_or_doubled(steps: list[int | None]) -> None:
    """Whatever is written and taken in whatever order, what was written is either taken, in order,
    or counted as dropped."""
    with closing(Journal.in_memory(1)) as journal:
        sizes: list[int] = []
        out: list[int] = []
        for size in steps:
            if size is None:
                batch = journal.take(3)
                if batch:
                    out += map(len, batch.records.splitlines(keepends=True))
                    journal.consume(batch)
            else:
                sizes.append(size)
                journal.write(b"x" * (size - 1) + b"\n")
        out += [len(record) + 1 for record in taken(journal)]
        assert len(out) + journal.dropped == len(sizes)
        remaining = iter(sizes)
        assert all(size in remaining for size in out)


def test_the_writer_in_one_step_is_told_when_it_changes() -> None:
    """Whoever writes in one step hears of each new segment, and the step refuses what has no
    room."""
    with closing(Journal.in_memory(1)) as journal:
        writes: list[Write] = []
        journal.aim(writes.append)
        for record in numbered(4):
            writes[-1](record)
        with pytest.raises(ValueError, match="out of range"):
            writes[-1](RECORD)
        journal.write(numbered(1, start=4)[0])
        writes[-1](numbered(1, start=5)[0])
        assert read(taken(journal)) == list(range(6))


def test_a_journal_that_is_moved_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is not done with is in the other one, in order; who wrote in one step is told where
    to, and has no room in the old one from the first record that is moved."""
    journal, other = Journal.in_memory(1), Journal.in_memory(1)
    write_one, aimed = other.write, list[Write]()
    journal.aim(aimed.append)
    for record in numbered(29):
        journal.write(record)
    batch = journal.take(6)
    assert batch
    journal.consume(batch)

    def write_and_try(record: bytes) -> bool:
        with pytest.raises(ValueError, match="out of range"):
            aimed[-1](RECORD)
        return write_one(record)

    monkeypatch.setattr(other, "write", write_and_try)
    with closing(other):
        journal.move_to(other)
        assert (journal.count(), journal.write(RECORD)) == (0, False)
        aimed[-1](numbered(1, start=29)[0])
        assert read(taken(other)) == list(range(6, 30))
        assert other.dropped == 0


def test_a_record_that_fits_nowhere_is_dropped() -> None:
    """It displaces no other."""
    with closing(Journal.in_memory(1)) as journal:
        journal.write(RECORD)
        assert not journal.write(b"x" * PAGE + b"\n")
        assert (journal.count(), journal.dropped) == (1, 1)


def test_the_end_of_whole_records_is_found_in_any_memory() -> None:
    """Records end with a newline and hold no zero byte."""
    assert whole_end(b"") == whole_end(bytes(9)) == 0
    assert whole_end(b"1\n2\n\0\0") == 4
    assert whole_end(b"1\n2\n3\0\n\0") == 4
