"""The journal: records of events in memory that the kernel keeps when the process is killed.

It is a file, mapped into memory: a page of header, and segments. A record is a line of JSON,
`[time,"type",data]`, and costs one copy into zeroed memory at the segment's own position, which
that copy moves on. Under the interpreter's lock this is atomic, so threads and signal handlers need
no lock to write. (A free-threaded Python has no such lock; it is not supported here.) A record is
whole if it ends with a newline and holds no zero byte; JSON has none.

When a segment is full, the next free one is taken; if there is none, the oldest is dropped whole.
Segments are numbered as they are taken, and a record's position is its segment's number times the
size of a segment, plus its place within. Whoever writes the records elsewhere notes his intent
before and advances `consumed` after: positions up to there are done with.
"""

import itertools
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from acore_bot.telemetry.journal_layout import (
    PAGE,
    SEGMENTS,
    Header,
    Intent,
    pending_records,
    read_header,
    segment_bytes_for,
    whole_end,
)

Write: TypeAlias = Callable[[bytes], int]


class Batch(Struct, frozen=True):
    """Some records in order, which end at position `to`. It `is_full` if it has as many as were
    asked for, or could hold no more."""

    records: bytes
    count: int
    to: int
    is_full: bool


class Segment:
    """A stretch of the journal's memory. `number` is 0 while it is free; `start` is its first byte
    that is not done with. Once it is sealed nothing can be written to it."""

    __slots__ = ("memory", "number", "sealed_at", "slot", "start")

    def __init__(self, slot: int, memory: mmap.mmap) -> None:
        self.slot = slot
        self.memory = memory
        self.number = 0
        self.start = 0
        self.sealed_at: int | None = None

    @property
    def end(self) -> int:
        """Where its last record ends."""
        return self.memory.tell() if self.sealed_at is None else self.sealed_at

    @property
    def count(self) -> int:
        """How many records it has that are not done with."""
        return self.memory[self.start : self.end].count(b"\n")

    def seal(self) -> None:
        """Let nothing more be written to it."""
        if self.sealed_at is None:
            # The position first: who comes late finds no room, and only then is the end certain.
            self.memory.seek(0, os.SEEK_END)
            self.sealed_at = whole_end(self.memory)

    def open(self, at: int) -> None:
        """Let records be written from a byte on; behind it must be zeros."""
        self.sealed_at = None
        self.memory.seek(at)

    def try_write(self, record: bytes) -> bool:
        """Write a record if there is room."""
        try:
            self.memory.write(record)
        except ValueError:
            return False
        return True

    def wipe(self, start: int = 0) -> None:
        """Fill it with zeros, from a byte on."""
        zeros = bytes(len(self.memory) - start)
        if self.memory[start:] != zeros:  # what is zero already need not reach the disk again
            self.memory[start:] = zeros


class Journal:
    """Records in memory, written by anybody and taken by one. `dropped` counts those that found no
    room. `is_kept` says whether they outlive the process.

    A signal handler may write while its thread is anywhere in here, also in `write`: therefore the
    lock can be taken twice, and each step leaves things so that another `write` may follow.
    """

    def __init__(self, header: mmap.mmap, segments: Sequence[mmap.mmap], *, is_kept: bool) -> None:
        """Over mapped memory, with the records that are in it. It closes them."""
        self.is_kept = is_kept
        self.dropped = 0
        self.segment_bytes = len(segments[0])
        self._lock = threading.RLock()
        self._maps = [header, *segments]
        self._view = memoryview(header).cast("Q")
        self._header = Header(self._view)
        self._segments = [Segment(slot, memory) for slot, memory in enumerate(segments)]
        self._used: list[Segment] = []
        self._free: deque[Segment] = deque()
        self._busy: tuple[Segment, ...] = ()
        self._aim: Callable[[Write], None] = _aim_nowhere
        self._left: int | None = None
        self._current = self._segments[0]
        self._adopt()
        self.unresolved = self._header.intent

    @classmethod
    def in_file(cls, fd: int, journal_bytes: int) -> "Journal":
        """Map a file, with what a process before us left in it; the descriptor stays the caller's.

        As long as there are such records, the size of the segments stays what it was. Raises
        `OSError` if the file's room cannot be had for sure: to lack it later would be a crash.
        """
        size = _kept_segment_bytes(fd) or segment_bytes_for(journal_bytes)
        os.posix_fallocate(fd, 0, PAGE + SEGMENTS * size)
        header = mmap.mmap(fd, PAGE)
        places = (PAGE + slot * size for slot in range(SEGMENTS))
        segments = [mmap.mmap(fd, size, offset=place) for place in places]
        _prepare(header, size)
        return cls(header, segments, is_kept=True)

    @classmethod
    def in_memory(cls, journal_bytes: int) -> "Journal":
        """Make one that ends with the process."""
        size = segment_bytes_for(journal_bytes)
        header = mmap.mmap(-1, PAGE)
        _prepare(header, size)
        return cls(header, [mmap.mmap(-1, size) for _ in range(SEGMENTS)], is_kept=False)

    def _adopt(self) -> None:
        """Find the records that are there, and a segment for new ones."""
        newest = max(*self._header.numbers, self._header.consumed // self.segment_bytes)
        self._numbers = itertools.count(newest + 1)
        for slot, number, start in self._header.pending():
            segment = self._segments[slot]
            segment.number, segment.start = number, start
            segment.seal()
            if start < segment.end:
                self._used.append(segment)
        for segment in self._segments:
            if segment not in self._used:
                self._retire(segment)
        self._continue()

    def _continue(self) -> None:
        """Go on in the newest segment, behind what was cut off within a record."""
        if not self._used:
            self._take_into_use(self._free.popleft())
            return
        self._current = self._used[-1]
        end = self._current.end
        self._current.wipe(end)
        self._current.open(end)

    def aim(self, aim: Callable[[Write], None]) -> None:
        """Tell `aim`, now and whenever it changes, what writes a record in one step. That raises
        `ValueError` when there is no room; `write` knows what to do then."""
        self._aim = aim
        aim(self._current.memory.write)

    def write(self, record: bytes) -> bool:
        """Write a record, and say whether there was room for it: never, if it is longer than a
        segment."""
        with self._lock:
            if len(record) > self.segment_bytes:
                self.dropped += 1
                return False
            while not self._current.try_write(record):
                if self._left is not None or not self._advance():
                    self.dropped += 1
                    return False
            self._aim(self._current.memory.write)
            return True

    def take(self, limit: int) -> Batch | None:
        """Take the oldest records, at most `limit`; None if there are none.

        They stay until they are `consumed` or `put_back`, and are not dropped meanwhile.
        """
        self._release_spent()
        with self._lock:
            in_order = self._in_order()
            for segment in in_order:
                if segment is not self._current:
                    segment.seal()
            self._busy = tuple(in_order[:2])
            ends = [segment.end for segment in self._busy]
        batch = self._collect(limit, ends, has_more=len(in_order) > len(ends))
        if batch is None:
            self.put_back()
        return batch

    def _collect(self, limit: int, ends: Sequence[int], *, has_more: bool) -> Batch | None:
        records, count, to = b"", 0, 0
        for segment, end in zip(self._busy, ends, strict=True):
            stop, found = segment.start, 0
            while found < limit - count and stop < end:
                stop = segment.memory.find(b"\n", stop, end) + 1
                found += 1
            if found:
                records += segment.memory[segment.start : stop]
                count, to = count + found, segment.number * self.segment_bytes + stop
        return Batch(records, count, to, count == limit or has_more) if count else None

    def intend(self, batch: Batch, intent: Intent) -> None:
        """Note where a batch is about to be written."""
        self._header.intend(batch.to, intent)

    def consume(self, batch: Batch) -> None:
        """Be done with a batch, which was taken last."""
        self._header.consumed = batch.to
        for segment in self._busy:
            segment.start = max(segment.start, min(self._offset(segment, batch.to), segment.end))
        self.put_back()
        self._release_spent()

    def put_back(self) -> None:
        """Leave what was taken for another time."""
        self._busy = ()

    def count(self) -> int:
        """Return how many records wait."""
        with self._lock:
            return (
                sum(segment.count for segment in self._used) if self._left is None else self._left
            )

    def move_to(self, other: "Journal") -> None:
        """Give all records to another journal, to which those who write are sent too; and close.
        None may be taken and not put back."""
        with self._lock:
            in_order = self._in_order()
            for segment in in_order:
                segment.seal()
            for segment in in_order:
                for record in segment.memory[segment.start : segment.end].splitlines(keepends=True):
                    other.write(record)
                segment.start = segment.end
            other.dropped += self.dropped
            other.aim(self._aim)
            self.close()

    def close(self) -> None:
        """Let go of the memory; what is written from now on is dropped."""
        with self._lock:
            if self._left is None:
                self._left = self.count()
                self._view.release()
                for memory in self._maps:
                    memory.close()

    def _offset(self, segment: Segment, position: int) -> int:
        return position - segment.number * self.segment_bytes

    def _in_order(self) -> list[Segment]:
        return sorted(self._used, key=_number)

    def _advance(self) -> bool:
        try:
            segment = self._free.popleft()
        except IndexError:
            dropped = self._drop_oldest()
            if dropped is None:
                return False
            segment = dropped
        self._take_into_use(segment)
        return True

    def _take_into_use(self, segment: Segment) -> None:
        segment.start = 0
        segment.number = next(self._numbers)
        self._header.set_number(segment.slot, segment.number)
        self._used.append(segment)
        segment.open(0)
        # A signal handler may have taken another meanwhile: the newest is the one to go on with.
        while (newest := self._in_order()[-1]) is not self._current:
            self._current = newest

    def _drop_oldest(self) -> Segment | None:
        for segment in self._in_order():
            if segment is self._current or segment in self._busy:
                continue
            try:
                self._used.remove(segment)
            except ValueError:  # a signal handler was here first
                continue
            segment.seal()
            self.dropped += segment.count
            self._clear(segment)
            return segment
        return None

    def _release_spent(self) -> None:
        """Free the segments of which all is done with."""
        with self._lock:
            others = [segment for segment in self._in_order() if segment is not self._current]
            for segment in others:
                segment.seal()
            spent = [segment for segment in others if segment.start >= segment.end]
            for segment in spent:
                self._used.remove(segment)
        for segment in spent:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        self._clear(segment)
        self._free.append(segment)

    def _clear(self, segment: Segment) -> None:
        self._header.set_number(segment.slot, 0)
        segment.number = 0
        segment.seal()
        segment.wipe()


def _number(segment: Segment) -> int:
    return segment.number


def _aim_nowhere(write: Write) -> None:
    """Before anybody wants to know."""


def _kept_segment_bytes(fd: int) -> int:
    """Return the size of the segments of a journal that still matters; 0 if there is none."""
    header = read_header(os.pread(fd, PAGE, 0))
    if header is None:
        return 0
    content = os.pread(fd, PAGE + SEGMENTS * header.segment_bytes, 0)
    return header.segment_bytes if header.intent or pending_records(header, content) else 0


def _prepare(header: mmap.mmap, segment_bytes: int) -> None:
    with memoryview(header) as page, page.cast("Q") as words:
        if Header(words).segment_bytes != segment_bytes:
            Header(words).clear(segment_bytes)
