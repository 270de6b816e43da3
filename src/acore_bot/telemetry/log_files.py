"""The files of the log: a folder for each series, in it a file for each day or part of one.

`2026-11-23.jsonl` is followed by `2026-11-23.1.jsonl` when it is full. Only the newest is written
to; the others are compressed. Whose process holds a series has locked its journal.
"""

import errno
import fcntl
import gzip
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Self

from msgspec import Struct

from acore_bot.telemetry.journal_layout import Intent

MAX_SERIES = 16
JOURNAL = "journal"
CHUNK_BYTES = 256 * 1024
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.([1-9]\d{0,8}))?\.jsonl(\.gz)?", re.ASCII)


class Series:
    """A folder of logs that this process holds: nobody else writes there. `fd` is its journal."""

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self.fd = fd

    @classmethod
    def claim(cls, folder: Path) -> Self:
        """Hold a folder, which is made if it is not there. Raises `OSError` if it cannot be, and
        `BlockingIOError` if another holds it."""
        for place in (folder.parent, folder):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(folder / JOURNAL, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        return cls(folder, fd)

    def close(self) -> None:
        """Let others have it."""
        os.close(self.fd)


def claim_first(folder: Path, series: str) -> Series:
    """Hold the first of the folders `series`, `series-2`, … that nobody holds. Raises `OSError`."""
    for place in _places(folder, series):
        with suppress(BlockingIOError):
            return Series.claim(place)
    raise OSError(errno.EBUSY, f"{MAX_SERIES} processes write logs there already", str(folder))


def claim_abandoned(folder: Path, series: str) -> Iterator[Series]:
    """Hold, one after another, those of these folders that exist and nobody holds."""
    for place in _places(folder, series):
        if not (place / JOURNAL).exists():
            continue
        try:
            held = Series.claim(place)
        except OSError:
            continue
        yield held


def _places(folder: Path, series: str) -> list[Path]:
    names = [series, *(f"{series}-{number}" for number in range(2, MAX_SERIES + 1))]
    return [folder / name for name in names]


class LogFile(Struct, frozen=True, order=True):
    """Which day's (a date's ordinal) and which part of it a file has."""

    day: int
    part: int
    is_compressed: bool = False

    @property
    def name(self) -> str:
        """How the file is called."""
        part = f".{self.part}" if self.part else ""
        return f"{date.fromordinal(self.day)}{part}.jsonl" + ".gz" * self.is_compressed

    @classmethod
    def parse(cls, name: str) -> "LogFile | None":
        """Read a file's name; None if it is not that of a log."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        try:
            day = date.fromisoformat(found[1]).toordinal()
        except ValueError:
            return None
        return cls(day, int(found[2] or 0), bool(found[3]))


class LogFiles:
    """Appends to the newest file of a folder, and keeps the folder in order.

    Its day only goes forward, so that a clock which is set back finds no compressed file to reopen.
    """

    def __init__(
        self, folder: Path, *, max_file_bytes: int, keep_days: int, wall: Callable[[], float]
    ) -> None:
        """For a folder that this process holds. `wall` tells Unix seconds."""
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._keep_days = max(keep_days, 1)
        self._wall = wall
        self._fd: int | None = None
        self._file = LogFile(0, 0)
        self._size = 0
        self.is_tidy = True

    def prepare(self, coming_bytes: int) -> Intent:
        """Open the file that so many bytes shall go to, as it was after the last whole batch, and
        tell where they will be. Raises `OSError`."""
        if self._fd is not None:
            self._mend(self._fd)
        day = max(self._file.day, self._today())
        is_full = self._size and self._size + coming_bytes > self._max_file_bytes
        if self._fd is None or is_full or day > self._file.day:
            self._move_on(day, coming_bytes)
        return Intent(self._file.day, self._file.part, self._size)

    def append(self, lines: bytes) -> None:
        """Write whole lines to the file that was prepared, all or none. Raises `OSError`."""
        assert self._fd is not None
        written = os.write(self._fd, lines)
        if written < len(lines):
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
        self._size += written

    def undo(self, intent: Intent) -> None:
        """Take back what was written for an intent. Raises `OSError`."""
        path = self._folder / LogFile(intent.day, intent.part).name
        with suppress(FileNotFoundError):
            if path.stat().st_size > intent.size:
                os.truncate(path, intent.size)

    def tidy(self) -> Generator[bool, None, None]:
        """Compress what is not written to any more and remove the oldest days, in small steps;
        True after each. Raises `OSError`."""
        self.is_tidy = True
        for path in self._folder.glob("*.jsonl.gz.tmp"):
            path.unlink()
        self._remove_oldest()
        for file in self._list():
            if not file.is_compressed and file != self._file:
                yield from self._compress(file)

    def close(self) -> None:
        """Close the file; the next batch opens one."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _today(self) -> int:
        return datetime.fromtimestamp(self._wall(), UTC).toordinal()

    def _mend(self, fd: int) -> None:
        found = os.fstat(fd)
        if not found.st_nlink:  # somebody removed it
            self.close()
        elif found.st_size > self._size:
            os.ftruncate(fd, self._size)
        else:
            self._size = found.st_size

    def _move_on(self, day: int, coming_bytes: int) -> None:
        self.close()
        file = self._choose(day, coming_bytes)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._folder / file.name, flags, 0o600)
        self._file = file
        self._size = _whole_size(self._fd)
        self.is_tidy = False
        self._mend(self._fd)

    def _choose(self, day: int, coming_bytes: int) -> LogFile:
        """Find the day's last part, or the one after it if that is closed."""
        last = max((file for file in self._list() if file.day == day), default=LogFile(day, 0))
        if not last.is_compressed and last >= self._file:
            with suppress(FileNotFoundError):
                size = (self._folder / last.name).stat().st_size
                if size and size + coming_bytes > self._max_file_bytes:
                    return LogFile(day, last.part + 1)
            return last
        return LogFile(day, last.part + 1)

    def _list(self) -> list[LogFile]:
        names = (LogFile.parse(path.name) for path in self._folder.iterdir())
        return sorted(file for file in names if file is not None)

    def _remove_oldest(self) -> None:
        """Keep so many dates, not days until now: a clock gone wrong must not empty the folder."""
        files = self._list()
        outdated = sorted({file.day for file in files})[: -self._keep_days]
        for file in files:
            if file.day in outdated and file.day != self._file.day:
                (self._folder / file.name).unlink()

    def _compress(self, file: LogFile) -> Generator[bool, None, None]:
        plain = self._folder / file.name
        packed = self._folder / f"{file.name}.gz"
        if not packed.exists():
            partial = self._folder / f"{file.name}.gz.tmp"
            try:
                yield from _pack(plain, partial)
                partial.replace(packed)
            finally:
                partial.unlink(missing_ok=True)
        plain.unlink()


def _pack(plain: Path, packed: Path) -> Generator[bool, None, None]:
    fd = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with plain.open("rb") as source, os.fdopen(fd, "wb") as target:
        with gzip.GzipFile("", "wb", 6, target) as stream:
            while chunk := source.read(CHUNK_BYTES):
                stream.write(chunk)
                yield True
        target.flush()
        os.fsync(fd)  # the plain file goes next


def _whole_size(fd: int) -> int:
    """Return where a file's last whole line ends."""
    size = os.fstat(fd).st_size
    while size:
        start = max(size - CHUNK_BYTES, 0)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
