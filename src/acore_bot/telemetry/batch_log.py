"""The log of events: an event costs its caller a memory copy, and many of them one disk write.

`log_event` puts a record into the journal. A thread takes full batches from it, and what is left
after a while, and appends each with one write. A kill at any moment loses nothing, doubles nothing
and tears nothing: what the log does not have yet is in the journal, and the next start finds it.
"""

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, Self, TypeAlias

import msgspec
from msgspec import Struct

from acore_bot.telemetry.figures import BatchStats
from acore_bot.telemetry.journal import Batch, Journal, Write
from acore_bot.telemetry.journal_layout import PAGE, SEGMENTS, pending_records, read_header
from acore_bot.telemetry.lines import encoder, lines_of, record_of
from acore_bot.telemetry.log_files import LogFile, LogFiles, Series, claim_abandoned, claim_first

MAX_DELAY_SECONDS = 60.0
STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]
Bell: TypeAlias = SimpleQueue[None]


class BatchOptions(Struct, frozen=True, kw_only=True):
    """How the log is written. `batch_interval` is the longest that an event waits, in seconds;
    `keep_days` how many dates with events are kept; `journal_bytes` how much may wait."""

    batch_size: int = 50
    batch_interval: float = 5.0
    keep_days: int = 30
    max_file_bytes: int = 64 * 1024 * 1024
    journal_bytes: int = 4 * 1024 * 1024


DEFAULTS = BatchOptions()


class LogEvent(Protocol):
    """Logs an event; from any thread or signal handler, with or without a loop. Never raises."""

    def __call__(self, event_type: str, event_data: object) -> None:
        """`event_data` is a mapping or a struct; what JSON cannot hold is logged as
        `unencodable_event`, without its content."""


class _Outage(Struct):
    """A time in which nothing can be written. Times are of the monotonic clock."""

    began_at: float
    dropped_before: int
    delay: float = 0.5
    retry_at: float = 0.0


class BatchWriter:
    """Moves records from a journal to the log, one batch a write, and waits longer and longer while
    that fails. `written` counts events, `failed` attempts to write that failed."""

    def __init__(
        self,
        journal: Journal,
        find_files: Callable[[], LogFiles],
        options: BatchOptions,
        wall: Clock = time.time,
        clock: Clock = time.monotonic,
    ) -> None:
        """`find_files` may raise `OSError`, and is asked again later then."""
        self._journal = journal
        self._find_files = find_files
        self._options = options
        self._wall = wall
        self._clock = clock
        self._files: LogFiles | None = None
        self._tidying: Generator[bool, None, None] | None = None
        self._outage: _Outage | None = None
        self._due_at = clock() + options.batch_interval
        self._lock = threading.Lock()
        self.written = 0
        self.failed = 0

    def rest(self) -> float:
        """Return for how many seconds there is nothing to do, unless the bell rings."""
        if self._outage:
            return max(self._outage.retry_at - self._clock(), 0.0)
        return 0.0 if self._tidying else max(self._due_at - self._clock(), 0.0)

    def work(self) -> None:
        """Write what is due, and keep the folder in order."""
        with self._lock:
            if not self._outage:
                self._attempt(with_rest=self._clock() >= self._due_at)
            elif self._clock() >= self._outage.retry_at:
                self._attempt(with_rest=True)
            self._tidy_a_little()

    def settle(self) -> None:
        """Write all there is, if that is possible, and leave the files alone until further work."""
        with self._lock:
            had_outage = self._outage is not None
            self._attempt(with_rest=True)
            if had_outage:
                self._attempt(with_rest=True)  # for the event that tells of its end
            if self._tidying:
                self._tidying.close()
                self._tidying = None
            if self._files:
                self._files.close()

    def fail(self, error: Exception) -> None:
        """Note that nothing can be written, and wait before the next attempt."""
        self.failed += 1
        now = self._clock()
        if self._outage is None:
            self._outage = _Outage(now, self._journal.dropped)
            _log.warning(
                "The log of events cannot be written: %s. Events wait in memory, the oldest are "
                "dropped when it is full. See whether the disk has room and the folder is ours.",
                error,
            )
        self._outage.delay = min(self._outage.delay * 2, MAX_DELAY_SECONDS)
        self._outage.retry_at = now + self._outage.delay

    def _attempt(self, *, with_rest: bool) -> None:
        try:
            self._write_batches(with_rest=with_rest)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live
            self._journal.put_back()
            self.fail(error)
        else:
            self._recover()

    def _write_batches(self, *, with_rest: bool) -> None:
        files = self._files = self._files or self._find_files()
        if self._journal.unresolved:
            files.undo(self._journal.unresolved)
            self._journal.unresolved = None
        while batch := self._journal.take(self._options.batch_size):
            if not batch.is_full and not with_rest:
                self._journal.put_back()
                return
            self._write(batch, files)
            if not batch.is_full:
                break  # what comes meanwhile may gather again
        self._due_at = self._clock() + self._options.batch_interval

    def _write(self, batch: Batch, files: LogFiles) -> None:
        lines = lines_of(batch.records)
        self._journal.intend(batch, files.prepare(len(lines)))
        files.append(lines)
        self._journal.consume(batch)
        self.written += batch.count

    def _recover(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            return
        dropped = self._journal.dropped - outage.dropped_before
        seconds = round(self._clock() - outage.began_at, 3)
        _log.info("The log of events is written again; %d events were dropped.", dropped)
        told = {"dropped": dropped, "seconds": seconds}
        record = record_of(self._wall(), "batch_log_recovered", told, self._journal.segment_bytes)
        self._journal.write(record)

    def _tidy_a_little(self) -> None:
        if self._files and not self._files.is_tidy and self._tidying is None:
            self._tidying = self._files.tidy()
        if self._tidying is not None:
            try:
                has_more = next(self._tidying, False)
            except OSError:  # the next new file is another occasion
                has_more = False
            if not has_more:
                self._tidying = None


class BatchLog:
    """The log of events of one process. Another process with the same folder writes beside it.

    What is logged before the thread is started, or after it was stopped, waits in the journal, also
    beyond the end of the process. A process that is forked off must open its own.
    """

    log_event: LogEvent

    def __init__(
        self, folder: Path, options: BatchOptions, series: str, wall: Clock, clock: Clock
    ) -> None:
        self._folder = folder
        self._options = options
        self._name = series
        self._wall = wall
        self._clock = clock
        self._bell: Bell = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._halting = threading.Lock()
        self._is_closed = False
        self._series: Series | None = None
        self._open()

    @classmethod
    def open(
        cls,
        folder: Path,
        options: BatchOptions = DEFAULTS,
        *,
        series: str = "acore",
        wall: Clock = time.time,
        clock: Clock = time.monotonic,
    ) -> Self:
        """Open the log in a folder, and take over what processes that are gone left there.

        If nothing can be written there, it says so once, keeps what fits into memory, and tries
        again later. `wall` tells Unix seconds, `clock` those of a monotonic clock.
        """
        return cls(folder, options, series, wall, clock)

    def start_batch_flush_task(self) -> None:
        """Start the thread that writes, unless it runs."""
        if self._thread is None and not self._is_closed:
            self._stopping = threading.Event()
            # A daemon, lest a disk that hangs keep the process from ending: the journal stays.
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="acore-batch-log", daemon=True
            )
            self._thread.start()

    async def stop_batch_flush_task(self) -> None:
        """Write all there is and stop the thread. What cannot be written stays in the journal."""
        await asyncio.to_thread(self._halt)

    def close(self) -> None:
        """Write all there is, stop the thread, and let go of the folder. Later events are dropped,
        and counted as such. It may block as long as the disk does."""
        if self._halt() and not self._is_closed:
            self._is_closed = True
            waiting = self._journal.count()
            if waiting and not self._journal.is_kept:
                _log.warning("%d events could not be written to the log and are lost.", waiting)
            self._journal.close()
            if self._series:
                self._series.close()

    def get_batch_stats(self) -> dict[str, object]:
        """Tell how the log is doing, as in `BatchStats`. `failed` counts attempts to write."""
        stats = BatchStats(
            pending_events=self._journal.count(),
            batch_size=self._options.batch_size,
            batch_interval=self._options.batch_interval,
            batch_task_running=self._thread is not None and self._thread.is_alive(),
            written=self._writer.written,
            dropped=self._journal.dropped,
            failed=self._writer.failed,
        )
        return msgspec.structs.asdict(stats)

    def _open(self) -> None:
        failure: OSError | None = None
        try:
            self._series = claim_first(self._folder, self._name)
        except OSError as error:
            failure = error
        self._journal = self._map(self._series)
        self._writer = self._writer_of(self._journal, self._find_files)
        self.log_event = _make_log_event(
            self._journal, self._bell, self._options.batch_size, self._wall
        )
        if failure:
            self._writer.fail(failure)
        else:
            self._take_over_abandoned()

    def _map(self, series: Series | None) -> Journal:
        if series:
            try:
                return Journal.in_file(series.fd, self._options.journal_bytes)
            except OSError as error:
                _log.warning(
                    "The journal of events in %s cannot be had: %s. Events wait in memory alone, "
                    "and those of the last seconds are lost if the process is killed.",
                    series.folder,
                    error,
                )
        return Journal.in_memory(self._options.journal_bytes)

    def _find_files(self) -> LogFiles:
        if self._series is None:
            self._series = claim_first(self._folder, self._name)
            self._take_over(self._series)
        return self._files_of(self._series)

    def _files_of(self, series: Series) -> LogFiles:
        return LogFiles(
            series.folder,
            max_file_bytes=self._options.max_file_bytes,
            keep_days=self._options.keep_days,
            wall=self._wall,
        )

    def _writer_of(self, journal: Journal, find_files: Callable[[], LogFiles]) -> BatchWriter:
        return BatchWriter(journal, find_files, self._options, self._wall, self._clock)

    def _take_over_abandoned(self) -> None:
        for series in claim_abandoned(self._folder, self._name):
            with closing(series):
                self._take_over(series)

    def _take_over(self, series: Series) -> None:
        """Write what is in a journal to the log beside it; what cannot be written stays there."""
        with suppress(OSError), closing(Journal.in_file(series.fd, PAGE)) as journal:
            self._writer_of(journal, lambda: self._files_of(series)).settle()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            with suppress(queue.Empty):
                self._bell.get(timeout=self._writer.rest())
            self._writer.work()

    def _halt(self) -> bool:
        """Stop the thread and write the rest; False if the disk keeps the thread from ending."""
        with self._halting:
            if self._thread:
                self._stopping.set()
                self._bell.put(None)
                self._thread.join(STOP_SECONDS)
                if self._thread.is_alive():
                    return False
                self._thread = None
            if not self._is_closed:
                self._writer.settle()
            return True


def _make_log_event(journal: Journal, bell: Bell, batch_size: int, wall: Clock) -> LogEvent:
    """Make the function that logs: a closure, so that nothing has to be looked up. The bell rings
    for each batch."""
    encode_lines, ring, is_silent = encoder.encode_lines, bell.put, bell.empty
    is_last_of_batch = itertools.cycle([*[False] * (batch_size - 1), True]).__next__
    write: Write

    def aim(target: Write) -> None:
        nonlocal write
        write = target

    def log_event(event_type: str, event_data: object) -> None:
        try:
            # Copied by one call in C, which no thread and no signal handler can interrupt.
            write(encode_lines(((wall(), event_type, event_data),)))
        except Exception:  # noqa: BLE001 - the segment is full, or the event cannot be encoded
            journal.write(record_of(wall(), event_type, event_data, journal.segment_bytes))
        if is_last_of_batch() and is_silent():
            ring(None)

    journal.aim(aim)
    return log_event


def read_pending(journal: Path) -> list[bytes]:
    """Return the lines that the log beside a journal does not have yet, and change nothing.

    If a process is writing there, one that is just being moved may be missing or told twice. Raises
    `OSError` if the journal is there but cannot be read.
    """
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return []
    header = read_header(content)
    if header is None or len(content) < PAGE + SEGMENTS * header.segment_bytes:
        return []
    records = pending_records(header, content).splitlines(keepends=True)
    if intent := header.intent:
        log = journal.parent / LogFile(intent.day, intent.part).name
        with suppress(FileNotFoundError):
            records = records[log.read_bytes()[intent.size :].count(b"\n") :]
    return [lines_of(record) for record in records]
