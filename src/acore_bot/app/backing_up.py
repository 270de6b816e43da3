"""One file with all that it takes to go on elsewhere, written while the bot goes on.

Locks, sockets, recordings of profiles, typed lines and what Discord can be asked again stay out.
"""

import fcntl
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from msgspec import Struct

from acore_bot.app import archives
from acore_bot.app.archives import ArchiveWriter, Manifest
from acore_bot.app.half_restored import refuse_half_restored
from acore_bot.app.opening import SALT_FILE
from acore_bot.app.serving import GUILDS_FILE
from acore_bot.app.towers import HISTORY_FILE, RECORDS_FILE
from acore_bot.app.watching import EVENTS_FOLDER
from acore_bot.config import Settings
from acore_bot.database.layout import Layout
from acore_bot.database.snapshot import copy_database
from acore_bot.errors import AcoreError, NotFound
from acore_bot.history.migrations import HISTORY
from acore_bot.records.migrations import RECORDS

# The records first: what a crash between the two may leave too, a message without its receipt.
DATABASES: dict[str, Layout] = {RECORDS_FILE: RECORDS, HISTORY_FILE: HISTORY}
LOCK_FILE = "backup.lock"
COPIES_FOLDER = "backup.part"
NAME = re.compile(r"acore-\d{4}-\d\d-\d\dT\d{6}Z\.tar\.gz", re.ASCII)


class Wanted(Struct, frozen=True, kw_only=True):
    """What a backup shall hold besides the data, and how many there may be in its folder."""

    settings: bool = False
    events: bool = False
    keep: int | None = None


class Backup(Struct, frozen=True):
    """What was written: where, how large in bytes, what is in it, and which were removed for it."""

    file: Path
    size: int
    manifest: Manifest
    removed: tuple[Path, ...]


def back_up(
    settings: Settings,
    target: Path,
    wanted: Wanted,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Backup:
    """Write a backup into a new file, or into a folder under a name of its own. Raises
    `AcoreError`; then there is no new file, and none was removed."""
    moment = now()
    file = target / f"acore-{moment:%Y-%m-%dT%H%M%SZ}.tar.gz" if target.is_dir() else target
    with _os_errors(file):
        with _new_file(file) as stream:
            manifest = write_backup(settings, stream, wanted, moment)
        removed = _remove_older(file, wanted.keep)
        return Backup(file, file.stat().st_size, manifest, tuple(removed))


def write_backup(
    settings: Settings, stream: IO[bytes], wanted: Wanted, moment: datetime
) -> Manifest:
    """Write a backup to a stream. Raises `AcoreError`, and `OSError` of the stream."""
    folder = settings.data.directory
    if not any((folder / name).exists() for name in DATABASES):
        msg = f"There is nothing in {folder} yet that could be backed up."
        raise NotFound(
            msg, remedy="If the bot's data is elsewhere, set data.directory, or --config."
        )
    refuse_half_restored(folder)
    writer, schemas = ArchiveWriter(stream), dict[str, int]()
    with sole_backup(folder), _copies(folder) as copies:
        for name, layout in DATABASES.items():
            if (folder / name).exists():
                schemas[name] = copy_database(folder / name, copies / name, layout)
        for name, file in (*_copied(copies), *_files(settings, wanted)):
            _add(writer, name, file)
    if wanted.settings:
        _add_settings(writer, settings)
    return writer.finish(version("acore-bot"), moment, schemas)


@contextmanager
def sole_backup(folder: Path) -> Iterator[None]:
    """Let no other backup or restore work on this data meanwhile. Raises `AcoreError`."""
    with (folder / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"Another backup or restore of {folder} is at work."
            raise AcoreError(msg, remedy="Wait until it is done.") from None
        yield


@contextmanager
def _copies(folder: Path) -> Iterator[Path]:
    """Make a folder for the copies; one that a kill left is emptied first."""
    copies = folder / COPIES_FOLDER
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir(mode=0o700)
    try:
        yield copies
    finally:
        shutil.rmtree(copies, ignore_errors=True)


def _copied(copies: Path) -> Iterator[tuple[str, Path]]:
    yield from ((name, copies / name) for name in DATABASES if (copies / name).exists())


def _files(settings: Settings, wanted: Wanted) -> Iterator[tuple[str, Path]]:
    """Name the plain files that belong to a backup, as they are called there."""
    folder = settings.data.directory
    yield from ((name, folder / name) for name in (SALT_FILE, GUILDS_FILE))
    personas = settings.chat.personas_directory
    for file in sorted(personas.glob("*")):
        if file.resolve().is_relative_to(personas.resolve()):  # others are never read either
            yield f"{archives.PERSONAS_FOLDER}/{file.name}", file
    if wanted.events:
        for file in sorted((folder / EVENTS_FOLDER).glob("*/*")):
            yield f"{EVENTS_FOLDER}/{file.parent.name}/{file.name}", file


def _add(writer: ArchiveWriter, name: str, file: Path) -> None:
    """Add a file as long as it is now: a log may grow meanwhile. What is not ours stays out."""
    max_bytes = archives.max_bytes_of(name)
    with suppress(FileNotFoundError):  # it was never made, or is too old for the log by now
        if max_bytes is None or not file.is_file():
            return
        with file.open("rb") as source:
            found = os.fstat(source.fileno())
            if found.st_size <= max_bytes:
                writer.add(name, source, found.st_size, found.st_mtime)


def _add_settings(writer: ArchiveWriter, settings: Settings) -> None:
    if settings.file is None:
        raise NotFound("There is no settings file to put in.", remedy="Leave out --with-settings.")
    content = settings.file.read_bytes()
    writer.add(archives.SETTINGS_FILE, io.BytesIO(content), len(content))


@contextmanager
def _new_file(file: Path) -> Iterator[IO[bytes]]:
    """Open a file that is there once the block is left, whole and for its owner's eyes only."""
    _refuse_existing(file)
    part = file.with_name(f".{file.name}.part")
    flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, 0o600), "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.fchmod(stream.fileno(), 0o600)
            stream.truncate()
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            _refuse_existing(file)
            part.rename(file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _remove_broken_off(file.parent)


def _refuse_existing(file: Path) -> None:
    if file.exists():
        msg = f"There is a file {file} already."
        raise AcoreError(msg, remedy="Name another, or a folder: the name then tells the time.")


def _remove_broken_off(folder: Path) -> None:
    """Remove what killed backups have left half-written in a folder."""
    for part in folder.glob(".acore-*.tar.gz.part"):
        if not NAME.fullmatch(part.name[1 : -len(".part")]):
            continue
        with suppress(OSError), part.open("rb") as stream:
            # Whoever writes one holds its lock.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def _remove_older(file: Path, keep: int | None) -> Iterator[Path]:
    if keep is None:
        return
    ours = [it for it in file.parent.iterdir() if NAME.fullmatch(it.name) and it.is_file()]
    # Their names tell the time. The one just written stays, whatever its name.
    for old in sorted({*ours} - {file}, reverse=True)[keep - 1 :]:
        old.unlink()
        yield old


@contextmanager
def _os_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"The backup {file} could not be written: {error.strerror or error}."
        raise AcoreError(
            msg, remedy="No new backup is there. Free its disk, or choose another."
        ) from error
