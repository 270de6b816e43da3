"""The towers as the application builds them: shared, remembered, in line, and never dark."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import heard

from acore_bot import config
from acore_bot.app import App, open_app, open_history
from acore_bot.errors import NotFound, QueueFull
from acore_bot.messages import ChatMessage, ChatRequest, End, IncomingCommand, Piece, Waiting
from acore_bot.providers.scripted import Scripted
from acore_bot.telemetry.events import Event, FellBack

DEMO = """
[chat]
model = "demo/script"
[providers.demo]
kind = "scripted"
answers = ["One two three."]
delay_seconds = 0.001
[providers.dead]
kind = "openai"
base_url = "http://127.0.0.1:1/v1"
max_streams = 1
[failover]
models = ["demo/script"]
"""


def load_settings(folder: Path, more: str = "") -> config.Settings:
    """Read settings in which a scripted model answers, and stands in for a dead one."""
    file = folder / "acore.toml"
    file.write_text(DEMO + more)
    return config.load(file, {"data.directory": str(folder / "data")}, environ={})


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[App]:
    """Open a bot over the scripted model."""
    async with open_app(load_settings(tmp_path)) as opened:
        yield opened


def stateless(model: str = "demo/script", text: str = "Hello?") -> ChatRequest:
    """Return a question that everyone may share."""
    return ChatRequest(model=model, messages=(ChatMessage("user", text),), max_tokens=16)


async def ask(bot: App, request: ChatRequest) -> End:
    """Return the end of an answer."""
    async with bot.model.stream(request) as pieces:
        *_, end = [piece async for piece in pieces]
    assert isinstance(end, End)
    return end


async def test_equal_questions_in_the_air_are_one_upstream(bot: App) -> None:
    """A hundred askers, one stream, and the figures say so; afterwards nothing is in the air."""
    ends = await asyncio.gather(*(ask(bot, stateless()) for _ in range(100)))
    assert [end.is_shared for end in ends].count(True) == 100
    stats = bot.get_cache_stats()["deduplication"]
    assert (stats["requests"], stats["upstream_calls"], stats["joined"]) == (100, 1, 99)
    assert (stats["active_deduplication"], stats["pending_requests"]) == (0, 0)
    assert bot.get_performance_stats()["demo"]["total_requests"] == 1


async def test_an_equal_question_later_is_answered_from_memory(bot: App) -> None:
    """The second asker pays nothing, until something is forgotten."""
    assert not (await ask(bot, stateless())).is_cached
    assert (await ask(bot, stateless())).is_cached
    assert bot.get_cache_stats()["responses"]["hits"] == 1
    await bot.core(_command("reset"), RecordingTarget())
    assert not (await ask(bot, stateless())).is_cached


async def test_chat_turns_are_never_answered_from_memory(bot: App) -> None:
    """The same words said twice are two turns, each answered by the model."""
    target = RecordingTarget()
    await bot.core(heard(1, "Hello?"), target)
    await bot.core(heard(2_000, "Hello?"), target)
    assert bot.get_performance_stats()["demo"]["total_requests"] == 2
    assert bot.get_cache_stats()["history"]["entries"] == 1


async def test_another_model_answers_for_a_dead_one(bot: App) -> None:
    """Who asks a dead model gets the next one's answer, and learns who gave it."""
    end = await ask(bot, stateless("dead/model"))
    assert (end.provider, end.model, end.fell_back_from) == ("demo", "script", "dead/model")


async def test_the_embedded_model_is_the_last_resort(tmp_path: Path) -> None:
    """Where it is installed it stands behind all others, and is not loaded for that; an owner can
    leave it out."""
    async with open_app(load_settings(tmp_path)) as bot:
        assert "embedded" in bot.routed.opened()
    async with open_app(load_settings(tmp_path, "embedded = false\n")) as bot:
        assert "embedded" not in bot.routed.opened()


async def test_a_provider_has_a_line_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its streams, who asks is told the place in the line, and then served."""
    gate = asyncio.Event()
    slow = Scripted(answers=[["One ", gate, "two."]])
    monkeypatch.setattr("acore_bot.app.opening.open_provider", lambda *_: slow)
    async with open_app(load_settings(tmp_path)) as bot, asyncio.TaskGroup() as group:
        first = group.create_task(ask(bot, stateless("dead/model", "A?")))
        second: asyncio.Queue[Piece] = asyncio.Queue()
        group.create_task(_listen(bot, stateless("dead/model", "B?"), second))
        assert await second.get() == Waiting(1)
        assert slow.open_streams == 1
        gate.set()
        assert (await first).finish_reason == "stop"
        pieces = [await second.get()]
        while not isinstance(pieces[-1], End):
            pieces.append(await second.get())
        assert slow.max_open_streams == 1


async def test_metrics_begin_anew_on_request(bot: App) -> None:
    """`reset_metrics` empties the figures of every provider."""
    await ask(bot, stateless())
    bot.reset_metrics()
    assert bot.get_performance_stats()["demo"]["total_requests"] == 0


async def test_a_wrong_persona_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    """The owner learns of it at the start, not at the first message."""
    settings = config.load(None, {"chat.persona": "nobody"}, environ={})
    with pytest.raises(NotFound, match="nobody"):
        async with open_app(settings):
            pass
    assert not (tmp_path / "data").exists()


def _command(name: str) -> IncomingCommand:
    return IncomingCommand(conversation="tea", author=heard(1).author, name=name, may_manage=True)


async def _listen(bot: App, request: ChatRequest, heard_pieces: asyncio.Queue[Piece]) -> None:
    async with bot.model.stream(request) as pieces:
        async for piece in pieces:
            heard_pieces.put_nowait(piece)


async def test_each_knob_of_the_towers_is_wired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the settings say of sharing, memory, line and time is what the towers do."""
    gate = asyncio.Event()
    slow = Scripted(answers=[[gate, "Yes."]])
    monkeypatch.setattr("acore_bot.app.opening.open_provider", lambda *_: slow)
    knobs = """
        embedded = false
        models = []
        total_seconds = 0.2
        [queue]
        max_waiting = 0
        [deduplication]
        public = false
        [response_cache]
        enabled = false
        max_entries = 7
        ttl_seconds = 9
        [history_cache]
        max_conversations = 5
        max_mib = 3
    """
    file = tmp_path / "acore.toml"
    file.write_text(DEMO.replace('models = ["demo/script"]', "") + knobs)
    settings = config.load(file, {"data.directory": str(tmp_path / "data")}, environ={})
    async with open_app(settings) as bot:
        stats = bot.get_cache_stats()
        assert (stats["responses"]["enabled"], stats["responses"]["max_size"]) == (False, 7)
        assert stats["responses"]["ttl_seconds"] == 9
        assert (stats["history"]["max_entries"], stats["history"]["max_bytes"]) == (5, 3 * 2**20)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(bot, stateless("dead/model", "A?")))
            while not slow.open_streams:  # noqa: ASYNC110 -- a scripted model has no event
                await asyncio.sleep(0)
            with pytest.raises(QueueFull):  # not shared, and nobody may wait
                await ask(bot, stateless("dead/model", "A?"))
            gate.set()
            assert (await first).finish_reason == "stop"
        assert slow.requests[0].deadline is not None


async def test_what_happens_in_the_towers_is_told(tmp_path: Path) -> None:
    """Fall-backs and breakers tell the one who listens."""
    happened: list[Event] = []
    async with open_app(load_settings(tmp_path), happened.append) as bot:
        await ask(bot, stateless("dead/model"))
    fell = next(event for event in happened if isinstance(event, FellBack))
    assert (fell.asked, fell.answered_by) == ("dead/model", "demo/script")


async def test_another_process_that_forgets_is_noticed(bot: App, tmp_path: Path) -> None:
    """What `acore history forget` removes while the bot runs leaves its memory with the next
    message that is stored."""
    target = RecordingTarget(first_id=5)
    await bot.core(heard(1, "My name is Ada."), target)
    async with open_history(load_settings(tmp_path)) as other:
        await other.clear("tea")
    await bot.core(heard(100, "Hello?"), target)
    await bot.core(heard(200, "Hello?", conversation="milk"), target)
    remembered = [said.text for said in await bot.history.recent("tea", 9)]
    assert "Hello?" in remembered
    assert "My name is Ada." not in remembered
