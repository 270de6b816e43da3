"""The writer of the log of events: takes batches from a journal and appends each with one write."""

import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeAlias

from msgspec import Struct

from acore_bot.telemetry.journal import Batch, Journal
from acore_bot.telemetry.lines import lines_of, record_of
from acore_bot.telemetry.log_files import LogFiles

MAX_DELAY_SECONDS = 60.0

_log = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]


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
        *,
        batch_size: int,
        batch_interval: float,
        wall: Clock = time.time,
        clock: Clock = time.monotonic,
    ) -> None:
        """`find_files` may raise `OSError`, and is asked again later then; it may put another
        `journal` in the place of this one. `batch_interval` is seconds, as in `BatchOptions`."""
        self.journal = journal
        self._find_files = find_files
        self._batch_size = batch_size
        self._batch_interval = batch_interval
        self._wall = wall
        self._clock = clock
        self._files: LogFiles | None = None
        self._tidying: Generator[bool, None, None] | None = None
        self._outage: _Outage | None = None
        self._due_at = clock() + batch_interval
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
            self._outage = _Outage(now, self.journal.dropped)
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
            self.journal.put_back()
            self.fail(error)
        else:
            self._recover()

    def _write_batches(self, *, with_rest: bool) -> None:
        files = self._files = self._files or self._find_files()
        if self.journal.unresolved:
            files.undo(self.journal.unresolved)
            self.journal.unresolved = None
        while batch := self.journal.take(self._batch_size):
            if not batch.is_full and not with_rest:
                self.journal.put_back()
                return
            self._write(batch, files)
            if not batch.is_full:
                break  # what comes meanwhile may gather again
        self._due_at = self._clock() + self._batch_interval

    def _write(self, batch: Batch, files: LogFiles) -> None:
        lines = lines_of(batch.records)
        self.journal.intend(batch, files.prepare(len(lines)))
        files.append(lines)
        self.journal.consume(batch)
        self.written += batch.count

    def _recover(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            return
        dropped = self.journal.dropped - outage.dropped_before
        seconds = round(self._clock() - outage.began_at, 3)
        _log.info("The log of events is written again; %d events were dropped.", dropped)
        told = {"dropped": dropped, "seconds": seconds}
        record = record_of(self._wall(), "batch_log_recovered", told, self.journal.segment_bytes)
        self.journal.write(record)

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
