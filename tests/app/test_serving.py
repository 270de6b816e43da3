"""Who may serve on Discord at the same time, and what is kept for them between two runs."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acore_bot.app.serving import (
    _checked,
    _hangups,
    _note_guilds,
    _read_guilds,
    _sole_server,
    discord_manners,
    open_discord,
)
from acore_bot.app.towers import open_app
from acore_bot.config import Settings, load
from acore_bot.errors import ConfigurationError
from acore_bot.frontends.discord import Discord
from acore_bot.messages import AnswerRecord, Host, Place, Receipt

SCRIPTED = """[chat]
model = "demo/script"
[providers.demo]
kind = "scripted"
[providers.embedded]
kind = "scripted"
"""


def settings_of(folder: Path, shards: str) -> Settings:
    """Settings of a process with some shards of three, or with all."""
    of = f"shard_ids = [{shards}]\nshard_count = 3\n" if shards else ""
    file = folder / "acore.toml"
    file.write_text(f'[data]\ndirectory = "{folder}"\n[discord]\ntoken = "none"\n{of}{SCRIPTED}')
    return load(file, environ={})


@pytest.mark.parametrize(
    ("one", "other"), [("", ""), ("0, 1", "1, 2"), ("", "0"), ("0", ""), ("0, 1", "1, 0")]
)
def test_nobody_serves_the_same_shard_twice(tmp_path: Path, one: str, other: str) -> None:
    """However the shards are written, and whoever came first; afterwards others may."""
    first, second = settings_of(tmp_path, one), settings_of(tmp_path, other)
    with (
        _sole_server(first),
        pytest.raises(ConfigurationError, match="Another"),
        _sole_server(second),
    ):
        pass
    with _sole_server(second):
        pass


def test_processes_with_shards_of_their_own_share_the_data(tmp_path: Path) -> None:
    """That is what shards are for."""
    first, second = settings_of(tmp_path, "0, 2"), settings_of(tmp_path, "1")
    with _sole_server(first), _sole_server(second):
        pass


def test_what_blocks_while_serving_is_not_taken_for_another_process(tmp_path: Path) -> None:
    """Only the lock itself says that."""
    with pytest.raises(BlockingIOError, match="pipe"), _sole_server(settings_of(tmp_path, "")):
        raise BlockingIOError("the pipe is full")


def test_the_guilds_of_applications_are_kept_apart(tmp_path: Path) -> None:
    """Each joins and leaves for itself, and what nobody can read is nothing."""
    file = tmp_path / "guilds.json"
    _note_guilds(file, "1", {5, 6}, ())
    _note_guilds(file, "2", {6}, ())
    _note_guilds(file, "1", {7}, {5})
    assert _read_guilds(file) == {"1": [6, 7], "2": [6]}
    file.write_text("{")
    assert _read_guilds(file) == {}


async def test_private_chats_are_known_by_what_was_answered_there(tmp_path: Path) -> None:
    """Also one in which only /ask was used; a channel of a server is none."""
    settings = settings_of(tmp_path, "")
    async with open_app(settings, manners=discord_manners(settings)) as bot:
        for number, guild in enumerate(("", "5")):
            record = AnswerRecord(
                id=number + 1,
                asker="7",
                question_id=number,
                receipt=Receipt(
                    model="demo/script",
                    persona="acore",
                    host=Host("here", is_local=True),
                    finish_reason="stop",
                    total_seconds=1.0,
                ),
                conversation=f"discord:{number}",
                place=Place(guild, str(number)),
                created_at=datetime.now(UTC),
            )
            await bot.records.answers.put(record)
        frontend = open_discord(settings, bot)
        assert isinstance(frontend, Discord)
        assert list(await frontend._catch_up._recent_channels()) == ["discord:0"]


@pytest.mark.parametrize(("start", "is_stop"), [(signal.SIG_IGN, False), (signal.SIG_DFL, True)])
async def test_who_was_told_to_outlive_the_terminal_does(
    monkeypatch: pytest.MonkeyPatch, start: signal.Handlers, is_stop: bool
) -> None:
    """The loss of the terminal is a stop, but not for a bot that was started by nohup; afterwards
    SIGHUP does what it did before."""
    former, heard = signal.signal(signal.SIGHUP, start), asyncio.Event()
    terminals, stopped = iter([True, False]), list[int]()

    def stop(number: int) -> None:
        stopped.append(number)
        heard.set()

    monkeypatch.setattr("acore_bot.app.serving._has_terminal", lambda: next(terminals))
    monkeypatch.setattr(signal, "raise_signal", stop)
    try:
        with _hangups() as hangups:
            os.kill(os.getpid(), signal.SIGHUP)
            await (heard if is_stop else hangups).wait()
            assert hangups.is_set() is not is_stop
        assert signal.getsignal(signal.SIGHUP) is start
    finally:
        signal.signal(signal.SIGHUP, former)
    assert stopped == ([signal.SIGTERM] if is_stop else [])


def test_what_the_next_start_would_refuse_is_refused_now(tmp_path: Path) -> None:
    """Without a token no start would succeed, so a file that lost it is not taken over."""
    settings = settings_of(tmp_path, "")
    assert _checked(lambda: settings) is settings
    (tmp_path / "acore.toml").write_text(SCRIPTED)
    with pytest.raises(ConfigurationError, match="There is no Discord token"):
        _checked(lambda: load(tmp_path / "acore.toml", environ={}))
