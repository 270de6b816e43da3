"""Faults of the system before this one that no other test would notice if they came back.

Most of its faults are caught where the thing itself is tested. Here stand those that show only
when real parts work together, as the application builds them.
"""

import ast
import asyncio
import gc
import inspect
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.model_server import CHAT, OLLAMA_CHAT, OPENROUTER_CHAT, ModelServer
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import ADA, BEN, answered, asked, heard

from acore_bot import app, config
from acore_bot.app.opening import open_limited_provider, open_provider
from acore_bot.app.options import make_prompts
from acore_bot.chat import persona as persona_module
from acore_bot.chat import prompt as prompt_module
from acore_bot.chat.prompt import Question
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.chat.turn import TurnTaker
from acore_bot.contracts import Provider
from acore_bot.errors import HistoryError, Unavailable
from acore_bot.history.cache import CachedHistory
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm.deduplicate import DeduplicatedModel, RequestDeduplicator
from acore_bot.llm.failover import Failover
from acore_bot.llm.limit import LimitedModel
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.messages import Author, ChatMessage, ChatRequest, Delta, End, ModelInfo
from acore_bot.providers.performance import PerformanceLog
from acore_bot.providers.scripted import Answer, Scripted

DEMO = {
    "chat.model": "demo/script",
    "providers.demo.kind": "scripted",
    "failover.embedded": False,
}
PATHS = {"ollama": OLLAMA_CHAT, "openai": CHAT, "openrouter": OPENROUTER_CHAT}
ROOTS = {"ollama": "", "openai": "/v1", "openrouter": "/api/v1"}
NOBODY = "http://127.0.0.1:1"


def load(folder: Path, **more: object) -> config.Settings:
    """Read settings in which a script answers, and whatever else is given (`__` for a dot)."""
    overrides = {key.replace("__", "."): value for key, value in more.items()}
    return config.load(None, {"data.directory": str(folder), **DEMO, **overrides}, environ={})


def use_script(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> Scripted:
    """Let every provider of the settings be one that the test can look at."""
    model = Scripted(answers=answers)
    monkeypatch.setattr("acore_bot.app.opening.open_provider", lambda *_: model)
    return model


def stateless(model: str = "demo/script", **more: float) -> ChatRequest:
    """Make a question that anyone may share."""
    said = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello?"))
    return ChatRequest(
        model=model,
        messages=said,
        max_tokens=16,
        temperature=more.get("temperature"),
        seed=int(more["seed"]) if "seed" in more else None,
    )


async def ask(bot: app.App, request: ChatRequest) -> End:
    """Return the end of an answer."""
    async with bot.model.stream(request) as pieces:
        *_, end = [piece async for piece in pieces]
    assert isinstance(end, End)
    return end


# Sharing requests


async def test_closing_the_bot_stops_what_is_in_the_air(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who still reads when the bot closes hears an error, and nothing goes on upstream."""
    model = use_script(monkeypatch, ["One ", asyncio.Event()])
    async with AsyncExitStack() as readers:
        async with app.open_app(load(tmp_path)) as bot:
            pieces = await readers.enter_async_context(bot.model.stream(stateless()))
            assert await anext(pieces) == Delta("One ")
        assert model.open_streams == 0
        with pytest.raises(Unavailable):
            await anext(pieces)


async def test_an_answer_that_is_over_is_in_nobodys_memory() -> None:
    """As soon as the last reader has left, nothing holds the flight, its task or its text."""
    model = DeduplicatedModel(Scripted(answers=["One two."]))
    async with model.stream(stateless()) as pieces:
        (flight,) = map(weakref.ref, model._table._flights.values())
        assert [type(piece) async for piece in pieces] == [Delta, Delta, End]
    del pieces
    await asyncio.sleep(0)  # the loop itself holds what woke us until the next step
    gc.collect()
    assert flight() is None
    assert not model._table._tasks


async def test_a_chat_turn_is_never_digested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many coats look at a turn's prompt, none reads all of it to make a key."""
    made: list[str] = []
    create = RequestDeduplicator.create_request_key

    def counted(request: ChatRequest) -> str:
        made.append(create(request))
        return made[-1]

    monkeypatch.setattr(RequestDeduplicator, "create_request_key", staticmethod(counted))
    async with app.open_app(load(tmp_path)) as bot:
        await bot.core(heard(1), RecordingTarget(first_id=2))
    assert made == []


def test_the_same_question_is_the_same_request(tmp_path: Path) -> None:
    """Two people who ask a stateless question a day apart make one key: nothing of them, and no
    time, is in what the model sees."""
    prompts = make_prompts(load(tmp_path), TokenEstimator())
    keys = {
        RequestDeduplicator.create_request_key(
            prompts.build(
                Question(
                    message=heard(id_, author=author),
                    model="demo/script",
                    is_stateless=True,
                    system="Be kind.",
                ),
                ModelInfo(),
            ).request
        )
        for id_, author in [(1, ADA), (86_400, BEN)]
    }
    assert len(keys) == 1


@pytest.mark.parametrize("module", [prompt_module, persona_module])
def test_a_prompt_knows_no_clock(module: object) -> None:
    """What builds prompts cannot read the time: a minute in the head would end all sharing, and
    every server's memory of the prompt, within the minute."""
    assert inspect.ismodule(module)
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert names.isdisjoint({"now", "utcnow", "today", "monotonic", "localtime", "gmtime"})
    assert names.isdisjoint({"perf_counter", "time_ns", "clock", "datetime"})


# Answering from memory


async def test_a_question_with_a_persona_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same question to a persona, asked three times, is one call and two hits."""
    model = use_script(monkeypatch)
    settings = load(tmp_path)
    async with app.open_app(settings) as bot:
        for _ in range(3):
            request = await app.stateless_request(settings, bot.model, "Hello?")
            assert request.messages[0].role == "system"
            await ask(bot, request)
        assert bot.get_cache_stats()["responses"]["hits"] == 2
    assert len(model.requests) == 1


@pytest.mark.parametrize("kind", PATHS)
async def test_zero_reaches_the_server_as_zero(tmp_path: Path, kind: str) -> None:
    """A temperature and a seed of 0 are sent as such by every provider with a wire."""
    async with ModelServer() as server, model_over(server, kind, tmp_path) as model:
        request = stateless("tiny", temperature=0.0, seed=0)
        async with model.stream(request) as pieces:
            assert [piece async for piece in pieces]
        (body,) = server.bodies(PATHS[kind])
        sent = body.get("options", body)
        assert (sent["temperature"], sent["seed"]) == (0.0, 0)


async def test_a_temperature_of_zero_in_the_settings_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner who sets 0 gets 0 in every turn, and not a default."""
    model = use_script(monkeypatch)
    personas = tmp_path / "personas"
    personas.mkdir()
    (personas / "plain.md").write_text("Be plain.")
    more = {"chat__temperature": 0, "chat__persona": "plain"}
    settings = load(tmp_path, chat__personas_directory=str(personas), **more)
    async with app.open_app(settings) as bot:
        await bot.core(heard(1), RecordingTarget(first_id=2))
    assert [request.temperature for request in model.requests] == [0.0]


@asynccontextmanager
async def model_over(server: ModelServer, kind: str, folder: Path) -> AsyncIterator[Provider]:
    """Open a provider of a kind over the server, made of settings as the application does."""
    table = {"kind": kind, "base_url": server.url + ROOTS[kind], "api_key": "sk-test"}
    if kind == "ollama":
        del table["api_key"]
    provider = open_provider(load(folder, providers__mine=table), "mine")
    try:
        yield provider
    finally:
        await provider.aclose()


# What was said


def fill_up(connection: sqlite3.Connection) -> None:
    """Let the file grow no more, as on a full disk."""
    connection.execute("PRAGMA max_page_count = 1")


async def test_after_a_failed_write_memory_and_disk_agree(tmp_path: Path) -> None:
    """What a full disk refused is neither in the file nor in the cache before it."""
    async with SQLiteHistory.open(tmp_path / "history.db") as store:
        history = CachedHistory(store)
        await history.append([asked(1), answered(2, parent_id=1)])
        assert len(await history.recent("tea", 10)) == 2
        await store._thread.read(fill_up)
        with pytest.raises(HistoryError, match="no room"):
            await history.append([asked(3, "x" * 100_000), answered(4, parent_id=3)])
        in_memory, on_disk = await history.recent("tea", 10), await store.recent("tea", 10)
        assert [message.id for message in in_memory] == [1, 2]
        assert in_memory == on_disk


async def test_nobody_can_change_what_is_remembered(tmp_path: Path) -> None:
    """A message that the cache handed out cannot be written to, nor can its author."""
    async with SQLiteHistory.open(tmp_path / "history.db") as store:
        history = CachedHistory(store)
        await history.append([asked(1)])
        (message,) = await history.recent("tea", 10)
        with pytest.raises(AttributeError, match="immutable"):
            message.text = "I never said that."  # type: ignore[misc]
        with pytest.raises(AttributeError, match="immutable"):
            message.author.name = "Ben"  # type: ignore[misc]


async def test_a_busy_disk_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    """While the store is at work, everybody else's code runs on."""
    released = threading.Event()
    async with SQLiteHistory.open(tmp_path / "history.db") as store, asyncio.TaskGroup() as group:
        busy = group.create_task(store._thread.read(lambda _: released.wait(5)))
        waiting = group.create_task(store.recent("tea", 10))
        await asyncio.sleep(0)
        # Were either call to block the loop, nobody would get here before the five seconds end.
        released.set()
        assert await busy
        assert await waiting == ()


async def test_an_exchange_is_one_small_commit(tmp_path: Path) -> None:
    """Question and answer are two rows in one transaction, however long the conversation is."""
    statements: list[str] = []
    async with app.open_app(load(tmp_path)) as bot:
        store = bot.history._history
        assert isinstance(store, SQLiteHistory)
        for id_ in range(1, 41, 2):
            await bot.core(heard(id_), RecordingTarget(first_id=id_ + 1))
        await store._thread.read(
            lambda connection: connection.set_trace_callback(statements.append)
        )
        await bot.core(heard(41), RecordingTarget(first_id=42))
        await store._thread.read(lambda connection: connection.set_trace_callback(None))
        assert len(await bot.history.recent("tea", 100)) == 42
    verbs = [statement.split()[0].upper() for statement in statements]
    assert (verbs.count("COMMIT"), verbs.count("INSERT")) == (1, 2)
    assert {"UPDATE", "DELETE", "REPLACE"}.isdisjoint(verbs)


@pytest.mark.parametrize("history_messages", [1, 200, 10_000])
async def test_with_any_settings_the_cache_can_serve(tmp_path: Path, history_messages: int) -> None:
    """One knob never makes another useless: however much history is sent, a conversation in use
    is read from memory."""
    async with app.open_app(load(tmp_path, chat__history_messages=history_messages)) as bot:
        for id_ in (1, 3, 5):
            await bot.core(heard(id_), RecordingTarget(first_id=id_ + 1))
        stats = bot.get_cache_stats()["history"]
    assert (stats["hits"], stats["misses"]) == (2, 1)


# Measuring


async def test_a_server_that_is_not_there_is_an_error_that_counts(tmp_path: Path) -> None:
    """A request that never got a status is in the figures, as are those that another answered."""
    dead = {"kind": "openai", "base_url": NOBODY}
    more = {"providers__dead": dead, "failover__models": ["demo/script"]}
    async with app.open_app(load(tmp_path, **more)) as bot:
        assert (await ask(bot, stateless("dead/tiny"))).fell_back_from == "dead/tiny"
        stats = bot.get_performance_stats()
    tries = stats["dead"]["total_requests"]
    assert tries in (1, 2)  # the budget allows a lone request one retry
    assert stats["dead"]["errors"] == {"unavailable": tries}
    assert (stats["demo"]["total_requests"], stats["demo"]["errors"]) == (1, {})


# Asking another model


@pytest.mark.parametrize("kind", PATHS)
async def test_every_kind_of_provider_falls_over_to_every_kind(tmp_path: Path, kind: str) -> None:
    """A dead server of any kind is replaced by a living one of each kind, over the wire."""
    async with ModelServer() as server:
        for other in PATHS:
            more: dict[str, object] = {
                "providers__dead": {"kind": kind, "base_url": NOBODY},
                "providers__alive": {"kind": other, "base_url": server.url + ROOTS[other]},
                "failover__models": ["alive/tiny"],
            }
            for name, its_kind in (("dead", kind), ("alive", other)):
                if its_kind != "ollama":
                    more[f"providers__{name}__api_key"] = "sk-test"
            async with app.open_app(load(tmp_path, **more)) as bot:
                end = await ask(bot, stateless("dead/tiny"))
            assert (end.provider, end.fell_back_from) == ("alive", "dead/tiny")
            assert end.finish_reason == "stop"


async def test_a_colon_in_a_name_survives_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fallbacks from a variable reach their providers with their tags, in order."""
    model = use_script(monkeypatch, [Unavailable()], [Unavailable()], [Unavailable()], "Here.")
    environ = {"ACORE_FAILOVER__MODELS": "ollama/llama3.2:8b, demo/meta/llama:free"}
    overrides = {"data.directory": str(tmp_path), **DEMO, "chat.model": "demo/tiny:1b"}
    settings = config.load(None, overrides, environ=environ)
    async with app.open_app(settings) as bot:
        await bot.core(heard(1), target := RecordingTarget(first_id=2))
    names = [request.model for request in model.requests]
    assert list(dict.fromkeys(names)) == ["tiny:1b", "llama3.2:8b", "meta/llama:free"]
    assert "answered by" in target.visible[2]


# Waiting in line


@pytest.mark.parametrize("kind", ["embedded", *PATHS])
async def test_every_kind_of_provider_has_the_line_that_is_set(tmp_path: Path, kind: str) -> None:
    """No provider is without a line, and its length is the owner's choice."""
    table: dict[str, object] = {"kind": kind}
    table["slots" if kind == "embedded" else "max_streams"] = 3
    if kind == "openai":
        table["base_url"] = NOBODY
    if kind in ("openai", "openrouter"):
        table["api_key"] = "sk-test"
    settings = load(tmp_path, providers__mine=table, queue__max_waiting=7)
    provider = open_limited_provider(settings, "mine")
    assert isinstance(provider, LimitedModel)
    assert (provider._options.max_streams, provider._options.max_waiting) == (3, 7)
    await provider.aclose()


async def test_of_eighty_people_each_gets_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At eight places and a line of 32, forty are answered and forty told at once that it is busy;
    nobody is left to wonder."""
    gate = asyncio.Event()
    model = use_script(monkeypatch, ["Hello ", gate, "there."])
    targets = [RecordingTarget(first_id=10 * n + 5) for n in range(80)]
    async with app.open_app(load(tmp_path)) as bot:
        turns = {
            asyncio.create_task(
                bot.core(
                    heard(10 * n + 1, f"{n}?", author=Author(str(n), "A"), conversation=f"tea {n}"),
                    target,
                )
            )
            for n, target in enumerate(targets)
        }
        under_way = turns
        while len(under_way) > 40:
            _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        told = [target.texts[-1] for target in targets if "busy" in "".join(target.texts)]
        gate.set()
        await asyncio.gather(*turns)
    assert len(told) == 40
    assert [target.texts[-1] for target in targets].count("Hello there.") == 40
    assert model.max_open_streams == 8


@pytest.mark.parametrize(
    "kind",
    [
        *(LimitedModel, CachedResponses, DeduplicatedModel, RequestDeduplicator),
        *(Failover, PerformanceLog, TurnTaker),
    ],
)
def test_durations_are_measured_by_a_clock_that_is_never_set(kind: type) -> None:
    """Unless told otherwise, whatever waits, forgets or measures goes by the monotonic clock."""
    (default,) = [
        parameter.default
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.name == "clock"
    ]
    assert default.__name__ == "monotonic"
