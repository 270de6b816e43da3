"""The form of a backup: a compressed tar file of plain files with names of ours, at its end a
manifest that says how large each is, and its SHA-256.

It is read by a loop of our own: it knows no links, no devices, no headers that grow, and no name
that is not on the list, so there is nothing in a hostile file that it could follow.
"""

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Protocol

import msgspec
from msgspec import Struct

from acore_bot.app.opening import SALT_BYTES, SALT_FILE
from acore_bot.app.serving import GUILDS_FILE
from acore_bot.app.towers import HISTORY_FILE, RECORDS_FILE
from acore_bot.app.watching import EVENTS_FOLDER
from acore_bot.chat import cards, persona
from acore_bot.telemetry.log_files import LogFile

FORMAT = 1
MANIFEST_FILE = "manifest.json"
SETTINGS_FILE = "settings.toml"
PERSONAS_FOLDER = "personas"
MAX_FILES = 20_000
MIB = 2**20
ANY_SIZE = 2**62  # as large as the disk allows
CHUNK_BYTES = 256 * 1024

_FIXED = {
    HISTORY_FILE: ANY_SIZE,
    RECORDS_FILE: ANY_SIZE,
    SALT_FILE: SALT_BYTES,
    GUILDS_FILE: 64 * MIB,
    SETTINGS_FILE: 16 * MIB,
    MANIFEST_FILE: 16 * MIB,
}
_SERIES = re.compile(r"acore(-[1-9][0-9]?)?", re.ASCII)


class ArchiveFault(Exception):
    """A file is no backup, or not a whole one; says why."""


class Entry(Struct, frozen=True):
    """What the manifest says of a file: its size in bytes, and the hexadecimal SHA-256."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What is in a backup. `version` is that of the program; `schemas` are those of the databases;
    `made_at` is in UTC."""

    format: int
    version: str
    made_at: datetime
    schemas: dict[str, int]
    files: dict[str, Entry]


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to so many bytes; fewer only at the end."""
        ...


def max_bytes_of(name: str) -> int | None:
    """Return how large a file of a backup may be; None for a name that is not one of ours."""
    folder, _, rest = name.partition("/")
    if not rest:
        return _FIXED.get(name)
    if folder == PERSONAS_FOLDER and is_persona(rest):
        return cards.MAX_CARD_BYTES
    series, _, log = rest.partition("/")
    if folder == EVENTS_FOLDER and _SERIES.fullmatch(series) and LogFile.parse(log):
        return ANY_SIZE
    return None


def is_persona(name: str) -> bool:
    """Tell whether a file of this name is a persona, or its picture."""
    stem, dot, suffix = name.rpartition(".")
    return bool(persona.SLUG.fullmatch(stem)) and dot + suffix in persona.SUFFIXES


class ArchiveWriter:
    """Writes a backup from its first byte to its last. Needs as much memory as one chunk."""

    def __init__(self, target: IO[bytes]) -> None:
        self._gzip = gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6)
        # Of the forms, this one holds files of any size without a header of its own for them.
        self._tar = tarfile.open(  # noqa: SIM115 -- `finish` closes it
            fileobj=self._gzip, mode="w|", format=tarfile.GNU_FORMAT
        )
        self._files: dict[str, Entry] = {}

    def add(self, name: str, source: Readable, size: int, modified_at: float = 0.0) -> None:
        """Add a file of exactly this size. Raises `OSError` if there is less of it."""
        digest = self._write(name, source, size, modified_at)
        self._files[name] = Entry(size, digest)

    def finish(self, version: str, made_at: datetime, schemas: dict[str, int]) -> Manifest:
        """Write the manifest and the end. Nothing can be added afterwards."""
        manifest = Manifest(
            format=FORMAT, version=version, made_at=made_at, schemas=schemas, files=self._files
        )
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        self._write(MANIFEST_FILE, io.BytesIO(content), len(content), made_at.timestamp())
        self._tar.close()
        self._gzip.close()
        return manifest

    def _write(self, name: str, source: Readable, size: int, modified_at: float) -> str:
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = size, 0o600, int(modified_at)
        hashed = _Hashed(source)
        self._tar.addfile(header, hashed)
        return hashed.digest.hexdigest()


class _Hashed:
    """Passes on what it reads, and computes its SHA-256."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read up to so many bytes."""
        data = self._source.read(size)
        self.digest.update(data)
        return data


def unpack(source: IO[bytes], create: Callable[[str, int], IO[bytes]]) -> Manifest:
    """Write out the files of a backup, and return its manifest once all is as it says.

    `create` is given the name and size of each file, and opens where it goes; it may refuse. Raises
    `ArchiveFault`; what was written is good for nothing then.
    """
    found: dict[str, Entry] = {}
    with _faults_in_words(), gzip.GzipFile(fileobj=source, mode="rb") as plain:
        for header in _headers(plain):
            name, size = _checked(header, found)
            if name == MANIFEST_FILE:
                return _verified(_exactly(plain, size), found)
            with create(name, size) as target:
                found[name] = Entry(size, _copy(plain, target, size))
            _exactly(plain, -size % tarfile.BLOCKSIZE)
    msg = "it has no manifest at its end, so it was not written to its end"
    raise ArchiveFault(msg)


def _headers(plain: Readable) -> Iterator[tarfile.TarInfo]:
    while any(block := _exactly(plain, tarfile.BLOCKSIZE)):
        yield tarfile.TarInfo.frombuf(block, "utf-8", "strict")


def _checked(header: tarfile.TarInfo, found: dict[str, Entry]) -> tuple[str, int]:
    max_bytes = max_bytes_of(header.name)
    if max_bytes is None or header.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        msg = f"it holds {header.name[:80]!r}, which this version of acore-bot does not know"
        raise ArchiveFault(msg)
    if header.name in found or len(found) >= MAX_FILES or not 0 <= header.size <= max_bytes:
        msg = f"it holds {header.name!r} twice, or too large, or there are too many files in it"
        raise ArchiveFault(msg)
    return header.name, header.size


def _verified(content: bytes, found: dict[str, Entry]) -> Manifest:
    declared = msgspec.json.decode(content, type=_Format)
    if declared.format != FORMAT:
        msg = f"it has the form {declared.format}, and this version of acore-bot knows {FORMAT}"
        raise ArchiveFault(msg)
    manifest = msgspec.json.decode(content, type=Manifest)
    wrong = sorted({*found.items()} ^ {*manifest.files.items()}, key=str)
    if wrong:
        msg = f"its {wrong[0][0]!r} is not what its manifest says"
        raise ArchiveFault(msg)
    return manifest


class _Format(Struct, frozen=True):
    format: int


@contextmanager
def _faults_in_words() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        msg = f"it is no backup, or it is damaged ({error})"
        raise ArchiveFault(msg) from error
    except msgspec.DecodeError as error:
        msg = f"its manifest cannot be read ({error})"
        raise ArchiveFault(msg) from error


def _exactly(plain: Readable, size: int) -> bytes:
    if len(data := plain.read(size)) != size:
        raise EOFError("it ends too early")
    return data


def _copy(plain: Readable, target: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    while size:
        data = _exactly(plain, min(size, CHUNK_BYTES))
        digest.update(data)
        target.write(data)
        size -= len(data)
    return digest.hexdigest()
