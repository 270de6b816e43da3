"""What a backup holds takes the place of what is there: wholly or not at all."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.answer_records import record_of
from tests.fakes.backed_up import SALT, House
from tests.fakes.talk import line

from acore_bot.app import restoring
from acore_bot.app.half_restored import READY_FOLDER
from acore_bot.app.serving import nobody_serving
from acore_bot.app.towers import open_history, open_records
from acore_bot.errors import ConfigurationError, HistoryError, HistoryUnusable


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


async def test_a_restore_replaces_what_is_there(house: House, other: House) -> None:
    """Nothing of what was there before is left, neither rows nor files nor folders aside."""
    backup = house.back_up().file
    async with open_history(other.settings) as history, open_records(other.settings) as records:
        await history.append(line(3, text="canary"))
        await records.answers.put(record_of(4, 3))
    other.restore(backup)
    assert other.state() == house.state()
    assert {it.name for it in other.data.iterdir()} == {
        *("history.sqlite3", "records.sqlite3", "user_salt", "discord_guilds.json"),
        *("backup.lock", "discord.lock"),
    }


async def test_what_a_backup_lacks_is_gone_too(house: House, other: House) -> None:
    """A salt and servers of another time would not go with its records; what is no part of a backup
    stays."""
    for name in ("user_salt", "discord_guilds.json", "records.sqlite3"):
        (house.data / name).unlink()
        (other.data / name).write_bytes(SALT)
    (other.data / "records.sqlite3").unlink()
    (other.data / "discord_commands.digest").write_text("abc")
    other.restore(house.back_up().file)
    assert other.state().keys() == {"history.sqlite3"}
    assert (other.data / "discord_commands.digest").read_text() == "abc"


async def test_p3_who_has_paused_since_stays_so(house: House) -> None:
    """A backup of before does not make the bot listen to somebody again who wants it not to."""
    backup = house.back_up().file
    async with open_records(house.settings) as records:
        await records.consents.pause("19")
        await records.consents.resume("18")
    assert house.restore(backup).are_pauses_known
    async with open_records(house.settings) as records:
        assert await records.consents.paused() == {"18", "19"}


async def test_p3_that_nobody_can_tell_who_has_paused_is_known(house: House) -> None:
    """If the records of now are damaged, it is said; the restore is what mends them."""
    backup = house.back_up().file
    (house.data / "records.sqlite3").write_bytes(b"no database" * 100)
    assert not house.restore(backup).are_pauses_known
    async with open_records(house.settings) as records:
        assert await records.consents.paused() == {"18"}


async def test_nothing_is_touched_while_the_bot_runs(house: House, other: House) -> None:
    """Who serves holds the data, with all shards or with some, and so does whoever chats."""
    backup = house.back_up().file
    before = house.state()
    with nobody_serving(house.data), pytest.raises(ConfigurationError, match="Another"):
        house.restore(backup)
    async with open_history(house.settings) as history:
        await history.recent("tea", 1)
        with pytest.raises(HistoryError, match="Another process"):
            house.restore(backup)
        assert [message.id for message in await history.recent("tea", 9)] == [1, 2]
    assert house.state() == before
    assert not (house.data / READY_FOLDER).exists()


async def test_a_restore_that_was_broken_off_lets_nobody_in(house: House) -> None:
    """Until it is ended, no store opens and no backup is made; ending it gives what was wanted."""
    backup = house.back_up().file
    before = house.state()
    async with open_history(house.settings) as history:
        await history.append(line(1, first_id=3))
    with (
        restoring.sole_restore(house.settings),
        restoring.prepared(house.settings, backup),
    ):
        (house.data / restoring.PART_FOLDER).rename(house.data / READY_FOLDER)
    for opened in (open_history, open_records):
        with pytest.raises(HistoryUnusable, match="broken off"):
            opened(house.settings)
    with pytest.raises(HistoryUnusable, match="broken off"):
        house.back_up(house.backups / "second.tar.gz")
    restoring.go_on(house.settings)
    assert house.state() == before


KILLED_RESTORES = """
import os, shutil, signal, sys
from pathlib import Path
from acore_bot.app import restoring
from acore_bot.app.backing_up import sole_backup
from tests.fakes.backed_up import House

template, backup, work = map(Path, sys.argv[1:])
house = House(work)
shutil.rmtree(house.data)
shutil.copytree(template, house.data)
old = house.state()
EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "open"}
seen = set()
for kill_at in range(1, 1000):
    shutil.rmtree(house.data)
    shutil.copytree(template, house.data)
    child = os.fork()
    if child == 0:
        count = 0
        def count_down(event, arguments):
            global count
            if event in EVENTS and str(work) in str(arguments):
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count_down)
        house.restore(backup)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with restoring.sole_restore(house.settings):
        if restoring.is_broken_off(house.settings):
            restoring.go_on(house.settings)
            assert house.state() != old
            seen.add("went on")
    is_new = house.state() != old
    if is_new:
        new = globals().setdefault("new", house.state())
        assert house.state() == new
        seen.add("new")
    else:
        seen.add("old")
    if status == 0:
        break
print(kill_at, *sorted(seen))
"""


def run_script(*arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run the script above in a process without threads, which it forks."""
    return subprocess.run(
        [sys.executable, "-c", KILLED_RESTORES, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


async def test_a_kill_leaves_the_old_or_the_new(house: House, other: House, tmp_path: Path) -> None:
    """Wherever a restore is killed, what is there afterwards is whole: what was there before, or,
    ended by the next call, what was wanted."""
    backup = house.back_up().file
    async with open_history(other.settings) as history:
        await history.append(line(1, text="before"))
    (other.data / "user_salt").write_bytes(SALT[::-1])
    done = await asyncio.to_thread(run_script, other.data, backup, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    count, *seen = done.stdout.split()
    assert int(count) > 20
    assert seen == ["new", "old", "went", "on"]
