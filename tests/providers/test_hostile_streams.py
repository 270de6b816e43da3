"""R15: whatever a server sends, and however long, the answer ends by a limit."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.fakes.model_server import (
    CHAT,
    DONE,
    OLLAMA_CHAT,
    ModelServer,
    chunk,
    event,
    finish,
    piece,
    stream_head,
)

from acore_bot.contracts import Provider
from acore_bot.errors import BrokenStream, ModelError, TimedOut
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, StreamLimits
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible

LIMITS = StreamLimits(max_characters=10_000)
HASTY = StreamLimits(progress_seconds=0.1)
SSE = stream_head("text/event-stream")
NDJSON = stream_head("application/x-ndjson")
MAX_GROWTH_BYTES = 20 * 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def openai(server: ModelServer) -> AsyncIterator[OpenAICompatible]:
    """Make a provider with small limits."""
    provider = OpenAICompatible(name="openai", base_url=server.url + "/v1", limits=LIMITS)
    yield provider
    await provider.aclose()


@pytest.fixture
async def ollama(server: ModelServer) -> AsyncIterator[Ollama]:
    """Make a provider with small limits."""
    provider = Ollama(name="ollama", base_url=server.url, limits=LIMITS)
    yield provider
    await provider.aclose()


@pytest.fixture
async def hasty_openai(server: ModelServer) -> AsyncIterator[OpenAICompatible]:
    """Make a provider that does not wait long for text."""
    provider = OpenAICompatible(name="openai", base_url=server.url + "/v1", limits=HASTY)
    yield provider
    await provider.aclose()


@pytest.fixture
async def hasty_ollama(server: ModelServer) -> AsyncIterator[Ollama]:
    """Make a provider that does not wait long for text."""
    provider = Ollama(name="ollama", base_url=server.url, limits=HASTY)
    yield provider
    await provider.aclose()


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Fail the test if it took too much memory at any moment."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_GROWTH_BYTES


async def outcome(provider: Provider) -> tuple[str, End | ModelError]:
    """Return the text that came and how it ended, with nothing left open."""
    request = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)
    text = ""
    try:
        async with provider.stream(request) as pieces:
            async for one in pieces:
                if isinstance(one, End):
                    return text, one
                assert isinstance(one, Delta)
                text += one.text
    except ModelError as error:
        return text, error
    pytest.fail("the stream ended without a word")


async def test_r15_comments_only(server: ModelServer, hasty_openai: OpenAICompatible) -> None:
    """Comments keep the connection alive, but an answer without text times out."""
    server.play_endlessly(CHAT, SSE, chunk(b": OPENROUTER PROCESSING\n\n"), 0.005)
    _, error = await outcome(hasty_openai)
    assert isinstance(error, TimedOut)
    assert error.detail == "no text came for too long"
    await server.until_idle()


async def test_r15_dripping_bytes(server: ModelServer, hasty_openai: OpenAICompatible) -> None:
    """Single bytes of an event that never ends are no progress."""
    server.play_endlessly(CHAT, SSE + chunk(b"data: "), chunk(b"x"), 0.005)
    _, error = await outcome(hasty_openai)
    assert isinstance(error, TimedOut)
    await server.until_idle()


async def test_r15_dripping_lines(server: ModelServer, hasty_ollama: Ollama) -> None:
    """Single bytes of a line that never ends are no progress with Ollama either."""
    server.play_endlessly(OLLAMA_CHAT, NDJSON, chunk(b"x"), 0.005)
    _, error = await outcome(hasty_ollama)
    assert isinstance(error, TimedOut)
    await server.until_idle()


async def test_r15_huge_event(server: ModelServer, openai: OpenAICompatible) -> None:
    """Ten megabytes in one event are refused after the first."""
    block = chunk(b"x" * 65_536)
    server.play(CHAT, SSE + chunk(b"data: "), *[block] * 160)
    _, error = await outcome(openai)
    assert isinstance(error, BrokenStream)
    await server.until_idle()


async def test_r15_huge_line(server: ModelServer, ollama: Ollama) -> None:
    """Ten megabytes in one line are refused after the first."""
    server.play(OLLAMA_CHAT, NDJSON, *[chunk(b"x" * 65_536)] * 160)
    _, error = await outcome(ollama)
    assert isinstance(error, BrokenStream)
    await server.until_idle()


async def test_r15_huge_body(server: ModelServer, openai: OpenAICompatible) -> None:
    """A plain body is bounded as well."""
    head = stream_head("application/json")
    server.play_endlessly(CHAT, head, chunk(b" " * 65_536))
    _, error = await outcome(openai)
    assert isinstance(error, BrokenStream)
    await server.until_idle()


async def test_r15_endless_text(server: ModelServer, openai: OpenAICompatible) -> None:
    """A text without end ends as `length`, and the server is left."""
    server.play_endlessly(CHAT, SSE, chunk(piece(content="word " * 10)))
    text, end = await outcome(openai)
    assert isinstance(end, End)
    assert end.finish_reason == "length"
    assert len(text) > LIMITS.max_characters
    await server.until_idle()


async def test_r15_endless_thinking(server: ModelServer, ollama: Ollama) -> None:
    """Thinking without end ends as `length`, too."""
    line = b'{"message":{"role":"assistant","content":"","thinking":"hm, well "}}\n'
    server.play_endlessly(OLLAMA_CHAT, NDJSON, chunk(line))
    _, end = await outcome(ollama)
    assert isinstance(end, End)
    assert end.finish_reason == "length"
    await server.until_idle()


async def test_r15_endless_blanks(server: ModelServer, openai: OpenAICompatible) -> None:
    """Blanks that might precede a tag are counted although they are held back."""
    server.play_endlessly(CHAT, SSE, chunk(piece(content=" " * 100)))
    _, end = await outcome(openai)
    assert isinstance(end, End)
    assert end.finish_reason == "length"


async def test_r15_tool_pieces(server: ModelServer, openai: OpenAICompatible) -> None:
    """Ten thousand pieces of tool calls are dropped, counted, and end as `length`."""
    call = {"index": 0, "function": {"arguments": "{"}}
    server.play(CHAT, SSE, *[chunk(piece(tool_calls=[call]))] * 10_000)
    text, end = await outcome(openai)
    assert (text, isinstance(end, End) and end.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "bad",
    [b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n', b"data: {nonsense}\n\n"],
)
async def test_r15_bad_bytes(server: ModelServer, openai: OpenAICompatible, bad: bytes) -> None:
    """Bytes that are no UTF-8 or no JSON break the stream, after what came before them."""
    server.play(CHAT, SSE + chunk(piece(content="Hello") + bad))
    text, error = await outcome(openai)
    assert text == "Hello"
    assert isinstance(error, BrokenStream)
    assert (error.provider, error.model) == ("openai", "tiny")


@pytest.mark.parametrize("bad", [b'{"message":{"content":"\xff"}}\n', b"nonsense\n", b"[" * 9999])
async def test_r15_bad_lines(server: ModelServer, ollama: Ollama, bad: bytes) -> None:
    """Bytes that are no UTF-8 or no JSON break Ollama's stream, too."""
    server.play(OLLAMA_CHAT, NDJSON + chunk(bad + b"\n"))
    _, error = await outcome(ollama)
    assert isinstance(error, BrokenStream)


async def test_r15_no_choices(server: ModelServer, openai: OpenAICompatible) -> None:
    """Choices that are null, empty or absent are passed over."""
    odd = event({"choices": None}) + event({"choices": []}) + event({})
    more = piece(content=None) + piece(content="") + piece(role="assistant")
    server.play(CHAT, SSE + chunk(odd + more + piece(content="Hello") + finish("stop") + DONE))
    text, end = await outcome(openai)
    assert text == "Hello"
    assert isinstance(end, End)
    assert end.finish_reason == "stop"


async def test_r15_endless_null_choices(
    server: ModelServer, hasty_openai: OpenAICompatible
) -> None:
    """Chunks that say nothing for ever are no progress."""
    server.play_endlessly(CHAT, SSE, chunk(event({"choices": None})), 0.005)
    _, error = await outcome(hasty_openai)
    assert isinstance(error, TimedOut)
