"""Puts back what a backup holds, wholly or not at all.

    restore.part     what is unpacked and checked; worth nothing, and removed by the next
    restore.ready    whole and on the disk: from now on it goes forward, also after a kill
    restore.moving   what was there before stands in `restore.aside`, and is removed at the end

While one of the last two is there, nobody opens the data; the next `acore restore` goes on there.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from acore_bot.app import archives
from acore_bot.app.archives import ArchiveFault, Manifest
from acore_bot.app.backing_up import DATABASES, sole_backup
from acore_bot.app.half_restored import MOVING_FOLDER, READY_FOLDER, is_half_restored
from acore_bot.app.opening import SALT_FILE
from acore_bot.app.serving import GUILDS_FILE, nobody_serving
from acore_bot.app.towers import RECORDS_FILE
from acore_bot.app.watching import EVENTS_FOLDER
from acore_bot.config import Settings
from acore_bot.database.snapshot import SIDE_FILES, check_copy, take_out_of_use
from acore_bot.errors import AcoreError, HistoryError, HistoryUnusable, NotFound
from acore_bot.records.carry_over import carry_pauses_over

PART_FOLDER = "restore.part"
ASIDE_FOLDER = "restore.aside"
RESTORED_SETTINGS_FILE = "settings_of_backup.toml"
MIN_FREE_BYTES = 64 * archives.MIB
# What belongs together: all of it is replaced, also by nothing.
STATE = (
    *(name + side for name in DATABASES for side in ("", *SIDE_FILES)),
    SALT_FILE,
    GUILDS_FILE,
)


class Prepared(Struct, frozen=True):
    """A backup that is unpacked, whole and fit for this version. `are_pauses_known` tells whether
    those who have paused since it was made stay so; else nobody can read who they are."""

    manifest: Manifest
    are_pauses_known: bool


@contextmanager
def sole_restore(settings: Settings) -> Iterator[None]:
    """Let nobody serve or back up this data meanwhile. Raises `AcoreError`."""
    folder = settings.data.directory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with nobody_serving(folder), sole_backup(folder):
        yield


def is_broken_off(settings: Settings) -> bool:
    """Tell whether a restore was broken off that should be ended first."""
    return is_half_restored(settings.data.directory)


@contextmanager
def prepared(settings: Settings, file: Path) -> Iterator[Prepared]:
    """Unpack and check a backup without touching anything, for `put_in_place`. Leaving without that
    leaves nothing. Only within `sole_restore`. Raises `AcoreError`."""
    folder = settings.data.directory
    part = folder / PART_FOLDER
    shutil.rmtree(part, ignore_errors=True)
    try:
        manifest = _unpacked(file, part)
        _check(file, part, manifest)
        yield Prepared(manifest, _carry_pauses_over(folder / RECORDS_FILE, part / RECORDS_FILE))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def put_in_place(settings: Settings) -> None:
    """Replace what is there with what is prepared. Raises `AcoreError`: then either nothing was
    touched, or `go_on` ends it later."""
    folder = settings.data.directory
    part = folder / PART_FOLDER
    _refuse_used(folder)
    shutil.rmtree(folder / ASIDE_FOLDER, ignore_errors=True)
    _write_through(*part.rglob("*"), part)
    part.rename(folder / READY_FOLDER)
    _write_through(folder)
    try:
        # Once more: from here on nobody opens it, but somebody may have done so just before.
        _refuse_used(folder)
    except HistoryError:
        (folder / READY_FOLDER).rename(part)
        raise
    go_on(settings)


def go_on(settings: Settings) -> None:
    """End what was begun, wherever it was broken off. Raises `AcoreError`; then it may be tried
    again."""
    folder = settings.data.directory
    ready, moving, aside = (folder / it for it in (READY_FOLDER, MOVING_FOLDER, ASIDE_FOLDER))
    try:
        if ready.exists():
            _refuse_used(folder)
            _copy_personas(ready / archives.PERSONAS_FOLDER, settings.chat.personas_directory)
            _move_aside(folder, ready, aside)
            _write_through(folder)
            ready.rename(moving)
        _move_in(moving, folder)
        _write_through(folder)
        shutil.rmtree(moving)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        msg = f"The data in {folder} could not be put in its place: {error}."
        remedy = "Nothing is lost. Mend this, then run `acore restore` without a file."
        raise AcoreError(msg, remedy=remedy) from error


def _unpacked(file: Path, part: Path) -> Manifest:
    def create(name: str, size: int) -> IO[bytes]:
        if shutil.disk_usage(part).free - size < MIN_FREE_BYTES:
            raise ArchiveFault(f"there is no room in {part.parent} for its {name}")
        place = part / name
        for parent in reversed(place.relative_to(part).parents):
            (part / parent).mkdir(mode=0o700, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(place, flags, 0o600), "wb")

    part.mkdir(mode=0o700)
    try:
        with file.open("rb") as source:
            return archives.unpack(source, create)
    except FileNotFoundError:
        raise NotFound(
            f"There is no backup {file}.", remedy="Name a file of `acore backup`."
        ) from None
    except OSError as error:
        raise _unfit(file, error.strerror or str(error)) from error
    except ArchiveFault as fault:
        raise _unfit(file, str(fault)) from fault


def _check(file: Path, part: Path, manifest: Manifest) -> None:
    present = {name: layout for name, layout in DATABASES.items() if (part / name).exists()}
    if not present:
        raise _unfit(file, "it holds no data")
    for name, layout in present.items():
        schema, newest = manifest.schemas.get(name, 0), len(layout.migrations)
        if schema > newest:
            msg = (
                f"The backup {file} was made by a newer acore-bot, {manifest.version[:20]}: its "
                f"{name} has the schema {schema}, and this version knows up to {newest}."
            )
            raise HistoryUnusable(msg, remedy="Nothing was touched. Install that version first.")
        try:
            check_copy(part / name, layout)
        except HistoryError as error:
            raise _unfit(file, f"its {name} is not whole: {error.sentence}") from error


def _unfit(file: Path, why: str) -> AcoreError:
    remedy = "Nothing was touched. Take another file of `acore backup`."
    return AcoreError(f"The backup {file} cannot be used: {why}.", remedy=remedy)


def _carry_pauses_over(records: Path, restored: Path) -> bool:
    if not records.exists():
        return True
    try:
        carry_pauses_over(records, restored)
    except HistoryError:
        return False
    return True


def _refuse_used(folder: Path) -> None:
    """Raise `HistoryError` if any process has the data open."""
    for name, layout in DATABASES.items():
        if (folder / name).exists():
            take_out_of_use(folder / name, layout)


def _copy_personas(source: Path, personas: Path) -> None:
    """Replace the personas of these names; others stay. Doing it twice changes nothing."""
    for file in sorted(source.glob("*")):
        personas.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = personas / f".{file.name}.part"
        shutil.copyfile(file, part)
        part.replace(personas / file.name)


def _move_aside(folder: Path, ready: Path, aside: Path) -> None:
    aside.mkdir(mode=0o700, exist_ok=True)
    names = (*STATE, EVENTS_FOLDER) if (ready / EVENTS_FOLDER).exists() else STATE
    for name in names:
        if os.path.lexists(folder / name):
            (folder / name).rename(aside / name)


def _move_in(moving: Path, folder: Path) -> None:
    if (moving / EVENTS_FOLDER).exists():
        # Who was refused since may have begun a log; what was there before is aside.
        shutil.rmtree(folder / EVENTS_FOLDER, ignore_errors=True)
    for name in (*STATE, EVENTS_FOLDER):
        if (moving / name).exists():
            (moving / name).rename(folder / name)
    if (moving / archives.SETTINGS_FILE).exists():
        (moving / archives.SETTINGS_FILE).rename(folder / RESTORED_SETTINGS_FILE)


def _write_through(*places: Path) -> None:
    """Return once a power cut would leave these files and folders as they are."""
    for place in places:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
