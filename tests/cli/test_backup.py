"""`acore backup` and `acore restore`: all that the bot keeps, in one file."""

import os
import pty
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.fakes.command import Command, finish
from tests.fakes.discord.server import FakeDiscord
from typer.testing import Result

from acore_bot.app.half_restored import READY_FOLDER

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def said(invoke: Invoke, scripted: None) -> None:
    """Let there be a conversation."""
    invoke("chat", typed="Good morning!\n")


def messages(invoke: Invoke) -> str:
    """Return how many messages there are."""
    return str(invoke("history", "list").stdout).split("  ")[-1].strip()


def made(home: Path) -> list[Path]:
    """Return the backups in the working folder."""
    return sorted(home.glob("acore-*.tar.gz"))


def test_there_and_back(invoke: Invoke, home: Path) -> None:
    """A backup says what it wrote; a restore says what it puts in the place of what."""
    result = invoke("backup")
    (file,) = made(home)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Written: {file.name}, ")
    assert "KiB: records.sqlite3, history.sqlite3" in result.stdout
    assert result.stderr == "It holds what people said. Let nobody else have it.\n"
    invoke("chat", typed="And more.\n")
    assert messages(invoke) == "4 messages"
    result = invoke("restore", "--yes", file.name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"It takes the place of what is in {home / 'data'}." in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Restored: records.sqlite3, history.sqlite3")
    assert messages(invoke) == "2 messages"


def test_secrets_are_only_in_it_if_asked_for(invoke: Invoke, home: Path) -> None:
    """Then that is said, and what comes back is laid beside."""
    result = invoke("backup", "--with-settings", "--with-events")
    assert "with every key and token" in result.stderr
    assert "settings.toml, 1 file of events" in result.stdout
    result = invoke("restore", "--yes", made(home)[0].name)
    laid = home / "data" / "settings_of_backup.toml"
    assert f"Its settings are in {laid}, and not in force" in result.stdout
    assert laid.read_bytes() == (home / "acore.toml").read_bytes()
    assert laid.stat().st_mode & 0o777 == 0o600


def test_older_ones_are_removed_if_asked(invoke: Invoke, home: Path) -> None:
    """`--keep` names each that it removes, in the folder to which it writes."""
    folder = home / "backups"
    folder.mkdir()
    for year in (2023, 2024, 2025):
        (folder / f"acore-{year}-01-01T000000Z.tar.gz").write_text("")
    result = invoke("backup", "backups", "--keep", "2")
    removed = [line for line in result.stdout.splitlines() if line.startswith("Removed")]
    assert removed == [
        f"Removed, for its age: backups/acore-{year}-01-01T000000Z.tar.gz" for year in (2024, 2023)
    ]
    assert len([*folder.iterdir()]) == 2


@pytest.mark.parametrize("arguments", [("-", "--keep", "2"), ("--keep", "0")])
def test_nothing_can_be_kept_of_a_stream(arguments: tuple[str, ...], invoke: Invoke) -> None:
    """Nor can one keep none."""
    result = invoke("backup", *arguments)
    assert result.exit_code == 2
    assert "--keep" in result.stderr


async def test_a_stream_is_the_same_file(command: Command, home: Path) -> None:
    """With - the backup is standard output, byte for byte, and what is said goes elsewhere."""
    with (home / "stream.tar.gz").open("wb") as stream:
        done = await finish(await command.start("backup", "-", stdout=stream.fileno()))
    assert done.code == 0
    assert done.err.startswith("Written: records.sqlite3, history.sqlite3")
    done = await command.run("restore", "--yes", "stream.tar.gz")
    assert (done.code, done.err) == (0, "")


async def test_a_screen_is_no_place_for_a_backup(command: Command) -> None:
    """Nobody wants to see it there."""
    ours, theirs = pty.openpty()
    done = await finish(await command.start("backup", "-", stdout=theirs))
    os.close(theirs)
    os.close(ours)
    assert done.code == 2
    assert "not for the screen" in done.err


def test_without_a_person_to_ask_nothing_is_replaced(invoke: Invoke, home: Path) -> None:
    """In a script, `restore` wants `--yes`; a "y" from a pipe is not a person's."""
    invoke("backup", "one.tar.gz")
    invoke("chat", typed="And more.\n")
    result = invoke("restore", "one.tar.gz", typed="y\n")
    assert result.exit_code == 1
    assert result.stderr == "Nothing was touched. With --yes it is, without a question.\n"
    assert messages(invoke) == "4 messages"


async def test_a_person_is_asked_first(command: Command, home: Path) -> None:
    """A no leaves everything as it is, and nothing behind."""
    await command.run("backup", "one.tar.gz")
    ours, theirs = pty.openpty()
    process = await command.start("restore", "one.tar.gz", stdin=theirs, own_terminal=True)
    os.close(theirs)
    assert process.stdout
    assert b"removed for good" in await process.stdout.readuntil(b"[y/N]: ")
    os.write(ours, b"n\n")
    done = await finish(process)
    os.close(ours)
    assert (done.code, done.err.startswith("Nothing was touched.")) == (1, True)
    assert not [*(home / "data").glob("restore.*")]


def test_what_was_broken_off_goes_on_without_a_file(invoke: Invoke, home: Path) -> None:
    """Whoever is refused meanwhile is told how."""
    (home / "data" / READY_FOLDER).mkdir()
    for name in ("history.sqlite3", "records.sqlite3"):
        (home / "data" / READY_FOLDER / name).write_bytes((home / "data" / name).read_bytes())
    result = invoke("history", "list")
    assert result.exit_code == 1
    assert "Run `acore restore` without a file: it goes on there." in result.stderr
    assert "broken off" in invoke("doctor").stdout
    result = invoke("restore")
    assert (result.exit_code, result.stdout) == (0, "The restore that was broken off is done.\n")
    assert messages(invoke) == "2 messages"
    result = invoke("restore")
    assert result.exit_code == 1
    assert "Run: acore restore FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("restore", "nowhere.tar.gz"), "There is no backup nowhere.tar.gz."),
        (("restore", "acore.toml"), "cannot be used: it is no backup, or it is damaged"),
        (("restore", "data"), "cannot be used: Is a directory."),
        (("backup", "acore.toml"), "There is a file acore.toml already."),
        (("backup", "no/where.tar.gz"), "could not be written: No such file or directory."),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], sentence: str, invoke: Invoke) -> None:
    """Each fault is a sentence and a remedy, and ends with 1."""
    result = invoke(*arguments)
    assert result.exit_code == 1
    first, remedy = result.stderr.splitlines()
    assert sentence in first
    assert remedy.startswith("  ")


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    """Open a Discord."""
    async with FakeDiscord() as fake:
        yield fake


async def test_a_bot_that_runs_is_backed_up_and_not_replaced(
    discord: FakeDiscord, command: Command, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """While `acore run` answers people, a backup is made, and a restore is refused."""
    for name, value in (
        ("DISCORD_TOKEN", discord.token),
        ("ACORE_DISCORD__API_URL", discord.api_url),
        ("ACORE_DISCORD__GATEWAY_URL", discord.gateway_url),
        ("ACORE_DISCORD__GATHER_SECONDS", "0.05"),
    ):
        monkeypatch.setenv(name, value)
    guild = discord.add_guild("home")
    channel, ada = guild.add_text_channel("talk"), discord.add_user("Ada")
    guild.add_member(ada)
    process = await command.start("run")
    await discord.until(lambda: bool(discord.identifies), seconds=30)
    await discord.say(ada, channel, f"{discord.bot_user.mention} Hello!")
    await discord.until(lambda: bool(discord.answers(channel)), seconds=30)
    done = await command.run("backup", "one.tar.gz")
    assert done.code == 0
    assert "history.sqlite3" in done.out
    done = await command.run("restore", "--yes", "one.tar.gz")
    assert done.code == 2
    assert "Another `acore run` serves with the data in" in done.err
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 0
    assert (await command.run("restore", "--yes", "one.tar.gz")).code == 0
