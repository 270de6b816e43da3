"""The promise of a provider, kept by every one of them.

To put another provider under it, write an async context manager that yields a `Subject`, and add
it to `SUBJECTS`. One that cannot be told what to say leaves `script` None and stays out of
`SCRIPTABLE`: the tests that need a certain answer are then not run for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import pytest
from msgspec import Struct
from tests.fakes.model_server import (
    CHAT,
    LAST_CHUNK,
    OLLAMA_CHAT,
    OPENROUTER_CHAT,
    ModelServer,
    chat_lines,
    chunk,
    completion_events,
    reply_json,
    stream_head,
)

from acore_bot.contracts import ChatModel, Provider
from acore_bot.errors import ModelError, Overloaded
from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo, Piece, Waiting
from acore_bot.providers.llama_cpp import MODEL_NAME, Embedded
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.providers.openrouter import OpenRouter
from acore_bot.providers.scripted import CUT, Scripted

WORDS = ("One", " two", " three")


class Script(Protocol):
    """What a scriptable provider can be made to do in its next answer."""

    def hold(self, words: tuple[str, ...]) -> None:
        """Say words, then nothing more, and do not end."""

    def cut(self, words: tuple[str, ...]) -> None:
        """Say words, then break off without a finish reason."""

    def refuse(self) -> None:
        """Be overloaded."""


@dataclass(frozen=True)
class Subject:
    """A provider under test. `until_idle` returns when nothing is under way upstream."""

    provider: Provider
    model: str
    until_idle: Callable[[], Awaitable[None]]
    script: Script | None = None


@dataclass(frozen=True)
class ServerScript:
    """Makes the fake server misbehave."""

    server: ModelServer
    path: str
    head: bytes
    parts: Callable[[tuple[str, ...]], list[bytes]]  # of a whole answer, the last two its end

    def hold(self, words: tuple[str, ...]) -> None:
        """Say words, then nothing more, and do not end."""
        self.server.play(self.path, self._beginning(words), asyncio.Event())

    def cut(self, words: tuple[str, ...]) -> None:
        """Say words, then end the body well, but without a finish reason."""
        self.server.play(self.path, self._beginning(words) + LAST_CHUNK)

    def refuse(self) -> None:
        """Be overloaded."""
        self.server.play(self.path, reply_json({"error": "server busy"}, status=503))

    def _beginning(self, words: tuple[str, ...]) -> bytes:
        return self.head + b"".join(map(chunk, self.parts(words)))


@dataclass(frozen=True)
class AnswersScript:
    """Rewrites the next answer of `Scripted`."""

    provider: Scripted

    def hold(self, words: tuple[str, ...]) -> None:
        """Say words, then nothing more, and do not end."""
        self.provider._answers.clear()
        self.provider._answers.append([*words, asyncio.Event()])

    def cut(self, words: tuple[str, ...]) -> None:
        """Say words, then break off without a finish reason."""
        self.provider._answers.clear()
        self.provider._answers.append([*words, CUT])

    def refuse(self) -> None:
        """Be overloaded."""
        self.provider._answers.clear()
        self.provider._answers.append([Overloaded(provider="scripted", model="tiny")])


def _event_parts(words: tuple[str, ...]) -> list[bytes]:
    return completion_events(words, usage=False)[:-2]


def _line_parts(words: tuple[str, ...]) -> list[bytes]:
    return chat_lines(words)[:-1]


@asynccontextmanager
async def _over_http(
    make: Callable[[str], Provider],
    path: str,
    content_type: str,
    parts: Callable[[tuple[str, ...]], list[bytes]],
) -> AsyncIterator[Subject]:
    async with ModelServer() as server:
        provider = make(server.url)
        script = ServerScript(server, path, stream_head(content_type), parts)
        yield Subject(provider, server.model, server.until_idle, script)
        await provider.aclose()


def ollama() -> AbstractAsyncContextManager[Subject]:
    """Ollama against the fake server."""
    return _over_http(
        lambda url: Ollama(name="ollama", base_url=url),
        OLLAMA_CHAT,
        "application/x-ndjson",
        _line_parts,
    )


def openai_compatible() -> AbstractAsyncContextManager[Subject]:
    """Any OpenAI-compatible server, as the fake server is one."""
    return _over_http(
        lambda url: OpenAICompatible(name="openai", base_url=url + "/v1"),
        CHAT,
        "text/event-stream",
        _event_parts,
    )


def openrouter() -> AbstractAsyncContextManager[Subject]:
    """OpenRouter's protocol against the fake server."""
    return _over_http(
        lambda url: OpenRouter(base_url=url + "/api/v1"),
        OPENROUTER_CHAT,
        "text/event-stream",
        _event_parts,
    )


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    """The provider that says what it is told."""
    provider = Scripted(answers=["One two three"])

    async def until_idle() -> None:
        assert provider.open_streams == 0

    yield Subject(provider, "tiny", until_idle, AnswersScript(provider))


class Coated(Scripted):
    """A provider that is asked through a coat."""

    def __init__(self, coat: ChatModel) -> None:
        super().__init__()
        self._coat = coat

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Stream through the coat."""
        async with self._coat.stream(request) as pieces:
            yield pieces

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask through the coat."""
        return await self._coat.describe(model, local_only=local_only)


@asynccontextmanager
async def _coated(put_on: Callable[[ChatModel], ChatModel]) -> AsyncIterator[Subject]:
    async with scripted() as bare:
        yield replace(bare, provider=Coated(put_on(bare.provider)))


def deduplicated() -> AbstractAsyncContextManager[Subject]:
    """A coat under which equal requests share a stream."""
    return _coated(DeduplicatedModel)


def cached_responses() -> AbstractAsyncContextManager[Subject]:
    """A coat that replays what was answered before."""
    return _coated(CachedResponses)


@asynccontextmanager
async def limited() -> AsyncIterator[Subject]:
    """A coat under which one stream at a time is open, and the others wait."""
    async with scripted() as bare:
        options = LimitOptions(max_streams=1)
        yield replace(bare, provider=LimitedModel(bare.provider, options, name="scripted"))


def failover() -> AbstractAsyncContextManager[Subject]:
    """A coat that asks another model where one fails, here with no other to ask."""
    return _coated(
        lambda model: Failover(model, FailoverOptions(), sleep=lambda _: asyncio.sleep(0))
    )


class Slot(Struct):
    """What llama.cpp's `/slots` tells of one of them."""

    is_processing: bool


@asynccontextmanager
async def embedded() -> AsyncIterator[Subject]:
    """The real llama.cpp, which cannot be told what to say."""
    provider = Embedded(context_tokens=512, cache_ram_mib=0, threads=1)

    async def until_idle() -> None:
        assert provider._child is not None
        client = provider._child.client._client
        url, border = client.base.parent / "slots", client.border("")
        busy = True
        while busy:  # each look is a round trip, and the test has a time limit
            slots = await client.fetch(url, list[Slot], border, local_only=True)
            busy = any(slot.is_processing for slot in slots)

    yield Subject(provider, MODEL_NAME, until_idle)
    await provider.aclose()


SUBJECTS: dict[str, Callable[[], AbstractAsyncContextManager[Subject]]] = {
    "ollama": ollama,
    "openai_compatible": openai_compatible,
    "openrouter": openrouter,
    "scripted": scripted,
    "deduplicated": deduplicated,
    "cached_responses": cached_responses,
    "limited": limited,
    "failover": failover,
    "embedded": embedded,
}
SCRIPTABLE = (
    "ollama",
    "openai_compatible",
    "openrouter",
    "scripted",
    "deduplicated",
    "cached_responses",
    "limited",
    "failover",
)


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.embedded) if name == "embedded" else name
        for name in SUBJECTS
    ]
)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Make each provider in turn."""
    async with SUBJECTS[request.param]() as made:
        yield made


@pytest.fixture(params=SCRIPTABLE)
async def scriptable(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Subject, Script]]:
    """Make each provider that can be told what to say."""
    async with SUBJECTS[request.param]() as made:
        assert made.script is not None
        yield made, made.script


def ask(subject: Subject, text: str = "Count to three.") -> ChatRequest:
    """Return a small request for the model under test."""
    return ChatRequest(model=subject.model, messages=(ChatMessage("user", text),), max_tokens=16)


async def collect(subject: Subject) -> list[Delta | End]:
    """Return all pieces of one answer."""
    async with subject.provider.stream(ask(subject)) as pieces:
        return [piece async for piece in pieces if not isinstance(piece, Waiting)]


async def test_answer_is_deltas_then_one_end(subject: Subject) -> None:
    """A stream is deltas with something in them, then exactly one end, which is the last piece."""
    *deltas, end = await collect(subject)
    assert isinstance(end, End)
    assert all(isinstance(delta, Delta) and (delta.text or delta.reasoning) for delta in deltas)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)).strip()


async def test_end_says_how_and_by_whom(subject: Subject) -> None:
    """The end tells a finish reason, the usage, and who answered."""
    end = (await collect(subject))[-1]
    assert isinstance(end, End)
    assert end.finish_reason in ("stop", "length")
    assert end.usage is not None
    assert end.usage.prompt_tokens > 0
    assert end.usage.completion_tokens > 0
    assert end.provider
    assert end.model


async def test_nothing_follows_the_end(subject: Subject) -> None:
    """Asking on after the end says so again."""
    async with subject.provider.stream(ask(subject)) as pieces:
        async for _ in pieces:
            pass
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_leaving_early_stops_the_work(subject: Subject) -> None:
    """Leaving after the first piece stops the work upstream, and the next answer is whole."""
    async with subject.provider.stream(ask(subject)) as pieces:
        await anext(pieces)
    await subject.until_idle()
    assert isinstance((await collect(subject))[-1], End)


async def test_two_streams_at_once_do_not_mix(subject: Subject) -> None:
    """Two answers at once are both whole."""
    one, other = await asyncio.gather(collect(subject), collect(subject))
    assert isinstance(one[-1], End)
    assert isinstance(other[-1], End)


async def test_describe_tells_a_context(subject: Subject) -> None:
    """The model's context is known."""
    info = await subject.provider.describe(subject.model)
    assert info.context_tokens is not None
    assert info.context_tokens > 0


async def test_list_models_names_some(subject: Subject) -> None:
    """At least one model can be asked."""
    assert await subject.provider.list_models()


async def test_aclose_may_come_twice(subject: Subject) -> None:
    """Closing a second time does nothing."""
    await collect(subject)
    await subject.provider.aclose()
    await subject.provider.aclose()


async def test_text_arrives_before_the_answer_is_whole(
    scriptable: tuple[Subject, Script],
) -> None:
    """Deltas are handed out while the answer is still under way."""
    subject, script = scriptable
    script.hold(WORDS)
    async with subject.provider.stream(ask(subject)) as pieces:
        first = [await anext(pieces) for _ in WORDS]
    assert first == [Delta(word) for word in WORDS]
    await subject.until_idle()


async def test_cancelling_a_waiting_reader_leaves_nothing_open(
    scriptable: tuple[Subject, Script],
) -> None:
    """Cancelling the task that waits for the next piece stops the work upstream."""
    subject, script = scriptable
    script.hold(WORDS)
    waiting = asyncio.Event()

    async def read() -> None:
        async with subject.provider.stream(ask(subject)) as pieces:
            for _ in WORDS:
                await anext(pieces)
            waiting.set()
            await anext(pieces)

    reader = asyncio.create_task(read())
    await waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await subject.until_idle()


async def test_stream_without_finish_reason_is_truncated(
    scriptable: tuple[Subject, Script],
) -> None:
    """An answer that ends without saying why is truncated, with all that was said."""
    subject, script = scriptable
    script.cut(WORDS)
    *deltas, end = await collect(subject)
    assert isinstance(end, End)
    assert end.finish_reason == "truncated"
    assert deltas == [Delta(word) for word in WORDS]


async def test_errors_say_who_failed(scriptable: tuple[Subject, Script]) -> None:
    """A refusal is a `ModelError` of its class that names the provider and the model."""
    subject, script = scriptable
    script.refuse()
    with pytest.raises(ModelError) as caught:
        await collect(subject)
    assert isinstance(caught.value, Overloaded)
    assert caught.value.provider
    assert caught.value.model == subject.model


MEASURED = ("ollama", "openai_compatible", "openrouter", "scripted")  # a coat keeps no figures
EMBEDDED = pytest.param("embedded", marks=pytest.mark.embedded)


@pytest.mark.parametrize("subject", [*MEASURED, EMBEDDED], indirect=True)
async def test_answers_are_measured(subject: Subject) -> None:
    """An answer counts, with its times and the tokens that its end told, until the reset."""
    *_, end = await collect(subject)
    assert isinstance(end, End)
    assert end.usage is not None
    stats = subject.provider.get_performance_stats()
    assert (stats["total_requests"], stats["errors"], stats["cancelled_requests"]) == (1, {}, 0)
    assert stats["total_tokens_generated"] == end.usage.completion_tokens
    assert stats["model"] == subject.model
    first, whole = stats["first_delta_seconds"]["p50"], stats["response_time_seconds"]["p50"]
    assert first is not None
    assert whole is not None
    assert 0 < first <= whole == stats["last_response_time_seconds"] <= stats["uptime_seconds"]
    assert stats["last_tps"] == pytest.approx(end.usage.completion_tokens / whole)
    subject.provider.reset_metrics()
    assert subject.provider.get_performance_stats()["total_requests"] == 0


@pytest.mark.parametrize("scriptable", MEASURED, indirect=True)
async def test_first_delta_is_measured_when_it_comes(
    scriptable: tuple[Subject, Script],
) -> None:
    """An answer that is left after its first words tells how soon they came, and is no error."""
    subject, script = scriptable
    script.hold(WORDS)
    async with subject.provider.stream(ask(subject)) as pieces:
        await anext(pieces)
    stats = subject.provider.get_performance_stats()
    assert stats["first_delta_seconds"]["p50"] is not None
    assert stats["response_time_seconds"]["p50"] is None
    assert (stats["total_requests"], stats["errors"], stats["cancelled_requests"]) == (1, {}, 1)


@pytest.mark.parametrize("scriptable", MEASURED, indirect=True)
async def test_failures_are_counted_by_kind(scriptable: tuple[Subject, Script]) -> None:
    """A refusal and an answer that breaks off count as errors, each as its own."""
    subject, script = scriptable
    script.refuse()
    with pytest.raises(Overloaded):
        await collect(subject)
    script.cut(WORDS)
    await collect(subject)
    stats = subject.provider.get_performance_stats()
    assert stats["errors"] == {"overloaded": 1, "truncated": 1}
    assert (stats["total_requests"], stats["cancelled_requests"]) == (2, 0)
