"""Ollama's own protocol."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.fakes.model_server import (
    OLLAMA_CHAT,
    ModelServer,
    chat_lines,
    chunked,
    reply_json,
    stream_head,
    to_json,
)

from acore_bot.errors import (
    BrokenStream,
    ConfigurationError,
    ModelNotFound,
    Overloaded,
    TooLong,
    Unavailable,
)
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo, Usage
from acore_bot.providers.ollama import Ollama, normalise_host

REQUEST = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)
NDJSON = stream_head("application/x-ndjson")

Make = Callable[..., Ollama]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def make(server: ModelServer) -> AsyncIterator[Make]:
    """Make providers that talk to the server, and close them."""
    made: list[Ollama] = []

    def build(**settings: object) -> Ollama:
        made.append(Ollama(name="ollama", base_url=server.url, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for provider in made:
        await provider.aclose()


async def collect(provider: Ollama, request: ChatRequest = REQUEST) -> tuple[list[Delta], End]:
    """Return the deltas and the end of one answer."""
    async with provider.stream(request) as pieces:
        *deltas, end = [one async for one in pieces]
    assert isinstance(end, End)
    return [one for one in deltas if isinstance(one, Delta)], end


async def test_request_sets_window_and_limit(server: ModelServer, make: Make) -> None:
    """The window and the token limit are always set, and nothing is dropped in silence."""
    await collect(make())
    assert server.bodies(OLLAMA_CHAT) == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "truncate": False,
            "shift": False,
            "keep_alive": "5m",
            "options": {"num_ctx": 4096, "num_predict": 16},
        }
    ]


async def test_request_carries_what_was_asked(server: ModelServer, make: Make) -> None:
    """Options go along, but the request's own wishes and our window win."""
    provider = make(options={"top_k": 5, "temperature": 1.0, "num_ctx": 9}, keep_alive=-1)
    asked = ChatRequest(
        model="tiny", messages=REQUEST.messages, max_tokens=5, temperature=0.5, seed=3
    )
    await collect(provider, asked)
    body = server.bodies(OLLAMA_CHAT)[0]
    assert body["keep_alive"] == -1
    assert body["options"] == {
        "top_k": 5, "temperature": 0.5, "seed": 3, "num_ctx": 4096, "num_predict": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("configured", "parameters", "trained", "window"),
    [
        (2000, "num_ctx 1000", 4096, 2000),
        (None, 'stop "x"\nnum_ctx                        1000', 4096, 1000),
        (None, "", 4096, 4096),
        (None, "", 131_072, 8192),
    ],
)
async def test_window_is_one_per_model(
    server: ModelServer,
    make: Make,
    configured: int | None,
    parameters: str,
    trained: int,
    window: int,
) -> None:
    """Configured, else the model's own, else what it was trained for within reason, and kept."""
    server.parameters, server.context_tokens = parameters, trained
    provider = make(context_tokens=configured)
    await collect(provider)
    server.parameters, server.context_tokens = "num_ctx 1", 1
    await collect(provider)
    assert [body["options"]["num_ctx"] for body in server.bodies(OLLAMA_CHAT)] == [window] * 2


@pytest.mark.parametrize("think", [True, False, "high"])
async def test_think_goes_only_to_models_that_can(
    server: ModelServer, make: Make, think: object
) -> None:
    """A model that cannot think would refuse the field, whatever its value."""
    await collect(make(think=think))
    server.capabilities = ("completion", "thinking")
    await collect(make(think=think))
    await collect(make())
    sent = [body.get("think") for body in server.bodies(OLLAMA_CHAT)]
    assert sent == [None, think, None]


async def test_thinking_is_reasoning(server: ModelServer, make: Make) -> None:
    """The thinking field and inline tags both become reasoning."""
    lines = [
        to_json({"message": {"content": "", "thinking": "a"}, "done": False}) + b"\n",
        *chat_lines(["<think>b</think>", "Hello"]),
    ]
    server.play(OLLAMA_CHAT, NDJSON + chunked(lines))
    deltas, end = await collect(make())
    assert deltas == [Delta(reasoning="a"), Delta(reasoning="b"), Delta("Hello")]
    assert end.usage == Usage(prompt_tokens=7, completion_tokens=2)


@pytest.mark.parametrize(("told", "reason"), [("stop", "stop"), ("length", "length")])
async def test_done_reason_ends_the_answer(
    server: ModelServer, make: Make, told: str, reason: str
) -> None:
    """The last line says why it is the last."""
    server.play(OLLAMA_CHAT, NDJSON + chunked(chat_lines(["Hi"], reason=told)))
    _, end = await collect(make())
    assert end.finish_reason == reason
    assert (end.provider, end.model) == ("ollama", "tiny")


@pytest.mark.parametrize(("told", "reason"), [("stop", "tool_calls"), ("length", "length")])
async def test_tool_calls_end_as_such(
    server: ModelServer, make: Make, told: str, reason: str
) -> None:
    """An answer that asks for tools says so at its end, unless it was cut, which matters more."""
    call = {"function": {"name": "look", "arguments": {"at": "the clock"}}}
    line = {"message": {"content": "", "tool_calls": [call]}, "done": False}
    lines = [to_json(line) + b"\n", *chat_lines(["Hi"], reason=told)]
    server.play(OLLAMA_CHAT, NDJSON + chunked(lines))
    _, end = await collect(make())
    assert end.finish_reason == reason


async def test_counts_of_zero_are_left_out_by_the_server(server: ModelServer, make: Make) -> None:
    """A last line without counts means zero, and without a reason means stop."""
    server.play(OLLAMA_CHAT, NDJSON + chunked([b'{"model":"tiny","done":true}\n']))
    _, end = await collect(make())
    assert end.finish_reason == "stop"
    assert end.usage == Usage(prompt_tokens=0, completion_tokens=0)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("server busy, please try again.", Overloaded),
        ("the input exceeds the context length", TooLong),
        ("llama runner process has terminated", BrokenStream),
    ],
)
async def test_bare_error_line_is_an_error(
    server: ModelServer, make: Make, said: str, kind: type[Exception]
) -> None:
    """An error in the midst of a stream raises after the text before it, newline or not."""
    hello = chat_lines(["Hello"])[0]
    server.play(OLLAMA_CHAT, NDJSON + chunked([hello, to_json({"error": said})]))
    async with make().stream(REQUEST) as pieces:
        assert await anext(pieces) == Delta("Hello")
        with pytest.raises(kind):
            await anext(pieces)


async def test_refusals_before_the_stream(server: ModelServer, make: Make) -> None:
    """Statuses before the answer become their errors."""
    provider = make()
    server.play(OLLAMA_CHAT, reply_json({"error": "maximum pending"}, status=503))
    with pytest.raises(Overloaded):
        await collect(provider)
    unknown = ChatRequest(model="huge", messages=REQUEST.messages, max_tokens=5)
    with pytest.raises(ModelNotFound, match="ollama/huge"):
        await collect(provider, unknown)


async def test_describe_tells_our_window_then_the_one_in_force(
    server: ModelServer, make: Make
) -> None:
    """Before the first answer the window is what we shall set; after it, what the server runs."""
    provider = make()
    assert await provider.describe("tiny") == ModelInfo(
        context_tokens=4096, abilities=frozenset({"tools"})
    )
    await collect(provider)
    assert (await provider.describe("tiny")).context_tokens == 2048
    server.loaded_context_tokens = 100_000
    assert (await provider.describe("tiny")).context_tokens == 2048


async def test_describe_asks_again_after_five_minutes(server: ModelServer, make: Make) -> None:
    """What is in force is looked up once in five minutes; a larger window is not believed."""
    seconds = [0.0]
    provider = make(clock=lambda: seconds[0])
    await collect(provider)
    await provider.describe("tiny")
    server.loaded_context_tokens = 100_000
    seconds[0] = 300.0
    assert (await provider.describe("tiny")).context_tokens == 4096


async def test_model_without_a_tag_is_the_latest(server: ModelServer, make: Make) -> None:
    """Ollama lists `tiny` as `tiny:latest`, which is the same model."""
    provider = make()
    await collect(provider)
    running = [{"name": "tiny:latest", "model": "tiny:latest", "context_length": 512}]
    server.play("/api/ps", reply_json({"models": running}))
    assert (await provider.describe("tiny")).context_tokens == 512


async def test_describe_of_an_unknown_model_raises(make: Make) -> None:
    """A model that was not pulled is told as such."""
    with pytest.raises(ModelNotFound):
        await make().describe("huge")


async def test_lists_may_be_null(server: ModelServer, make: Make) -> None:
    """The server writes null for an empty list, and that is no error."""
    server.play("/api/tags", reply_json({"models": None}))
    server.play("/api/show", reply_json({"capabilities": None, "model_info": None}))
    provider = make()
    assert await provider.list_models() == ()
    assert await provider.describe("tiny") == ModelInfo(context_tokens=8192)


async def test_unreachable_server_is_told(make: Make) -> None:
    """A server that does not run is unavailable to every question."""
    provider = Ollama(name="ollama", base_url="127.0.0.1:1")
    for question in (provider.list_models(), provider.describe("tiny"), collect(provider)):
        with pytest.raises(Unavailable):
            await question
    await provider.aclose()


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("host", "http://host:11434"),
        ("host:1234", "http://host:1234"),
        (":1234", "http://127.0.0.1:1234"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("[::]:11434", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:5", "http://[::1]:5"),
        ("http://host", "http://host"),
        ("https://host/ollama/", "https://host/ollama"),
        ("https://host/ollama/?key=a%20b", "https://host/ollama?key=a%20b"),
        ("http://bob:pw@0.0.0.0:1", "http://bob:pw@127.0.0.1:1"),
        ("  host \n", "http://host:11434"),
    ],
)
def test_host_is_read_as_ollama_reads_it(told: str, address: str) -> None:
    """What people set for the server to listen on is also what we dial."""
    assert normalise_host(told) == address


@pytest.mark.parametrize("told", ["host:port", "host:99999", "bob:secret@host:x", "[::1"])
def test_host_that_is_none_is_told_without_its_password(told: str) -> None:
    """A wrong address is a fault of the settings, and is not repeated."""
    with pytest.raises(ConfigurationError, match="Ollama") as caught:
        normalise_host(told)
    assert "secret" not in str(caught.value)
