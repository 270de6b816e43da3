"""Everything that the bot writes is for its owner's eyes only, whatever the umask says."""

import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.fakes.command import Command, finish
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.virtual_terminal import open_window

ENTER, CTRL_D = "\r", "\x04"
OURS = {"acore.toml"}  # what the test itself wrote


@pytest.fixture(autouse=True)
def usual_umask(home: Path, scripted: None) -> Iterator[None]:
    """Let processes begin with the umask that most people have."""
    former = os.umask(0o022)
    yield
    os.umask(former)


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    """Open a Discord."""
    async with FakeDiscord() as fake:
        yield fake


def written(home: Path) -> dict[str, Path]:
    """Return all files and sockets under the home, and check that none is open to others."""
    found = {str(it.relative_to(home)): it for it in home.rglob("*") if it.name not in OURS}
    modes = {name: oct(it.lstat().st_mode & 0o777) for name, it in found.items()}
    is_private = {name: (it.is_dir() and "0o700") or "0o600" for name, it in found.items()}
    assert modes == is_private
    return {name: it for name, it in found.items() if not it.is_dir()}


async def serve(discord: FakeDiscord, command: Command, patch: pytest.MonkeyPatch) -> Process:
    """Start the bot and let it answer somebody."""
    for name, value in (
        ("DISCORD_TOKEN", discord.token),
        ("ACORE_DISCORD__API_URL", discord.api_url),
        ("ACORE_DISCORD__GATEWAY_URL", discord.gateway_url),
        ("ACORE_DISCORD__GATHER_SECONDS", "0.05"),
    ):
        patch.setenv(name, value)
    guild = discord.add_guild("home")
    channel, ada = guild.add_text_channel("talk"), discord.add_user("Ada")
    guild.add_member(ada)
    process = await command.start("run")
    await discord.until(lambda: bool(discord.identifies), seconds=30)
    await discord.say(ada, channel, f"{discord.bot_user.mention} Hello!")
    await discord.until(lambda: bool(discord.answers(channel)), seconds=30)
    return process


async def test_p6_what_the_bot_writes_while_it_serves(
    discord: FakeDiscord, command: Command, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Databases with their logs, the journal, the salt, locks, sockets, recordings and backups are
    0600, and folders 0700, while the bot runs and after it."""
    process = await serve(discord, command, monkeypatch)
    assert (await command.run("profile", "--mode", "tasks", "--duration", "1")).code == 0
    assert (await command.run("backup", "--with-settings", "--with-events")).code == 0
    names = written(home)
    assert names.keys() >= {
        *("data/history.sqlite3", "data/history.sqlite3-wal", "data/history.sqlite3-shm"),
        *("data/records.sqlite3", "data/records.sqlite3-wal", "data/records.sqlite3-shm"),
        *("data/events/acore/journal", "data/user_salt", "data/discord.lock", "data/backup.lock"),
    }
    assert any(it.is_socket() for it in names.values())
    assert any(name.startswith("acore-") for name in names)
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 0
    names = written(home)
    assert any(name.endswith(".jsonl") for name in names)


async def test_p6_what_the_bot_writes_while_its_owner_chats(
    command: Command, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """What was typed is 0600 too, in a folder that is 0700, and so is what was answered."""
    monkeypatch.setenv("TERM", "xterm-256color")
    with open_window() as window:
        process = await command.start(
            "chat",
            stdin=window.stdin.fileno(),
            stdout=window.stdout.fileno(),
            own_terminal=True,
        )
        await window.wait_for(lambda lines: "Message Acore" in lines[-1] if lines else False)
        window.press(f"Hello!{ENTER}")
        await window.wait_for(lambda lines: lines.count("Hello!") > 0 and "Message" in lines[-1])
        assert "data/history.sqlite3-wal" in written(home)
        window.press(CTRL_D)
        assert (await finish(process)).code == 0
    assert {"data/typed_lines/default", "data/history.sqlite3"} <= written(home).keys()
