"""The log of events: what is logged is in it, once and whole, and nobody waits for that."""

import asyncio
import errno
import itertools
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock
from tests.fakes.event_log import Line, abandon, log_files, read_folder, tidy_up

from acore_bot.telemetry import batch_log, batch_writer
from acore_bot.telemetry.batch_log import BatchLog, BatchOptions, read_pending
from acore_bot.telemetry.events import FellBack
from acore_bot.telemetry.lines import lines_of, record_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
PATIENT = BatchOptions(batch_interval=3600)
TINY = BatchOptions(batch_interval=3600, journal_bytes=1, batch_size=5)

RealWrite = Callable[[int, bytes], int]


def log_some(log: BatchLog, count: int, start: int = 0) -> None:
    """Log numbered events."""
    for number in range(start, start + count):
        log.log_event("numbered", {"number": number})


def numbers(folder: Path) -> list[int]:
    """Return the numbered events of a log, in its order."""
    return [line.data["number"] for line in read_folder(folder) if line.type == "numbered"]


class Disk:
    """Writes as the system does, or refuses to; counts both, and knows the threads."""

    def __init__(self, write: RealWrite) -> None:
        self._write = write
        self.is_broken = False
        self.attempts = 0
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.has_written = threading.Event()
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, fd: int, lines: bytes) -> int:
        """Write, or not."""
        self.attempts += 1
        self.threads.add(threading.get_ident())
        self.may_go_on.wait(20)
        if self.is_broken:
            raise OSError(errno.EIO, "the disk is broken")
        written = self._write(fd, lines)
        if self.attempts < 20:
            self.meanwhile()
        self.has_written.set()
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The disk, to be watched and broken."""
    disk = Disk(os.write)
    monkeypatch.setattr(os, "write", disk)
    yield disk
    disk.may_go_on.set()


@pytest.fixture
def clock() -> SettableClock:
    """A monotonic clock."""
    return SettableClock()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_line_tells_when_what_and_all_of_it(tmp_path: Path) -> None:
    """Events are lines of JSON with a time in UTC, always of the same width, in the order in which
    they were logged; mappings and structs alike."""
    wall = SettableClock(NOON)
    fell_back = b'{"asked":"a/b","answered_by":"c/d","kind":"timeout"}'
    with closing(BatchLog.open(tmp_path, wall=wall)) as log:
        log.log_event("first", {"text": "a\nb\0"})
        wall.now += 0.25
        log.log_event("second", FellBack("a/b", "c/d", "timeout"))
        log.log_event("third", MappingProxyType({"deep": MappingProxyType({"x": 1})}))
    assert (tmp_path / "acore" / "2026-11-23.jsonl").read_bytes().splitlines() == [
        rb'{"timestamp":"2026-11-23T12:00:00.000000Z","type":"first","data":{"text":"a\nb\u0000"}}',
        b'{"timestamp":"2026-11-23T12:00:00.250000Z","type":"second","data":%b}' % fell_back,
        b'{"timestamp":"2026-11-23T12:00:00.250000Z","type":"third","data":{"deep":{"x":1}}}',
    ]


def test_the_figures_of_the_log(tmp_path: Path) -> None:
    """The statistics have the names that owners know, and tell what waits and what was written."""
    log = BatchLog.open(tmp_path, PATIENT)
    log_some(log, 7)
    before = log.get_batch_stats()
    log.start_batch_flush_task()
    is_running = log.get_batch_stats()["batch_task_running"]
    log.close()
    zero = {"batch_size": 50, "batch_interval": 3600, "dropped": 0, "failed": 0}
    assert before == zero | {"pending_events": 7, "batch_task_running": False, "written": 0}
    assert is_running
    after = log.get_batch_stats()
    assert after == zero | {"pending_events": 0, "batch_task_running": False, "written": 7}


async def test_nothing_is_written_in_the_thread_that_logs(tmp_path: Path, disk: Disk) -> None:
    """A loop that does not yield, and one that stops the log, writes nothing itself, and makes no
    tasks."""
    log = BatchLog.open(tmp_path, PATIENT)
    log.start_batch_flush_task()
    log_some(log, 1010)
    assert len(asyncio.all_tasks()) == 1
    await log.stop_batch_flush_task()
    assert threading.get_ident() not in disk.threads
    assert disk.attempts == 21
    assert numbers(tmp_path / "acore") == list(range(1010))
    log.close()


async def test_a_disk_that_hangs_does_not_stop_the_loop(tmp_path: Path, disk: Disk) -> None:
    """While the disk takes its time, events can be logged and others have their turn; also while
    the log is being stopped, and when whoever stops it is cancelled."""
    log = BatchLog.open(tmp_path, PATIENT)
    log.start_batch_flush_task()
    disk.may_go_on.clear()
    log_some(log, 120)
    stopping = asyncio.create_task(log.stop_batch_flush_task())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not stopping.done()
    stopping.cancel()
    await asyncio.wait([stopping])
    disk.may_go_on.set()
    await log.stop_batch_flush_task()
    log.close()
    assert numbers(tmp_path / "acore") == list(range(120))


@pytest.mark.parametrize("count", [10, 60])
async def test_a_disk_that_hangs_does_not_keep_the_bot_from_ending(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Whether it hangs at a full batch or at the rest, stopping and closing give up in time, and
    what was not written is in the journal."""
    monkeypatch.setattr(batch_log, "STOP_SECONDS", 0.01)
    log = BatchLog.open(tmp_path, PATIENT)
    disk.may_go_on.clear()
    log_some(log, count)
    log.start_batch_flush_task()
    await log.stop_batch_flush_task()
    log.close()
    assert len(read_pending(tmp_path / "acore" / "journal")) == count
    disk.may_go_on.set()
    assert log._thread
    await asyncio.to_thread(log._thread.join)
    log.close()
    assert numbers(tmp_path / "acore") == list(range(count))


def test_a_partial_batch_is_written_after_a_while(tmp_path: Path, disk: Disk) -> None:
    """Without further events, the thread writes what waits once the interval has passed."""
    log = BatchLog.open(tmp_path, BatchOptions(batch_interval=0.01))
    log_some(log, 3)
    log.start_batch_flush_task()
    assert disk.has_written.wait(20)
    log.close()
    assert disk.attempts == 1


def test_no_event_waits_longer_than_the_interval(
    tmp_path: Path, disk: Disk, clock: SettableClock
) -> None:
    """Full batches go at once, a partial one when the interval since all was written is over; then
    events may gather anew."""
    log = BatchLog.open(tmp_path, BatchOptions(batch_interval=5.0), clock=clock)
    log_some(log, 70)
    waits = []
    for seconds in (4.9, 0.1, 1.0, 4.0):
        clock.advance(seconds)
        log._writer.work()
        waits.append((disk.attempts, log._writer.rest()))
        log_some(log, 1)
    assert waits == [(1, pytest.approx(0.1)), (2, 5.0), (2, 4.0), (3, 5.0)]
    log.close()


def test_what_comes_during_a_write_gathers_anew(
    tmp_path: Path, disk: Disk, clock: SettableClock
) -> None:
    """Events that come while the rest is written are no reason for a write each."""
    log = BatchLog.open(tmp_path, BatchOptions(batch_interval=5.0), clock=clock)
    log_some(log, 1)
    disk.meanwhile = lambda: log_some(log, 1)
    clock.advance(5.0)
    log._writer.work()
    assert disk.attempts == 1
    log.close()


def test_logging_needs_no_loop_and_no_thread(tmp_path: Path) -> None:
    """Events may come before the thread is started, between two starts, and after the last stop,
    in any number; starting and closing twice does nothing more than once."""
    log = BatchLog.open(tmp_path, PATIENT)
    log_some(log, 120)
    log.start_batch_flush_task()
    thread = log._thread
    log.start_batch_flush_task()
    assert log._thread is thread
    asyncio.run(log.stop_batch_flush_task())
    log_some(log, 60, start=120)
    assert log.get_batch_stats()["pending_events"] == 60
    log.start_batch_flush_task()
    log.close()
    log.close()
    log_some(log, 5, start=180)
    log.start_batch_flush_task()
    asyncio.run(log.stop_batch_flush_task())
    stats = log.get_batch_stats()
    assert (stats["dropped"], stats["batch_task_running"]) == (5, False)
    assert numbers(tmp_path / "acore") == list(range(180))


def test_what_is_logged_after_a_stop_waits_for_the_next_start(tmp_path: Path) -> None:
    """A process that ends without closing loses nothing that came late."""
    log = BatchLog.open(tmp_path, PATIENT)
    asyncio.run(log.stop_batch_flush_task())
    log_some(log, 3)
    abandon(log)
    assert len(read_pending(tmp_path / "acore" / "journal")) == 3
    BatchLog.open(tmp_path, PATIENT).close()
    assert numbers(tmp_path / "acore") == [0, 1, 2]


def test_a_failing_disk_is_tried_less_and_less(
    tmp_path: Path, disk: Disk, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Attempts are 1, 2, 4 … 60 s apart, however many events come; one warning tells of it, one
    line and one event of the end; nothing is lost that had room."""
    log = BatchLog.open(tmp_path, PATIENT, clock=clock)
    disk.is_broken = True
    waits = []
    for start in range(0, 5000, 50):
        log_some(log, 50, start=start)
        before = disk.attempts
        log._writer.work()
        if disk.attempts > before:
            waits.append(log._writer.rest())
        clock.advance(5.0)
    assert waits[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(waits[6:]) == {60.0}
    assert len(waits) == disk.attempts == log.get_batch_stats()["failed"]
    assert disk.attempts < 16
    disk.is_broken = False
    caplog.set_level(logging.INFO)
    log.close()
    lines = read_folder(tmp_path / "acore")
    assert numbers(tmp_path / "acore") == list(range(5000))
    assert lines[-1].type == "batch_log_recovered"
    assert lines[-1].data == {"dropped": 0, "seconds": 500.0}
    assert len(warnings_in(caplog)) == 1
    assert "the disk is broken" in warnings_in(caplog)[0]
    assert sum("written again" in record.getMessage() for record in caplog.records) == 1


def test_what_waits_is_bounded_and_what_is_dropped_is_told(tmp_path: Path, disk: Disk) -> None:
    """When memory is full the oldest go, counted; what is left is written."""
    log = BatchLog.open(tmp_path, TINY)
    disk.is_broken = True
    log_some(log, 20)
    log._writer.work()
    log_some(log, 4980, start=20)
    dropped = log.get_batch_stats()["dropped"]
    assert isinstance(dropped, int)
    assert 0 < dropped < 5000
    disk.is_broken = False
    log.close()
    assert numbers(tmp_path / "acore") == list(range(dropped, 5000))
    (end,) = (line for line in read_folder(tmp_path / "acore") if line.type != "numbered")
    assert end.data["dropped"] == dropped


def test_a_disk_that_stays_broken_leaves_all_to_the_next_start(tmp_path: Path, disk: Disk) -> None:
    """Stopping gives up after one attempt, and what could not be written is there next time."""
    log = BatchLog.open(tmp_path, PATIENT)
    disk.is_broken = True
    log_some(log, 130)
    log.start_batch_flush_task()
    log.close()
    assert log.get_batch_stats()["pending_events"] == 130
    disk.is_broken = False
    BatchLog.open(tmp_path, PATIENT).close()
    assert numbers(tmp_path / "acore") == list(range(130))


def test_a_folder_that_cannot_be_had(
    tmp_path: Path, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a folder nothing is raised: events wait in memory, one warning says so, and they are
    written once there is one, with what an earlier process left there first."""
    folder = tmp_path / "logs"
    left = BatchLog.open(folder, PATIENT)
    log_some(left, 3)
    abandon(left)
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    log = BatchLog.open(folder, PATIENT, clock=clock)
    log_some(log, 60, start=3)
    log._writer.work()
    clock.advance(1.0)
    log._writer.work()
    assert (log._writer.rest(), len(warnings_in(caplog))) == (2.0, 1)
    folder.unlink()
    (tmp_path / "away").rename(folder)
    clock.advance(2.0)
    log._writer.work()
    log.close()
    assert numbers(folder / "acore") == list(range(63))


def test_a_folder_that_comes_late_is_as_safe_as_one_that_was_there(
    tmp_path: Path, clock: SettableClock
) -> None:
    """Once the folder can be had, so can its journal: what is logged from then on outlives a kill,
    and what was waiting in memory is in the log once, like what an earlier process left."""
    folder = tmp_path / "logs"
    left = BatchLog.open(folder, PATIENT)
    log_some(left, 3)
    batch = left._journal.take(2)
    assert batch
    files = left._find_files()
    left._journal.intend(batch, files.prepare(9))
    files.append(lines_of(batch.records))  # and is killed before it can say so
    abandon(left)
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    log = BatchLog.open(folder, PATIENT, clock=clock)
    log_some(log, 60, start=3)
    folder.unlink()
    (tmp_path / "away").rename(folder)
    clock.advance(2.0)
    log._writer.work()
    log_some(log, 7, start=63)
    abandon(log)
    assert len(read_pending(folder / "acore" / "journal")) == 8  # and the event of the recovery
    BatchLog.open(folder, PATIENT).close()
    assert numbers(folder / "acore") == list(range(70))


def test_what_is_in_memory_alone_and_cannot_be_written_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that have neither journal nor log are lost at the end, and that is said."""
    (tmp_path / "logs").write_text("in the way")
    log = BatchLog.open(tmp_path / "logs", PATIENT)
    log_some(log, 3)
    log.close()
    assert "3 events" in warnings_in(caplog)[-1]


def test_a_journal_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without room for a journal, events wait in memory and are logged all the same; it is said
    once."""

    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not on this disk")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    log = BatchLog.open(tmp_path, PATIENT)
    log_some(log, 60)
    log.close()
    assert numbers(tmp_path / "acore") == list(range(60))
    assert len(warnings_in(caplog)) == 1
    assert "not on this disk" in warnings_in(caplog)[0]


def open_without_room(folder: Path, options: BatchOptions) -> BatchLog:
    """Open a log on a disk that has no room for a journal, until it is open."""

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        log = BatchLog.open(folder, options)
        log_some(log, 50)
        log._writer.work()
    assert not log._journal.is_kept
    return log


def test_a_journal_that_can_be_had_later(tmp_path: Path) -> None:
    """When there is room at last, the journal gets its file while events come, from several
    threads: none is lost, none is doubled, and what is logged then outlives a kill."""
    options = BatchOptions(batch_interval=0.001, journal_bytes=1 << 20)
    log = open_without_room(tmp_path, options)
    starts = range(50, 8050, 2000)
    threads = [threading.Thread(target=log_some, args=(log, 2000, start)) for start in starts]
    for thread in threads:
        thread.start()
    log.start_batch_flush_task()
    for thread in threads:
        thread.join()
    asyncio.run(log.stop_batch_flush_task())
    log_some(log, 5, start=8050)
    abandon(log)
    assert len(read_pending(tmp_path / "acore" / "journal")) == 5
    BatchLog.open(tmp_path, options).close()
    assert sorted(numbers(tmp_path / "acore")) == list(range(8055))
    assert log.get_batch_stats()["dropped"] == 0


def test_who_logs_while_the_journal_moves_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event on its way to memory is written to the file that took its place."""
    log = open_without_room(tmp_path, PATIENT)
    memory, write = log._journal, log._journal.write

    def write_late(record: bytes) -> bool:
        log._keep_journal()
        return write(record)

    monkeypatch.setattr(memory, "write", write_late)
    log.log_event("strange", object())
    log.close()
    (told,) = (line for line in read_folder(tmp_path / "acore") if line.type != "numbered")
    assert told.type == "unencodable_event"
    assert log.get_batch_stats()["dropped"] == 0


def test_a_fault_of_ours_does_not_end_the_thread(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, clock: SettableClock
) -> None:
    """Whatever goes wrong while writing, it is tried again, and the events are kept."""

    def fail(_: bytes) -> bytes:
        raise RuntimeError("a bug")

    log = BatchLog.open(tmp_path, PATIENT, clock=clock)
    log_some(log, 50)
    with monkeypatch.context() as patch:
        patch.setattr(batch_writer, "lines_of", fail)
        log._writer.work()
    assert log.get_batch_stats()["failed"] == 1
    log.close()
    assert numbers(tmp_path / "acore") == list(range(50))


class Hostile:
    """An object whose text is a secret."""

    def __repr__(self) -> str:
        return "secret"


class Trap(Mapping[str, object]):
    """A mapping that is none."""

    def __getitem__(self, key: str) -> object:
        return self

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise ZeroDivisionError("secret")


def endless() -> list[object]:
    """Make a list that contains itself."""
    found: list[object] = []
    found.append(found)
    return found


WILD = st.sampled_from(
    [
        Hostile(),
        {"secret": Hostile()},
        {Hostile(): 1},
        {"secret": "\ud800"},
        endless(),
        {"secret": endless()},
        {"secret": 1j},
        type("secret" * 100, (), {})(),
        {"secret": "x" * 5000},
        {"secret": 2**70},
    ]
)
TAME = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.one_of(
        st.none(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    ),
    max_size=4,
)


@given(events=st.lists(st.one_of(WILD, TAME.map(lambda data: {"tame": data})), max_size=30))
def test_what_cannot_be_encoded_harms_nobody(
    tmp_path_factory: pytest.TempPathFactory, events: list[object]
) -> None:
    """Among good events, each that JSON cannot hold leaves one line that names its type and its
    class, and nothing of its content; all others are there, once, in order."""
    folder = tmp_path_factory.mktemp("logs")
    with closing(BatchLog.open(folder, TINY)) as log:
        for event in events:
            log.log_event("event", event)
            log._writer.work()
    lines = read_folder(folder / "acore")
    assert len(lines) == len(events)
    for line, event in zip(lines, events, strict=True):
        if isinstance(event, dict) and "tame" in event:
            assert (line.type, line.data) == ("event", event)
        elif line.type == "unencodable_event":
            name = type(event).__name__[:200].encode("utf-8", "replace").decode()
            assert line.data == {"type": "event", "class": name}
        else:
            assert event == {"secret": 2**70}


def test_what_raises_while_it_is_encoded_is_told() -> None:
    """Code of the event's own may raise anything."""
    record = record_of(NOON, "event", Trap(), 4096)
    assert b"secret" not in record
    assert b'"unencodable_event",{"type":"event","class":"Trap"}' in record


def test_a_type_that_cannot_be_encoded_is_told() -> None:
    """A wrong type costs the event its content, not its neighbours their place."""
    wrong: Any = Hostile()
    for given_type, told in ((wrong, b"Hostile"), ("\ud800", b"?"), ("x" * 5000, b"x" * 200)):
        record = record_of(NOON, given_type, {}, 4096)
        assert b'"unencodable_event",{"type":"' + told + b'","class":"dict"}' in record


@pytest.mark.parametrize("raw", [b"no json", b"1]\n[2", b"\0"])
def test_a_record_that_cannot_be_read_harms_nobody(tmp_path: Path, raw: bytes) -> None:
    """What calls itself JSON and is not is told as such, and its neighbours are whole."""
    with closing(BatchLog.open(tmp_path, PATIENT)) as log:
        log_some(log, 1)
        log.log_event("raw", {"x": msgspec.Raw(raw)})
        log_some(log, 1, start=1)
    lines = read_folder(tmp_path / "acore")
    assert {line.type for line in lines[1:-1]} == {"unencodable_event"}
    assert numbers(tmp_path / "acore") == [0, 1]


def test_clocks_that_jump(tmp_path: Path) -> None:
    """A clock that jumps ten years ahead and back again costs nothing, and times are told as they
    were read."""
    wall = SettableClock(NOON)
    with closing(BatchLog.open(tmp_path, TINY, wall=wall)) as log:
        for number, jump in enumerate((0, 315_360_000, -315_360_000 - 86_400, 0)):
            wall.advance(jump)
            log_some(log, 5, start=5 * number)
            log._writer.work()
    assert sorted(numbers(tmp_path / "acore")) == list(range(20))
    years = [line.timestamp[:10] for line in read_folder(tmp_path / "acore")]
    assert Counter(years) == {"2026-11-22": 10, "2026-11-23": 5, "2036-11-20": 5}
    with closing(BatchLog.open(tmp_path, TINY, wall=wall)) as log:
        log_some(log, 1, start=20)
    assert log_files(tmp_path / "acore")[0].name == "2026-11-22.jsonl"


def test_two_processes_write_beside_each_other(tmp_path: Path) -> None:
    """Who comes second has a folder of its own; who comes later takes over what both left, once."""
    first, second = (BatchLog.open(tmp_path, PATIENT) for _ in range(2))
    log_some(first, 3)
    log_some(second, 3, start=10)
    abandon(second)
    third = BatchLog.open(tmp_path, PATIENT)
    assert numbers(tmp_path / "acore-2") == []  # it is its own now, and written when it is time
    abandon(third)
    abandon(first)
    last = BatchLog.open(tmp_path, PATIENT)
    assert numbers(tmp_path / "acore-2") == [10, 11, 12]
    last.close()
    BatchLog.open(tmp_path, PATIENT).close()
    assert numbers(tmp_path / "acore") == [0, 1, 2]
    assert numbers(tmp_path / "acore-2") == [10, 11, 12]


def test_what_cannot_be_taken_over_stays(tmp_path: Path, disk: Disk) -> None:
    """A disk that is broken at the start costs nothing of what others left."""
    first, second = (BatchLog.open(tmp_path, PATIENT) for _ in range(2))
    log_some(second, 3)
    abandon(second)
    abandon(first)
    disk.is_broken = True
    BatchLog.open(tmp_path, PATIENT).close()
    disk.is_broken = False
    BatchLog.open(tmp_path, PATIENT).close()
    assert numbers(tmp_path / "acore-2") == [0, 1, 2]


def test_many_threads(tmp_path: Path) -> None:
    """What many threads log at once, across many segments, is in the log once, each thread's in
    its order."""
    options = BatchOptions(batch_interval=3600, journal_bytes=1 << 20)
    log = BatchLog.open(tmp_path, options)
    log.start_batch_flush_task()

    def work(thread: int) -> None:
        for number in range(2000):
            log.log_event("counted", {"thread": thread, "number": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    log.close()
    stats = log.get_batch_stats()
    assert (stats["written"], stats["dropped"]) == (16_000, 0)
    lines = read_folder(tmp_path / "acore")
    for thread_number in range(8):
        found = [line.data["number"] for line in lines if line.data["thread"] == thread_number]
        assert found == list(range(2000))


def test_threads_that_log_more_than_there_is_room_for(tmp_path: Path) -> None:
    """Under a flood, each event is in the log once or counted as dropped."""
    log = BatchLog.open(tmp_path, TINY)
    log.start_batch_flush_task()
    threads = [threading.Thread(target=log_some, args=(log, 5000, n * 5000)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    log.close()
    found = numbers(tmp_path / "acore")
    stats = log.get_batch_stats()
    assert stats["written"] == len(found) == len(set(found))
    assert isinstance(stats["dropped"], int)
    assert len(found) + stats["dropped"] == 20_000


def test_a_signal_handler_that_logs(tmp_path: Path) -> None:
    """A handler may log at any moment, also while the interrupted thread logs or takes a new
    segment: nothing hangs, and every event is there once."""
    options = BatchOptions(batch_interval=3600, journal_bytes=1, batch_size=20)
    log = BatchLog.open(tmp_path, options)
    handled = itertools.count(1_000_000)

    def handle(_: int, __: FrameType | None) -> None:
        log_some(log, 5, start=next(handled) * 5)

    before = signal.signal(signal.SIGVTALRM, handle)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001, 0.0001)
    try:
        for start in range(0, 60_000, 20):
            log_some(log, 20, start=start)
            log._writer.work()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    log.close()
    found = numbers(tmp_path / "acore")
    count_handled = (next(handled) - 1_000_000) * 5
    dropped = log.get_batch_stats()["dropped"]
    assert isinstance(dropped, int)
    assert count_handled > 0
    assert len(found) == len(set(found)) == 60_000 + count_handled - dropped


def test_closed_files_are_compressed_while_events_come(tmp_path: Path) -> None:
    """Files that are full are compressed by and by, and no event is missing."""
    options = BatchOptions(batch_interval=3600, max_file_bytes=20_000)
    log = BatchLog.open(tmp_path, options)
    for start in range(0, 2000, 50):
        log_some(log, 50, start=start)
        log._writer.work()
    tidy_up(log)
    log.close()
    assert numbers(tmp_path / "acore") == list(range(2000))
    assert [path.suffix for path in log_files(tmp_path / "acore")][-2:] == [".gz", ".jsonl"]


def test_pending_lines_are_those_that_the_log_lacks(tmp_path: Path) -> None:
    """Lines of a write that a kill cut short are pending only if they are not in the log, and
    reading them changes nothing."""
    journal = tmp_path / "acore" / "journal"
    assert read_pending(journal) == []
    log = BatchLog.open(tmp_path, PATIENT)
    log_some(log, 4)
    batch = log._journal.take(4)
    assert batch
    files = log._find_files()
    lines = lines_of(batch.records)
    log._journal.intend(batch, files.prepare(1))
    files.append(b"".join(lines.splitlines(keepends=True)[:2])[:-5])
    before = journal.read_bytes()
    assert b"".join(read_pending(journal)) == b"".join(lines.splitlines(keepends=True)[1:])
    assert journal.read_bytes() == before
    abandon(log)
    journal.write_bytes(before[:100])
    assert read_pending(journal) == []


def test_lines_that_are_read_are_lines_that_are_written(tmp_path: Path) -> None:
    """What is told as pending is what the log has later."""
    log = BatchLog.open(tmp_path, PATIENT)
    log_some(log, 4)
    log.log_event("wild", Hostile())
    pending = read_pending(tmp_path / "acore" / "journal")
    log.close()
    (path,) = log_files(tmp_path / "acore")
    assert path.read_bytes() == b"".join(pending)
    assert [msgspec.json.decode(line, type=Line).type for line in pending][-2:] == [
        "numbered",
        "unencodable_event",
    ]
