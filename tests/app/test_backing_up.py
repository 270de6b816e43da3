"""One file with all that it takes to go on elsewhere, written while the bot goes on."""

import asyncio
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.fakes.backed_up import House
from tests.fakes.talk import asked, line

from acore_bot.app import restoring
from acore_bot.app.towers import open_history
from acore_bot.errors import AcoreError, NotFound


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


def names_in(file: Path) -> list[str]:
    """Name what an archive holds, as any tar would."""
    with tarfile.open(file) as archive:
        return archive.getnames()


async def test_a_backup_brings_all_to_another_place(house: House, other: House) -> None:
    """Conversations, records, the salt, the servers and the personas are there as they were."""
    backup = house.back_up()
    assert backup.file.name == "acore-2026-11-24T021907Z.tar.gz"
    assert backup.file.stat().st_size == backup.size
    before = house.state()
    other.restore(backup.file)
    assert other.state() == before == house.state()
    assert (other.personas / "pirate.md").read_text() == "Arr."
    async with open_history(other.settings) as history:
        assert [message.id for message in await history.recent("tea", 9)] == [1, 2]


async def test_what_is_not_needed_stays_out(house: House) -> None:
    """Typed lines, locks, and, unless asked for, events and the settings with their secrets."""
    assert names_in(house.back_up().file) == [
        *("records.sqlite3", "history.sqlite3", "user_salt", "discord_guilds.json"),
        *("personas/pirate.md", "manifest.json"),
    ]
    whole = house.back_up(house.backups / "whole.tar.gz", settings=True, events=True)
    assert {"settings.toml", "events/acore/2026-11-23.jsonl"} <= {*names_in(whole.file)}


async def test_events_and_settings_come_back(house: House, other: House) -> None:
    """Events take the place of those that are there; the settings are laid beside, not in force."""
    (other.data / "events" / "acore").mkdir(parents=True)
    (other.data / "events" / "acore" / "2026-01-01.jsonl").write_text("{}\n")
    other.restore(house.back_up(settings=True, events=True).file)
    logs = [file.name for file in (other.data / "events").rglob("*.jsonl")]
    assert logs == ["2026-11-23.jsonl"]
    laid = (other.data / restoring.RESTORED_SETTINGS_FILE).read_text()
    assert str(house.data) in laid
    assert str(other.data) in (other.data.parent / "acore.toml").read_text()


async def test_p6_a_backup_is_for_its_owner_only(house: House, other: House) -> None:
    """Whatever the umask, the file is 0600, and so is all that is restored; folders are 0700."""
    former = os.umask(0)
    try:
        backup = house.back_up(settings=True, events=True)
        other.restore(backup.file)
    finally:
        os.umask(former)
    assert backup.file.stat().st_mode & 0o777 == 0o600
    for file in other.data.rglob("*"):
        if not file.name.endswith(".lock"):
            assert file.stat().st_mode & 0o077 == 0, file


async def test_a_backup_is_consistent_while_the_bot_writes(house: House, other: House) -> None:
    """Each of many backups made while messages come in holds whole turns, without an end to them
    that was cut off."""
    said = 2
    async with open_history(house.settings) as history:
        for number in range(5):
            writing = asyncio.create_task(
                asyncio.to_thread(house.back_up, house.backups / f"{number}.tar.gz")
            )
            while not writing.done():
                await history.append(line(1, first_id=said + 1))
                said += 2
            await writing
    for number in range(5):
        other.restore(house.backups / f"{number}.tar.gz")
        async with open_history(other.settings) as history:
            ids = [message.id for message in await history.recent("tea", 2**31)]
        assert ids == [*range(1, len(ids) + 1)]
        assert len(ids) % 2 == 0


async def test_p1_what_was_removed_is_not_in_a_backup(house: House) -> None:
    """No byte of what was deleted is in the copies, also where it still stands in the file."""
    async with open_history(house.settings) as history:
        for id_ in range(101, 301):
            await history.append([asked(id_, "canary " * 40)])
    file = house.data / "history.sqlite3"
    with closing(sqlite3.connect(file)) as careless:
        careless.execute("PRAGMA secure_delete = OFF")
        careless.execute("DELETE FROM messages WHERE id > 100")
        careless.commit()
    assert b"canary" in file.read_bytes()
    with tarfile.open(house.back_up().file) as archive:
        copy = archive.extractfile("history.sqlite3")
        assert copy is not None
        assert b"canary" not in copy.read()


async def test_where_nothing_is_there_is_nothing_to_back_up(other: House) -> None:
    """That is said, and no empty file is left."""
    with pytest.raises(NotFound, match="nothing in"):
        other.back_up()
    assert list(other.backups.iterdir()) == []


async def test_a_file_that_is_there_is_not_overwritten(house: House) -> None:
    """It may be another backup, or a typing error."""
    file = house.backups / "notes.txt"
    file.write_text("mine")
    with pytest.raises(AcoreError, match="already"):
        house.back_up(file)
    assert file.read_text() == "mine"
    assert [it.name for it in house.backups.iterdir()] == ["notes.txt"]


async def test_a_backup_that_fails_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a file, nor copies of what people said, nor a lost older backup."""
    older = house.backups / "acore-2026-01-01T000000Z.tar.gz"
    older.write_text("older")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(AcoreError, match="No space left on device"):
        house.back_up(keep=1)
    assert [*house.backups.iterdir()] == [older]
    assert not (house.data / "backup.part").exists()


async def test_copies_that_a_kill_left_are_gone_with_the_next(house: House) -> None:
    """What people said stays nowhere unseen: neither in the data folder nor beside the backups."""
    (house.data / "backup.part").mkdir()
    (house.data / "backup.part" / "history.sqlite3").write_text("left")
    left = house.backups / ".acore-2026-01-01T000000Z.tar.gz.part"
    left.write_text("left")
    others = house.backups / ".acore-notes.tar.gz.part"
    others.write_text("not ours")
    backup = house.back_up()
    assert not (house.data / "backup.part").exists()
    assert {*house.backups.iterdir()} == {backup.file, others}


async def test_only_so_many_of_ours_are_kept(house: House) -> None:
    """The newest by their names stay; files with other names, folders and links to nowhere are not
    ours to remove."""
    names = [f"acore-2026-01-{day:02}T000000Z.tar.gz" for day in range(1, 6)]
    others = ["acore-2026-01-01T000000Z.tar.gz.old", "acore-mine.tar.gz", "photo.jpg"]
    for name in (*names, *others):
        (house.backups / name).write_text("")
    (house.backups / "acore-2025-01-01T000000Z.tar.gz").mkdir()
    backup = house.back_up(keep=3)
    assert [it.name for it in backup.removed] == names[2::-1]
    left = {it.name for it in house.backups.iterdir()}
    assert left == {
        *names[3:],
        *others,
        "acore-2025-01-01T000000Z.tar.gz",
        backup.file.name,
    }


async def test_two_backups_do_not_meet(house: House) -> None:
    """The second is told, and the first goes on."""
    with (
        restoring.sole_restore(house.settings),
        pytest.raises(AcoreError, match="Another backup or restore"),
    ):
        house.back_up()
    house.back_up()
