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
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, Self, TypeAlias

import msgspec
from msgspec import Struct

from acore_bot.telemetry.batch_writer import BatchWriter, Clock
from acore_bot.telemetry.figures import BatchStats
from acore_bot.telemetry.journal import Journal, Write
from acore_bot.telemetry.journal_layout import PAGE, SEGMENTS, pending_records, read_header
from acore_bot.telemetry.lines import encoder, lines_of, record_of
from acore_bot.telemetry.log_files import LogFile, LogFiles, Series, claim_abandoned, claim_first

STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)

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
        self._patient_until = 0.0
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
        """Write all there is and stop the thread. What cannot be written, or not within ten
        seconds, stays in the journal."""
        await asyncio.to_thread(self._halt)

    def close(self) -> None:
        """Write all there is, stop the thread, and let go of the folder, unless the disk hangs.
        Later events are dropped, and counted as such."""
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
        self.log_event = self._make_log_event()
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
        self._keep_journal()
        return self._files_of(self._series)

    def _keep_journal(self) -> None:
        """Give a journal that is in memory alone its file, if that can be had by now."""
        if self._journal.is_kept or self._series is None:
            return
        with suppress(OSError):
            kept = Journal.in_file(self._series.fd, self._options.journal_bytes)
            if kept.unresolved and self._writer.written:
                kept.close()  # undoing that write would take back what we wrote after it
                return
            # First for those who log, so that none of them finds no journal at all.
            memory, self._journal = self._journal, kept
            memory.move_to(kept)
            self._writer.journal = kept

    def _files_of(self, series: Series) -> LogFiles:
        return LogFiles(
            series.folder,
            max_file_bytes=self._options.max_file_bytes,
            keep_days=self._options.keep_days,
            wall=self._wall,
        )

    def _writer_of(self, journal: Journal, find_files: Callable[[], LogFiles]) -> BatchWriter:
        return BatchWriter(
            journal,
            find_files,
            batch_size=self._options.batch_size,
            batch_interval=self._options.batch_interval,
            wall=self._wall,
            clock=self._clock,
        )

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
            self._keep_journal()
        # Here, since a disk that hangs may keep this thread waiting, but nobody else.
        self._writer.settle()

    def _halt(self) -> bool:
        """Write all there is and stop the thread; False if the disk keeps it from ending."""
        with self._halting:
            if self._thread is None:
                if not self._is_closed:
                    self._writer.settle()
                return True
            if not self._stopping.is_set():
                self._patient_until = self._clock() + STOP_SECONDS
                self._stopping.set()
            self._bell.put(None)
            # Until then in all: who stops the log and then closes it does not wait twice.
            self._thread.join(max(self._patient_until - self._clock(), 0.0))
            if self._thread.is_alive():
                return False
            self._thread = None
            return True

    def _make_log_event(self) -> LogEvent:
        """Make the function that logs: a closure, so that nothing has to be looked up. The bell
        rings for each batch."""
        encode_lines, ring, is_silent = encoder.encode_lines, self._bell.put, self._bell.empty
        ends = [*[False] * (self._options.batch_size - 1), True]
        is_last_of_batch = itertools.cycle(ends).__next__
        wall, write_somehow = self._wall, self._write_somehow
        write: Write

        def aim(target: Write) -> None:
            nonlocal write
            write = target

        def log_event(event_type: str, event_data: object) -> None:
            try:
                # Copied by one call in C, which no thread and no signal handler can interrupt.
                write(encode_lines(((wall(), event_type, event_data),)))
            except Exception:  # noqa: BLE001 - the segment is full, or it cannot be encoded
                write_somehow(wall(), event_type, event_data)
            if is_last_of_batch() and is_silent():
                ring(None)

        self._journal.aim(aim)
        return log_event

    def _write_somehow(self, at: float, event_type: str, event_data: object) -> None:
        journal = self._journal
        record = record_of(at, event_type, event_data, journal.segment_bytes)
        # One that was moved meanwhile takes nothing any more, and the next one does.
        while not journal.write(record) and journal is not self._journal:
            journal = self._journal


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
