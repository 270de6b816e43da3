"""The form of a backup, and what only pretends to be one."""

import gzip
import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.backed_up import NOW, SALT, House

from acore_bot.app import archives
from acore_bot.app.archives import ArchiveFault, ArchiveWriter, unpack
from acore_bot.app.backing_up import DATABASES
from acore_bot.app.towers import open_history
from acore_bot.errors import AcoreError, HistoryUnusable
from acore_bot.history.migrations import HISTORY


@pytest.fixture
async def house(tmp_path: Path) -> House:
    """Return a house in which something was said."""
    house = House(tmp_path / "one")
    await house.furnish()
    return house


@pytest.fixture
def other(tmp_path: Path) -> House:
    """Return an empty house, as on another machine."""
    return House(tmp_path / "other")


async def test_memory_does_not_grow_with_the_data(house: House) -> None:
    """A file of many chunks is read and written in chunks."""
    largest = 0

    class Zeros:
        """Reads as zeros, and notes how much was wanted at once."""

        def read(self, size: int = -1, /) -> bytes:
            nonlocal largest
            largest = max(largest, size)
            assert size > 0
            return bytes(size)

    class Sink(io.BytesIO):
        """Takes all and keeps nothing."""

        def write(self, data: object, /) -> int:
            nonlocal largest
            largest = max(largest, len(memoryview(data)))  # type: ignore[arg-type]
            return len(memoryview(data))  # type: ignore[arg-type]

    stream = io.BytesIO()
    writer = ArchiveWriter(stream)
    writer.add("history.sqlite3", Zeros(), 64 * 2**20)
    writer.finish("1", NOW, {})
    stream.seek(0)
    unpack(stream, lambda name, size: Sink())
    assert largest <= archives.CHUNK_BYTES


def packed(*headers: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Make an archive by the tools of a stranger, with a manifest that agrees to all of it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for header, content in headers:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def plain(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    """Make a plain file of an archive."""
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, leads_to: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Make something of an archive that is no plain file."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, leads_to
    return header, b""


HOSTILE = {
    "symbolic link": special("user_salt", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": special("user_salt", tarfile.LNKTYPE, "history.sqlite3"),
    "device": special("user_salt", tarfile.CHRTYPE),
    "pipe": special("user_salt", tarfile.FIFOTYPE),
    "folder": special("personas", tarfile.DIRTYPE),
    "link for a folder": special("personas", tarfile.SYMTYPE, "/tmp"),
    "long name": plain("personas/" + "a" * 300 + ".md"),
    "too large": plain("user_salt", b"x" * 33),
    "unknown": plain("autostart.sh"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
async def test_s22_a_hostile_archive_touches_nothing(
    house: House, hostile: tuple[tarfile.TarInfo, bytes]
) -> None:
    """Links, devices, folders, names that are not ours and what is too large are refused in a
    sentence, and nothing is left of the attempt."""
    file = house.backups / "hostile.tar.gz"
    file.write_bytes(packed(plain("records.sqlite3"), hostile))
    before = house.state(), sorted(house.data.rglob("*"))
    with pytest.raises(AcoreError, match="cannot be used: it holds"):
        house.restore(file)
    assert {*sorted(house.data.rglob("*"))} - {*before[1]} <= {
        house.data / "discord.lock",
        house.data / "backup.lock",
    }
    assert house.state() == before[0]


def test_s22_a_header_that_grows_is_not_followed() -> None:
    """A gigabyte of zeros in a header costs neither memory nor disk."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    stream = io.BytesIO(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)))
    with pytest.raises(ArchiveFault, match="does not know"):
        unpack(stream, refuse)


def test_s22_a_size_below_zero_is_refused() -> None:
    """The form could say so."""
    header = tarfile.TarInfo("history.sqlite3")
    header.size = -1
    stream = io.BytesIO(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(ArchiveFault):
        unpack(stream, refuse)


def refuse(name: str, size: int) -> io.BytesIO:
    """Fail where a file would be made."""
    raise AssertionError(name)


async def test_s22_a_bomb_does_not_fill_the_disk(house: House) -> None:
    """What is larger than the disk has room for is refused before a byte of it is written."""
    header = tarfile.TarInfo("history.sqlite3")
    header.size = 2**60
    file = house.backups / "bomb.tar.gz"
    file.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)))
    with pytest.raises(AcoreError, match="no room"):
        house.restore(file)


async def test_a_name_comes_once(house: House) -> None:
    """The second could replace what was checked."""
    with pytest.raises(ArchiveFault, match="twice"):
        unpack(
            io.BytesIO(packed(plain("user_salt"), plain("user_salt"))),
            lambda name, size: io.BytesIO(),
        )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a whole archive."""
    stream = io.BytesIO()
    writer = ArchiveWriter(stream)
    writer.add("user_salt", io.BytesIO(SALT), len(SALT))
    writer.add("personas/pirate.md", io.BytesIO(b"Arr." * 99), 396)
    writer.finish("1", NOW, {"history.sqlite3": 2})
    return stream.getvalue()


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_damage_is_noticed(small: bytes, data: st.DataObject) -> None:
    """Cut anywhere or with a byte changed, an archive says a sentence, or gives what was in it."""
    position = data.draw(st.integers(0, len(small) - 1))
    if data.draw(st.booleans()):
        wrong = small[:position]
    else:
        wrong = small[:position] + bytes([data.draw(st.integers(0, 255))]) + small[position + 1 :]
    files: dict[str, bytes] = {}

    @contextmanager
    def create(name: str, size: int) -> Iterator[io.BytesIO]:
        stream = io.BytesIO()
        yield stream
        files[name] = stream.getvalue()

    try:
        unpack(io.BytesIO(wrong), create)  # type: ignore[arg-type]
    except ArchiveFault:
        return
    assert files == {"user_salt": SALT, "personas/pirate.md": b"Arr." * 99}


async def test_a_damaged_database_is_not_put_in_place(house: House) -> None:
    """A backup whose manifest agrees, but whose content is no whole database, touches nothing."""
    before = house.state()
    file = house.backups / "damaged.tar.gz"
    content = (house.data / "history.sqlite3").read_bytes()
    content = content[:1024] + os.urandom(len(content) - 1024)
    with file.open("wb") as stream:
        writer = ArchiveWriter(stream)
        writer.add("history.sqlite3", io.BytesIO(content), len(content))
        writer.finish("1", NOW, {"history.sqlite3": 2})
    with pytest.raises(AcoreError, match="not whole"):
        house.restore(file)
    assert house.state() == before


async def test_a_backup_of_a_newer_program_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names both schemas, and what to do."""
    backup = house.back_up().file
    older = msgspec.structs.replace(HISTORY, migrations=HISTORY.migrations[:1])
    monkeypatch.setitem(DATABASES, "history.sqlite3", older)
    with pytest.raises(HistoryUnusable, match="has the schema 2, and this version knows up to 1"):
        house.restore(backup)


async def test_a_backup_of_another_form_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version may write is not guessed at."""
    monkeypatch.setattr(archives, "FORMAT", 2)
    backup = house.back_up().file
    monkeypatch.setattr(archives, "FORMAT", 1)
    with pytest.raises(AcoreError, match="the form 2, and this version of acore-bot knows 1"):
        house.restore(backup)


async def test_an_earlier_schema_is_restored(house: House, other: House) -> None:
    """A backup of an earlier version is brought to the newest schema while it is checked."""
    with closing(sqlite3.connect(house.data / "history.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 1")
        for drop in ("TRIGGER forget_parts", "TABLE parts"):
            connection.execute(f"DROP {drop}")
        connection.execute("ALTER TABLE messages DROP COLUMN part_ids")
        connection.commit()
    backup = house.back_up()
    assert backup.manifest.schemas["history.sqlite3"] == 1
    other.restore(backup.file)
    async with open_history(other.settings) as history:
        assert [message.id for message in await history.recent("tea", 9)] == [1, 2]
