"""What a bot tells of itself while people use it: in its log, on its page, and in `/stats`."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import ADA, heard

from acore_bot import app, config
from acore_bot.app.assembly import Manners
from acore_bot.app.watching import Telemetry, open_telemetry, serving_operator
from acore_bot.config import Settings
from acore_bot.errors import ConfigurationError
from acore_bot.messages import IncomingCommand
from acore_bot.telemetry.events import Event
from acore_bot.telemetry.figures import ShardState

WORDS = "I like the sea, and my name is Ada Lovelace."


def settings_of(folder: Path, **more: object) -> Settings:
    """Make settings under which a scripted model echoes what it is told."""
    overrides = {
        "data.directory": str(folder),
        "chat.model": "demo/script",
        "providers.demo.kind": "scripted",
        "operator.port": 0,
        **more,
    }
    return config.load(overrides=overrides, environ={})


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[tuple[Telemetry, app.App]]:
    """Run a bot that tells of itself."""
    async with (
        open_telemetry(settings) as telemetry,
        app.open_app(settings, telemetry.emit, Manners(lately=telemetry.lately)) as bot,
    ):
        yield telemetry, bot


def logged(folder: Path) -> list[dict[str, object]]:
    """Read the whole log."""
    lines = [
        line
        for file in sorted(folder.glob("events/*/*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def command(name: str) -> IncomingCommand:
    """Make a command typed at the terminal."""
    return IncomingCommand(
        conversation="tea", author=ADA, name=name, argument="", may_manage=True, is_private=True
    )


async def test_what_happened_is_in_the_log_and_nothing_that_was_said(tmp_path: Path) -> None:
    """A turn and a command leave events with their stages and figures; no word of theirs, no name
    and no id is among them."""
    settings = settings_of(tmp_path)
    async with watched(settings) as (_, bot):
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
        await bot.core(command("persona"), RecordingTarget(first_id=4))
        await bot.core(command("secret words"), RecordingTarget(first_id=5))
    events = logged(tmp_path)
    kinds = [event["type"] for event in events]
    assert kinds.count("turn_finished") == 1
    turn = events[kinds.index("turn_finished")]["data"]
    assert isinstance(turn, dict)
    assert turn.keys() >= {"model", "stages", "total_seconds", "place"}
    assert turn["stages"].keys() >= {"admitted", "context", "first_delta", "stream", "edits"}
    used = [event["data"] for event in events if event["type"] == "command_used"]
    assert [one["name"] for one in used if isinstance(one, dict)] == ["persona", "unknown"]
    everything = json.dumps(events)
    for secret in ("sea", "Ada", "Lovelace", "tea", "secret", f'"{ADA.id}"'):
        assert secret not in everything


async def test_stats_tell_of_the_last_hour(tmp_path: Path) -> None:
    """Whoever sits at the machine sees with `/stats` how the last hour was."""
    async with watched(settings_of(tmp_path)) as (_, bot):
        before, after = RecordingTarget(first_id=2), RecordingTarget(first_id=9)
        await bot.core(command("stats"), before)
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=4))
        await bot.core(command("stats"), after)
    assert "The last hour: no turns." in before.texts[0]
    assert "The last hour: 1 turns; 0 failed; half within" in after.texts[0]


async def test_nothing_is_written_where_nothing_is_wanted(tmp_path: Path) -> None:
    """With `events.enabled = false` there is no folder of events, and the figures are there."""
    async with watched(settings_of(tmp_path, **{"events.enabled": False})) as (telemetry, bot):
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
        assert telemetry.metrics.figures("hour").turns == 1
        assert telemetry.batch().batch_task_running is False
    assert not (tmp_path / "events").exists()


class TwoShards:
    """A front end with two connections, one of them lost."""

    def shards(self) -> tuple[ShardState, ...]:
        """Tell how they are."""
        return (ShardState(shard=0, is_connected=True), ShardState(shard=1, is_connected=False))


async def test_now_tells_how_the_bot_is(tmp_path: Path) -> None:
    """The page is told of open answers, lines, memory and connections as they are."""
    async with watched(settings_of(tmp_path)) as (telemetry, bot):
        assert telemetry.now(bot).is_model_reachable is None
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
        now = telemetry.now(bot, TwoShards().shards())
    assert now.is_model_reachable is True
    assert (now.open_answers, now.flights, now.conversations_in_memory) == (0, 0, 1)
    assert "demo" in [line.name for line in now.providers]
    assert [shard.is_connected for shard in now.shards] == [True, False]


async def test_the_page_shows_the_bot_that_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator's page is served with the figures of real turns, and ready only if all shards
    are connected."""
    caplog.set_level(logging.INFO)
    settings = settings_of(tmp_path)
    async with watched(settings) as (telemetry, bot), aiohttp.ClientSession() as browser:
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
        async with serving_operator(settings, telemetry, bot, TwoShards()):
            url = caplog.messages[-1].rpartition(" ")[2].rstrip("/")
            async with browser.get(f"{url}/metrics") as answer:
                text = await answer.text()
            async with browser.get(f"{url}/readyz") as answer:
                assert answer.status == 503
    assert 'gen_ai_request_model="demo/script"' in text
    assert "Lovelace" not in text


async def test_a_port_that_is_taken_keeps_nobody_from_being_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the page's port is taken, the bot runs on without the page, and says so."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = settings_of(tmp_path, **{"operator.port": port})
    async with (
        server,
        watched(settings) as (telemetry, bot),
        serving_operator(settings, telemetry, bot, None),
    ):
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
    assert any("The operator's page is not served" in line for line in caplog.messages)


async def test_s24_beyond_this_machine_the_page_takes_a_token(tmp_path: Path) -> None:
    """To listen on all addresses without a token is refused before anything is served."""
    settings = settings_of(tmp_path, **{"operator.host": "0.0.0.0"})
    async with watched(settings) as (telemetry, bot):
        with pytest.raises(ConfigurationError, match="open to everybody"):
            async with serving_operator(settings, telemetry, bot, None):
                pass


async def test_events_reach_who_listens_too(tmp_path: Path) -> None:
    """Whoever opens the telemetry hears of every event as before."""
    heard_of: list[Event] = []
    settings = settings_of(tmp_path)
    async with (
        open_telemetry(settings, heard_of.append) as telemetry,
        app.open_app(settings, telemetry.emit) as bot,
    ):
        await bot.core(heard(1, WORDS), RecordingTarget(first_id=2))
    assert [type(event).__name__ for event in heard_of if "Turn" in type(event).__name__] == [
        "TurnFinished"
    ]
