"""OpenAI's protocol, in all the shapes that servers give it."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from tests.fakes.model_server import (
    CHAT,
    DONE,
    ModelServer,
    chunked,
    completion,
    completion_events,
    event,
    finish,
    openai_error,
    piece,
    reply,
    reply_json,
    stream_head,
)

from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    BrokenStream,
    ModelError,
    ModelNotFound,
    Overloaded,
    RateLimited,
    TooLong,
    Unavailable,
)
from acore_bot.messages import Ability, ChatMessage, ChatRequest, Delta, End, ModelInfo, Usage
from acore_bot.providers.openai_compatible import OpenAICompatible

REQUEST = ChatRequest(
    model="tiny",
    messages=(ChatMessage("system", "Be kind."), ChatMessage("user", "Hi")),
    max_tokens=16,
)
SSE = stream_head("text/event-stream")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """Make a clock."""
    return Clock()


@pytest.fixture
async def provider(server: ModelServer, clock: Clock) -> AsyncIterator[OpenAICompatible]:
    """Make a provider that talks to the server."""
    made = OpenAICompatible(name="mine", base_url=server.url + "/v1/", clock=clock)
    yield made
    await made.aclose()


async def collect(
    provider: OpenAICompatible, request: ChatRequest = REQUEST
) -> tuple[list[Delta], End]:
    """Return the deltas and the end of one answer."""
    async with provider.stream(request) as pieces:
        said = [one async for one in pieces]
    deltas, ends = said[:-1], said[-1:]
    assert isinstance(ends[0], End)
    return [one for one in deltas if isinstance(one, Delta)], ends[0]


def stream(*events: bytes) -> bytes:
    """Return a whole streamed answer."""
    return SSE + chunked(events)


async def test_request_says_what_was_asked(server: ModelServer, provider: OpenAICompatible) -> None:
    """The body streams, bounds the answer, asks for the usage, and leaves out what is not set."""
    await collect(provider)
    assert server.bodies(CHAT) == [
        {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
            ],
            "stream": True,
            "max_tokens": 16,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_options_are_merged_last(server: ModelServer) -> None:
    """Temperature and seed are sent when set, and configured fields win over ours."""
    provider = OpenAICompatible(
        name="mine",
        base_url=server.url + "/v1",
        api_key="sk-test",
        headers={"X-Team": "red"},
        options={"temperature": 0.1},
    )
    asked = ChatRequest(
        model="tiny", messages=REQUEST.messages, max_tokens=5, temperature=0.7, seed=3
    )
    await collect(provider, asked)
    body = server.bodies(CHAT)[0]
    assert (body["temperature"], body["seed"]) == (0.1, 3)
    assert server.asked[0].headers["authorization"] == "Bearer sk-test"
    assert server.asked[0].headers["x-team"] == "red"
    await provider.aclose()


async def test_reasoning_comes_under_either_name_or_between_tags(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """All three ways in which models show their reasoning become reasoning."""
    server.play(
        CHAT,
        stream(
            piece(reasoning="a"),
            piece(reasoning_content="b"),
            piece(content="<thi"),
            piece(content="nk>c</think>\n"),
            piece(content="Hello"),
            finish("stop"),
            DONE,
        ),
    )
    deltas, _ = await collect(provider)
    assert "".join(delta.reasoning for delta in deltas) == "abc"
    assert "".join(delta.text for delta in deltas) == "Hello"


async def test_text_held_back_is_not_lost_at_the_end(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """What could have become a tag and did not is part of the answer."""
    server.play(CHAT, stream(piece(content="<thi"), finish("stop"), DONE))
    deltas, _ = await collect(provider)
    assert deltas == [Delta("<thi")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "filtered"),
        ("something_new", "stop"),
        ("", "truncated"),
        (None, "truncated"),
    ],
)
async def test_finish_reasons_are_mapped(
    server: ModelServer, provider: OpenAICompatible, word: str | None, reason: str
) -> None:
    """Each server's word means one of ours; an unknown one is an end, and none is no end."""
    server.play(CHAT, stream(piece(content="Hi"), finish(word), DONE))
    assert (await collect(provider))[1].finish_reason == reason


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
            Usage(prompt_tokens=9, completion_tokens=2),
        ),
        (
            {
                "usage": {
                    "prompt_tokens": 194,
                    "completion_tokens": 2,
                    "cost": 0.00095,
                    "prompt_tokens_details": {"cached_tokens": 100},
                }
            },
            Usage(
                prompt_tokens=194, completion_tokens=2, cached_tokens=100, cost=Decimal("0.00095")
            ),
        ),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}},
            Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4),
        ),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2}, "timings": {"cache_n": 5}},
            Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=5),
        ),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": "many"}}, None),
    ],
)
async def test_usage_is_read_from_every_usual_place(
    server: ModelServer, provider: OpenAICompatible, told: dict[str, Any], usage: Usage | None
) -> None:
    """Cached tokens and cost are taken where they are told, and an odd usage costs no answer."""
    last = event({"choices": [], **told})
    server.play(CHAT, stream(piece(content="Hi"), finish("stop"), last, DONE))
    _, end = await collect(provider)
    assert end.usage == usage
    assert end.finish_reason == "stop"


async def test_end_names_who_really_answered(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """The model in the chunks and the answer's id are in the end."""
    server.play(CHAT, stream(*completion_events(["Hi"], model="other")))
    _, end = await collect(provider)
    assert (end.provider, end.model, end.response_id) == ("mine", "other", "chat-1")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            stream(piece(content="Hi"), event({"error": {"code": 429, "message": "slow"}})),
            RateLimited,
        ),
        (
            stream(
                piece(content="Hi"),
                event(
                    {
                        "error": {"code": "server_error", "message": "oops"},
                        "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
                    }
                ),
            ),
            Unavailable,
        ),
        (stream(piece(content="Hi"), finish("error")), BrokenStream),
        (
            stream(event({"object": "error", "message": "maximum context length"})),
            TooLong,
        ),
        (reply_json({"error": {"code": 503, "message": "busy"}}), Overloaded),
        (reply_json({"error": "no such thing"}), BrokenStream),
        (reply(200, b"{nonsense"), BrokenStream),
        (stream(event({"choices": {"0": {}}})), BrokenStream),
    ],
)  # fmt: skip
async def test_errors_inside_a_good_status_are_errors(
    server: ModelServer, provider: OpenAICompatible, answer: bytes, kind: type[ModelError]
) -> None:
    """HTTP 200 does not make an answer of an error, in whatever shape it comes."""
    server.play(CHAT, answer)
    with pytest.raises(kind) as caught:
        await collect(provider)
    assert (caught.value.provider, caught.value.model) == ("mine", "tiny")


async def test_whole_answer_in_place_of_a_stream_is_taken(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """A server that does not stream is answered as one delta and its end."""
    server.play(CHAT, reply_json(completion(["Hello", " you"])))
    deltas, end = await collect(provider)
    assert deltas == [Delta("Hello you")]
    assert end.finish_reason == "stop"
    assert end.usage == Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3)


async def test_refused_status_is_an_error_on_entry(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """An error before the stream raises when it is entered."""
    server.play(CHAT, openai_error(401, "no key", "authentication_error"))
    with pytest.raises(AuthFailed):
        async with provider.stream(REQUEST):
            pytest.fail("the stream was entered")


async def test_stream_options_are_left_out_where_refused(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """A server that knows no `stream_options` is asked again without, and never with it again."""
    server.refused_fields = {"stream_options"}
    await collect(provider)
    await collect(provider)
    assert ["stream_options" in body for body in server.bodies(CHAT)] == [True, False, False]


async def test_token_limit_goes_by_the_name_that_is_taken(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """A server that wants the other name gets it, together with what else it refuses."""
    server.refused_fields = {"stream_options", "max_tokens"}
    await collect(provider)
    await collect(provider)
    names = [sorted(body.keys() & {"max_tokens", "max_completion_tokens"}) for body in
             server.bodies(CHAT)]  # fmt: skip
    assert names[-2:] == [["max_completion_tokens"]] * 2
    assert len(names) == 4


async def test_refusal_of_both_names_is_told_once(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """A server that takes neither name is not asked for ever, and nothing is remembered."""
    server.refused_fields = {"max_tokens", "max_completion_tokens"}
    with pytest.raises(BadRequest):
        await collect(provider)
    assert len(server.asked) == 2
    server.refused_fields = set()
    await collect(provider)
    assert "max_tokens" in server.bodies(CHAT)[-1]


async def test_describe_asks_llama_cpp(server: ModelServer, provider: OpenAICompatible) -> None:
    """llama.cpp tells its window at `/props`, for whatever name it is asked."""
    assert (await provider.describe("tiny")).context_tokens == 4096
    assert (await provider.describe("any other")).context_tokens == 4096


async def test_describe_takes_the_smallest_number_told(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """Each server's place for the context and the abilities is known, and the least holds."""
    entries: list[object] = [
        {
            "id": "a",
            "context_length": 9000,
            "top_provider": {"context_length": 8000},
            "architecture": {"input_modalities": ["text", "image"]},
            "supported_parameters": ["tools", "reasoning"],
        },
        {"id": "b", "max_model_len": 2048, "capabilities": {"vision": False, "reasoning": True}},
        {"id": "c", "meta": {"n_ctx": 1024}, "capabilities": ["completion", "multimodal"]},
        {"id": "d", "context_length": "odd"},
    ]
    server.props = False
    server.play("/v1/models", reply_json({"data": entries}))
    all_abilities = frozenset[Ability]({"vision", "tools", "thinking"})
    assert await provider.describe("a") == ModelInfo(context_tokens=8000, abilities=all_abilities)
    assert await provider.describe("b") == ModelInfo(
        context_tokens=2048, abilities=frozenset({"thinking"})
    )
    assert await provider.describe("c") == ModelInfo(
        context_tokens=1024, abilities=frozenset({"vision"})
    )
    assert await provider.describe("d") == await provider.describe("unknown") == ModelInfo()


async def test_describe_is_remembered_for_five_minutes(
    server: ModelServer, provider: OpenAICompatible, clock: Clock
) -> None:
    """The server is asked once in five minutes, not once a message."""
    await provider.describe("tiny")
    asked = len(server.asked)
    clock.seconds += 299
    await provider.describe("tiny")
    assert len(server.asked) == asked
    clock.seconds += 1
    await provider.describe("tiny")
    assert len(server.asked) == 2 * asked


@pytest.mark.parametrize(
    "answer", [reply(404, b"nothing here", "text/plain"), reply(200, b"<html>", "text/html")]
)
async def test_silent_server_is_described_as_unknown(
    server: ModelServer, provider: OpenAICompatible, answer: bytes
) -> None:
    """A server that has no list of models can be used all the same."""
    server.props = False
    server.play("/v1/models", answer)
    assert await provider.describe("tiny") == ModelInfo()


async def test_describe_prefers_what_was_configured() -> None:
    """A configured context is believed, and no server is needed to tell it."""
    provider = OpenAICompatible(name="p", base_url="http://127.0.0.1:1/v1", context_tokens=99)
    assert await provider.describe("tiny") == ModelInfo(context_tokens=99)


@pytest.mark.parametrize("vision", [True, False])
async def test_what_the_owner_says_of_pictures_holds(vision: bool) -> None:
    """Servers that do not tell whether a model sees are believed less than the owner."""
    sees = frozenset[Ability]({"vision"} if vision else ())
    alone = OpenAICompatible(
        name="p", base_url="http://127.0.0.1:1/v1", context_tokens=99, vision=vision
    )
    assert (await alone.describe("tiny")).abilities == sees


async def test_describe_of_an_unreachable_server_raises() -> None:
    """Not to know and not to reach are different things."""
    provider = OpenAICompatible(name="p", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(Unavailable):
        await provider.describe("tiny")
    await provider.aclose()


async def test_list_models_raises_what_the_server_says(
    server: ModelServer, provider: OpenAICompatible
) -> None:
    """Listing reaches the server each time, and a wrong address is told."""
    assert await provider.list_models() == ("tiny",)
    server.play("/v1/models", openai_error(404, "File Not Found", "not_found_error"))
    with pytest.raises(ModelNotFound):
        await provider.list_models()


async def test_key_is_in_no_repr() -> None:
    """Printing a provider tells no secret."""
    provider = OpenAICompatible(name="p", base_url="http://h/v1", api_key="sk-secret-secret")
    assert "sk-secret" not in repr(provider)
