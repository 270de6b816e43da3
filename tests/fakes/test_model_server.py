"""The fake model server speaks the real protocols: the official clients understand it."""

from collections.abc import AsyncIterator

import ollama
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from tests.fakes.model_server import CHAT, ModelServer, openai_error

QUESTION: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def openai_client(server: ModelServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """Make the official client, without its own retries."""
    async with openai.AsyncOpenAI(
        base_url=server.url + "/v1", api_key="sk-test", max_retries=0
    ) as client:
        yield client


async def test_openai_client_reads_a_stream(
    server: ModelServer, openai_client: openai.AsyncOpenAI
) -> None:
    """The `openai` client gets the words, the finish reason and the usage of a stream."""
    stream = await openai_client.chat.completions.create(
        model="tiny", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "".join(server.words)
    assert choices[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 7


async def test_openai_client_reads_a_whole_answer(
    server: ModelServer, openai_client: openai.AsyncOpenAI
) -> None:
    """The `openai` client reads an answer that is not streamed."""
    answer = await openai_client.chat.completions.create(model="tiny", messages=QUESTION)
    assert answer.choices[0].message.content == "".join(server.words)


async def test_openai_client_lists_models(openai_client: openai.AsyncOpenAI) -> None:
    """The `openai` client reads the list of models."""
    assert [model.id async for model in openai_client.models.list()] == ["tiny"]


async def test_openai_client_understands_an_error(
    server: ModelServer, openai_client: openai.AsyncOpenAI
) -> None:
    """A scripted error reaches the `openai` client as the error it stands for."""
    server.play(CHAT, openai_error(429, "slow down", "rate_limit_error"))
    with pytest.raises(openai.RateLimitError, match="slow down"):
        await openai_client.chat.completions.create(model="tiny", messages=QUESTION)


async def test_server_refuses_unknown_fields(openai_client: openai.AsyncOpenAI) -> None:
    """The server is strict: a field that it does not know is refused by name."""
    with pytest.raises(openai.BadRequestError, match="num_ctx"):
        await openai_client.chat.completions.create(
            model="tiny", messages=QUESTION, extra_body={"num_ctx": 1}
        )


async def test_ollama_client_reads_a_stream(server: ModelServer) -> None:
    """The `ollama` client gets the words and the last line of a stream."""
    async with ollama.AsyncClient(host=server.url) as client:
        stream = await client.chat(
            model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        parts = [part async for part in stream]
    assert "".join(part.message.content or "" for part in parts) == "".join(server.words)
    assert parts[-1].done
    assert parts[-1].done_reason == "stop"
    assert parts[-1].prompt_eval_count == 7


async def test_ollama_client_reads_what_is_told_of_models(server: ModelServer) -> None:
    """The `ollama` client reads `show`, `list` and `ps`."""
    async with ollama.AsyncClient(host=server.url) as client:
        shown = await client.show("tiny")
        listed = await client.list()
        loaded = await client.ps()
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 4096
    assert shown.capabilities == ["completion", "tools"]
    assert [model.model for model in listed.models] == ["tiny"]
    assert loaded.models[0].context_length == 2048


async def test_ollama_client_understands_an_error(server: ModelServer) -> None:
    """A model that is not there is told as Ollama tells it."""
    async with ollama.AsyncClient(host=server.url) as client:
        with pytest.raises(ollama.ResponseError, match="'huge' not found"):
            await client.show("huge")
