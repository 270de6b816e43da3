"""The lines of the log of events, block by block, of the days that matter, beside its writer.

The log is a folder of series, one for each process that wrote side by side. In each are files of
days and their parts, plain or compressed, and a journal of what is not written yet.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import structs

from acore_bot.errors import NotFound
from acore_bot.telemetry.batch_log import read_pending
from acore_bot.telemetry.log_files import JOURNAL, LogFile

BLOCK_BYTES = 2**20
COMPRESSED_BYTES = 2**16
MAX_LINE_BYTES = 2**20  # more than any event takes
GZIP = 31  # for zlib: with gzip's header, and the largest window

OnDamage = Callable[[], None]


def list_series(folder: Path) -> list[Path]:
    """Return the folders of a log, none if nothing was logged ever. Raises `NotFound` for what
    cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from None


def list_files(series: Path, first_day: int) -> list[LogFile]:
    """Return the files of a series from a day on (a date's ordinal), oldest first. Raises
    `NotFound` for what cannot be read."""
    try:
        found = [LogFile.parse(path.name) for path in series.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(series, error) from None
    # Of two that hold the same, the compressed one comes last, and it is whole.
    files = {(file.day, file.part): file for file in sorted(file for file in found if file)}
    return [file for file in files.values() if file.day >= first_day]


def pending(series: Path) -> list[bytes]:
    """Return the lines that are in the journal only. Raises `NotFound` if it cannot be read."""
    try:
        return [line.rstrip(b"\n") for line in read_pending(series / JOURNAL)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(series / JOURNAL, error) from None


def blocks(series: Path, file: LogFile, on_torn: OnDamage, on_cut: OnDamage) -> Iterator[bytes]:
    """Yield blocks of whole lines, without the last newline of each block.

    Calls `on_torn` for what is no whole line and `on_cut` for a compressed file that has no end.
    Raises `NotFound` if the file cannot be read.
    """
    try:
        yield from _whole_lines(_open(series, file, on_cut), on_torn)
    except OSError as error:
        raise unreadable(series / file.name, error) from None


def _open(series: Path, file: LogFile, on_cut: OnDamage) -> Iterator[bytes]:
    if not file.is_compressed:
        try:
            yield from _read(series / file.name, BLOCK_BYTES)
        except FileNotFoundError:
            file = structs.replace(file, is_compressed=True)  # it has just been
        else:
            return
    # The oldest are removed while we read.
    with suppress(FileNotFoundError):
        yield from _decompressed(_read(series / file.name, COMPRESSED_BYTES), on_cut)


def _read(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        yield from iter(partial(file.read, size), b"")


def _decompressed(chunks: Iterable[bytes], on_cut: OnDamage) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(wbits=GZIP)
    try:
        for chunk in chunks:
            packed = chunk
            while packed and not unpacking.eof:
                yield unpacking.decompress(packed, BLOCK_BYTES)
                packed = unpacking.unconsumed_tail
    except zlib.error:
        on_cut()
    else:
        if not unpacking.eof:
            on_cut()


def _whole_lines(chunks: Iterable[bytes], on_torn: OnDamage) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield whole
        if len(rest) > MAX_LINE_BYTES:
            on_torn()
            rest = b""
    if rest:
        on_torn()


def unreadable(path: Path, error: OSError) -> NotFound:
    """Say that a part of the log cannot be read, and what helps."""
    msg = f"The log {path} cannot be read ({error.strerror})."
    return NotFound(msg, remedy="Ask as the user that runs the bot, or let this one read it.")
