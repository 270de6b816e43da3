"""Sessions, requests and time limits, as both HTTP providers use them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from msgspec import structs
from tests.fakes.model_server import (
    CHAT,
    DONE,
    LAST_CHUNK,
    Ending,
    ModelServer,
    chunk,
    chunked,
    completion_events,
    finish,
    piece,
    reply,
    stream_head,
)

from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    BrokenStream,
    CloudForbidden,
    ConfigurationError,
    ModelError,
    TimedOut,
    Unavailable,
)
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, StreamLimits
from acore_bot.providers.answer import AnswerStream
from acore_bot.providers.http import LOCAL_LIMITS, HttpClient, is_loopback
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.providers.openrouter import OpenRouter

REQUEST = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)
SSE = stream_head("text/event-stream")
HELLO = chunk(piece(content="Hello"))
AGAIN = piece(content=" again")

Make = Callable[..., OpenAICompatible]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def make(server: ModelServer) -> AsyncIterator[Make]:
    """Make providers that talk to the server, and close them."""
    made: list[OpenAICompatible] = []

    def build(*, local: bool | None = None, **limits: float) -> OpenAICompatible:
        told = StreamLimits(**limits) if limits else None  # type: ignore[arg-type]
        made.append(
            OpenAICompatible(name="openai", base_url=server.url + "/v1", local=local, limits=told)
        )
        return made[-1]

    yield build
    for provider in made:
        await provider.aclose()


async def collect(provider: OpenAICompatible, request: ChatRequest = REQUEST) -> list[Delta | End]:
    """Return all pieces of one answer."""
    async with provider.stream(request) as pieces:
        return [one async for one in pieces]


async def until(has_happened: Callable[[], bool]) -> None:
    """Let the loop turn until it has: aiohttp tells nobody what it has heard meanwhile."""
    while not has_happened():  # noqa: ASYNC110 -- there is no event to wait for
        await asyncio.sleep(0)


def reason(pieces: list[Delta | End]) -> str:
    """Return how an answer ended."""
    assert isinstance(pieces[-1], End)
    return pieces[-1].finish_reason


@pytest.mark.parametrize(
    ("steps", "limits", "detail"),
    [
        ((), {"first_byte_seconds": 0.05}, "TimeoutError"),
        ((SSE,), {"first_byte_seconds": 0.05}, "the first byte took too long"),
        ((SSE, HELLO), {"gap_seconds": 0.05}, "no byte came for too long"),
        ((SSE, HELLO), {"progress_seconds": 0.05}, "no text came for too long"),
        ((SSE, HELLO), {"total_seconds": 0.05}, "the whole answer took too long"),
    ],
)
async def test_silence_ends_by_its_limit(
    server: ModelServer,
    make: Make,
    steps: tuple[bytes, ...],
    limits: dict[str, float],
    detail: str,
) -> None:
    """A server that falls silent is given up at the limit for that silence, and left."""
    server.play(CHAT, *steps, asyncio.Event())
    with pytest.raises(TimedOut) as caught:
        await collect(make(**limits))
    assert caught.value.detail == detail
    assert (caught.value.provider, caught.value.model) == ("openai", "tiny")
    await server.until_idle()


@pytest.mark.parametrize(
    ("steps", "detail"),
    [((), "TimeoutError"), ((SSE, HELLO), "the whole answer took too long")],
)
async def test_the_request_s_own_deadline_is_kept(
    server: ModelServer, make: Make, steps: tuple[bytes, ...], detail: str
) -> None:
    """Whatever the limits allow, nothing goes on after the moment that the request names."""
    server.play(CHAT, *steps, asyncio.Event())
    deadline = asyncio.get_running_loop().time() + 0.05
    with pytest.raises(TimedOut) as caught:
        await collect(make(), structs.replace(REQUEST, deadline=deadline))
    assert caught.value.detail == detail
    await server.until_idle()


async def test_what_came_before_the_silence_is_kept(server: ModelServer, make: Make) -> None:
    """The text that came is handed out before the time limit raises."""
    server.play(CHAT, SSE, HELLO, asyncio.Event())
    async with make(gap_seconds=0.05).stream(REQUEST) as pieces:
        assert await anext(pieces) == Delta("Hello")
        with pytest.raises(TimedOut):
            await anext(pieces)
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_busy_consumer_is_no_silent_server(server: ModelServer, make: Make) -> None:
    """Time that the consumer spends elsewhere counts for no gap and is never interrupted."""
    back = asyncio.Event()
    server.play(CHAT, SSE, HELLO, back, chunked(completion_events([" again"])))
    async with make(gap_seconds=0.1, progress_seconds=0.1).stream(REQUEST) as pieces:
        said = [await anext(pieces)]
        await asyncio.sleep(0.25)
        back.set()
        said += [one async for one in pieces]
    assert said[:2] == [Delta("Hello"), Delta(" again")]
    assert reason(said) == "stop"


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("is_whole", [False, True])
async def test_what_came_while_the_consumer_was_away_is_kept(
    server: ModelServer, make: Make, ending: Ending, is_whole: bool
) -> None:
    """A connection that breaks off behind the consumer's back takes away nothing that had come."""
    go, lose = asyncio.Event(), asyncio.Event()
    more = completion_events([" again"]) if is_whole else [AGAIN]
    server.play(CHAT, SSE, HELLO, go, *map(chunk, more), lose, ending)
    async with make().stream(REQUEST) as pieces:
        said = [await anext(pieces)]
        assert isinstance(pieces, AnswerStream)
        content = pieces._response.content
        total = content.total_bytes + len(b"".join(more))
        go.set()
        await until(lambda: content.total_bytes == total)
        lose.set()
        await until(lambda: content.exception() is not None)
        said += [one async for one in pieces]
    assert said[:2] == [Delta("Hello"), Delta(" again")]
    assert reason(said) == ("stop" if is_whole else "truncated")


async def test_any_byte_ends_a_gap(server: ModelServer, make: Make) -> None:
    """Comments reset the gap, as long as text comes in time."""
    comments = [step for _ in range(20) for step in (chunk(b":\n\n"), 0.01)]
    server.play(CHAT, SSE, *comments, chunked(completion_events(["Hello"])))
    assert reason(await collect(make(gap_seconds=0.1))) == "stop"


async def test_end_does_not_wait_for_ever_for_the_usage(server: ModelServer, make: Make) -> None:
    """After the finish reason a silent server costs a moment only, and the answer is complete."""
    server.play(CHAT, SSE, HELLO, chunk(finish("stop")), asyncio.Event())
    assert reason(await collect(make(linger_seconds=0.05))) == "stop"
    await server.until_idle()


async def test_total_limit_after_the_finish_reason_spoils_nothing(
    server: ModelServer, make: Make
) -> None:
    """Once the finish reason is there, no limit makes the answer an error."""
    server.play(CHAT, SSE, HELLO, chunk(finish("stop")), asyncio.Event())
    assert reason(await collect(make(total_seconds=0.05))) == "stop"


async def test_lost_after_the_finish_reason_is_complete(server: ModelServer, make: Make) -> None:
    """A connection that breaks after the finish reason breaks nothing."""
    sent = asyncio.Event()
    server.play(CHAT, SSE, HELLO, chunk(finish("length")), sent, "reset")
    async with make().stream(REQUEST) as pieces:
        assert await anext(pieces) == Delta("Hello")
        sent.set()
        assert reason([await anext(pieces)]) == "length"


async def test_usage_does_not_delay_the_text(server: ModelServer, make: Make) -> None:
    """Text is handed out while the server still thinks about the usage."""
    server.play(CHAT, SSE, HELLO, chunk(finish("stop")), asyncio.Event())
    async with make().stream(REQUEST) as pieces:
        assert await anext(pieces) == Delta("Hello")


async def test_local_connections_are_not_used_again(server: ModelServer, make: Make) -> None:
    """On loopback each request has its own connection, which is closed afterwards."""
    provider = make()
    await collect(provider)
    await collect(provider)
    assert server.connections == 2
    await server.until_idle()


@pytest.mark.parametrize("apart", [(), (0.01,)])
async def test_other_connections_are_kept(
    server: ModelServer, make: Make, apart: tuple[float, ...]
) -> None:
    """Elsewhere a complete answer leaves its connection for the next, however its end arrives."""
    provider = make(local=False)
    events = b"".join(map(chunk, completion_events(["Hello"])))
    for _ in range(2):
        server.play(CHAT, SSE + events, *apart, LAST_CHUNK, "keep")
        assert reason(await collect(provider)) == "stop"
    assert server.connections == 1


async def test_leaving_early_closes_a_kept_connection(server: ModelServer, make: Make) -> None:
    """An answer that is left half-way is not read to its end to save a connection."""
    server.play(CHAT, SSE, HELLO, asyncio.Event())
    async with make(local=False).stream(REQUEST) as pieces:
        await anext(pieces)
    await server.until_idle()
    assert server.left_early == 1


async def test_request_is_sent_again_if_a_reused_connection_breaks(
    server: ModelServer, make: Make
) -> None:
    """A kept connection that the server closes meanwhile costs nothing but a second try."""
    provider = make(local=False)
    await collect(provider)
    server.break_reused = 1
    assert reason(await collect(provider)) == "stop"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_request_on_a_fresh_connection_is_sent_once(server: ModelServer, make: Make) -> None:
    """A new connection that breaks before an answer may have been heard: it is not repeated."""
    server.play(CHAT, "close")
    with pytest.raises(Unavailable):
        await collect(make(local=False))
    assert len(server.asked) == 1


async def test_refused_connection_is_unavailable(make: Make, server: ModelServer) -> None:
    """A port that nobody listens on is told as what it is, with a remedy."""
    provider = OpenAICompatible(name="openai", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(Unavailable, match="openai/tiny cannot be reached") as caught:
        await collect(provider)
    assert caught.value.remedy
    await provider.aclose()


async def test_garbage_instead_of_http_is_a_broken_stream(server: ModelServer, make: Make) -> None:
    """A server that speaks no HTTP is told apart from one that is down."""
    server.play(CHAT, b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    with pytest.raises(BrokenStream):
        await collect(make())


async def test_redirect_is_not_followed(server: ModelServer, make: Make) -> None:
    """A redirect could carry the key elsewhere, so it is an error that names the setting."""
    server.play(CHAT, reply(302, b"", headers={"Location": server.url + "/v1/models"}))
    with pytest.raises(BadRequest, match="base_url"):
        await collect(make())
    assert len(server.asked) == 1


async def test_password_in_the_address_is_sent_and_never_shown(server: ModelServer) -> None:
    """A name and password in the address become a header, and appear in no error or repr."""
    address = f"http://bob:hunter2hunter2@127.0.0.1:{server.port}/v1"
    provider = OpenAICompatible(name="openai", base_url=address)
    server.play(CHAT, reply(401, b'{"error":{"message":"hunter2hunter2 is wrong"}}'))
    with pytest.raises(ModelError) as caught:
        await collect(provider)
    assert server.asked[0].headers["authorization"] == "Basic Ym9iOmh1bnRlcjJodW50ZXIy"
    assert "hunter2" not in f"{caught.value!r}{caught.value}{vars(caught.value)}{provider!r}"
    await provider.aclose()


@pytest.mark.parametrize("slash", ["", "/"])
async def test_query_of_the_address_is_sent_and_never_shown(
    server: ModelServer, slash: str
) -> None:
    """A query in the address goes with every request, and its values appear in no error."""
    query = "version=2&key=hunter2%2Bhunter2"
    address = f"http://127.0.0.1:{server.port}/v1{slash}?{query}"
    provider = OpenAICompatible(name="openai", base_url=address, local=True)
    refusal = reply(401, b'{"error":{"message":"hunter2+hunter2 is wrong"}}')
    for path in ("/v1/models", "/props", "/v1/chat/completions"):
        server.play(f"{path}?{query}", refusal)
    with suppress(ModelError):
        await provider.describe("tiny")
    with pytest.raises(AuthFailed) as caught:
        await collect(provider)
    asked = [one.path for one in server.asked]
    assert asked == [f"/v1/models?{query}", f"/v1/chat/completions?{query}"]
    assert "hunter2" not in f"{caught.value!r}{caught.value}{vars(caught.value)}{provider!r}"
    await provider.aclose()


@pytest.mark.parametrize("address", ["", "localhost:8080", "ftp://h", "http://", "http://h:port"])
def test_address_that_is_none_is_told_at_once(address: str) -> None:
    """A wrong base_url fails when the provider is made, not at the first question."""
    with pytest.raises(ConfigurationError, match="base_url"):
        HttpClient(provider="mine", base_url=address, headers={}, limits=None)


def test_local_servers_get_more_time() -> None:
    """A server on this machine may have to load its model before the first byte."""
    local = HttpClient(provider="p", base_url="http://[::1]:1", headers={}, limits=None)
    cloud = HttpClient(provider="p", base_url="https://api.example/v1", headers={}, limits=None)
    assert local.limits == LOCAL_LIMITS
    assert cloud.limits == StreamLimits()
    assert (local.local, cloud.local) == (True, False)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("my.localhost", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("192.168.1.2", False),
        ("example.com", False),
        ("localhost.example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_known_by_name_and_address(host: str | None, loopback: bool) -> None:
    """Only this machine counts as local by itself."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("kind", [OpenAICompatible, OpenRouter, Ollama])
async def test_what_is_local_only_is_refused_before_connecting(
    server: ModelServer, kind: type[OpenAICompatible | Ollama]
) -> None:
    """Whoever let the request pass: a provider that is not local opens no connection for it, to
    answer or to describe; one that is local by its owner's word does."""
    request = structs.replace(REQUEST, is_local_only=True)
    base_url = server.url + {OpenAICompatible: "/v1", OpenRouter: "/api/v1", Ollama: ""}[kind]
    cloud = kind(name="mine", base_url=base_url, local=False)
    with pytest.raises(CloudForbidden, match=r"^mine/tiny computes in a cloud") as caught:
        async with cloud.stream(request):
            pass
    assert caught.value.remedy
    with pytest.raises(CloudForbidden):
        await cloud.describe("tiny", local_only=True)
    assert server.connections == 0
    ours = kind(name="mine", base_url=base_url, local=True)
    assert (await ours.describe("tiny", local_only=True)).context_tokens
    async with ours.stream(request) as pieces:
        assert reason([one async for one in pieces]) == "stop"
    await cloud.aclose()
    await ours.aclose()


async def test_a_described_cloud_is_not_asked_either(server: ModelServer) -> None:
    """What is known already needs no connection, and the answer still does."""
    cloud = Ollama(name="mine", base_url=server.url, local=False)
    await cloud.describe("tiny")
    known = server.connections
    with pytest.raises(CloudForbidden):
        async with cloud.stream(structs.replace(REQUEST, is_local_only=True)):
            pass
    assert server.connections == known
    await cloud.aclose()


@pytest.mark.parametrize("name", ["localhost", "my.localhost"])
async def test_localhost_is_this_machine_whoever_says_otherwise(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its name is looked up nowhere, so that no hosts file and no server of names leads what is
    local elsewhere."""
    asked: list[object] = []

    def elsewhere(*args: object, **_: object) -> object:
        asked.append(args)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    provider = OpenAICompatible(name="mine", base_url=f"http://{name}:{server.port}/v1")
    assert reason(await collect(provider)) == "stop"
    assert asked == []
    await provider.aclose()


async def test_no_proxy_of_the_environment_is_used(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others on this machine set for their programs leads nothing of ours elsewhere."""
    async with ModelServer() as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        provider = OpenAICompatible(name="mine", base_url=server.url + "/v1")
        assert reason(await collect(provider)) == "stop"
        assert proxy.connections == 0
        await provider.aclose()


async def test_side_calls_are_bounded_in_size(server: ModelServer, make: Make) -> None:
    """A list of models without end is refused."""
    server.play_endlessly("/v1/models", stream_head("application/json"), chunk(b" " * 65_536))
    with pytest.raises(BrokenStream):
        await make().list_models()
    await server.until_idle()


async def test_done_without_a_finish_reason_is_truncated(server: ModelServer, make: Make) -> None:
    """Even `[DONE]` does not make an answer whole that never told why it ended."""
    server.play(CHAT, SSE + HELLO + chunk(DONE) + LAST_CHUNK)
    assert reason(await collect(make())) == "truncated"


async def test_closing_a_provider_ends_its_streams(server: ModelServer, make: Make) -> None:
    """A reader that waits while the provider is closed is woken, and told that no end came."""
    provider = make()
    server.play(CHAT, SSE, HELLO, asyncio.Event())
    waiting = asyncio.Event()
    said: list[Delta | End] = []

    async def read() -> None:
        async with provider.stream(REQUEST) as pieces:
            said.append(await anext(pieces))
            waiting.set()
            said.extend([one async for one in pieces])

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await waiting.wait()
        await provider.aclose()
    assert reason(said) == "truncated"
    await server.until_idle()
