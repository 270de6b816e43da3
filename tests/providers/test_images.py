"""Pictures in a request, in the shape that each protocol wants."""

import base64
from contextlib import aclosing

from tests.fakes.model_server import (
    CHAT,
    OLLAMA_CHAT,
    ModelServer,
    chat_lines,
    chunked,
    completion_events,
    stream_head,
)

from acore_bot.messages import ChatMessage, ChatRequest, End, Image, Usage
from acore_bot.providers.llama_cpp import MODEL_NAME, UNSEEN_PICTURE, Embedded
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible

CAT = Image("image/jpeg", b"\xff\xd8\xffcat")
DOG = Image("image/png", b"\x89PNGdog")
REQUEST = ChatRequest(
    model="tiny",
    messages=(
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "Which is the cat?", (CAT, DOG)),
        ChatMessage("assistant", "The first."),
        ChatMessage("user", "", (DOG,)),
    ),
    max_tokens=16,
)


async def read_to_the_end(provider: OpenAICompatible | Ollama) -> None:
    """Ask, and close the provider."""
    async with aclosing(provider), provider.stream(REQUEST) as pieces:
        async for _ in pieces:
            pass


def data_url(image: Image) -> object:
    """Return the part that OpenAI's protocol wants."""
    data = base64.b64encode(image.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}


async def test_openai_gets_parts_with_data_urls() -> None:
    """A message with pictures is a list of parts, text first if there is any; others stay text."""
    async with ModelServer() as server:
        answer = completion_events(["Yes."], model="tiny")
        server.play(CHAT, stream_head("text/event-stream") + chunked(answer))
        await read_to_the_end(OpenAICompatible(name="mine", base_url=server.url + "/v1"))
    assert [message["content"] for message in server.bodies(CHAT)[0]["messages"]] == [
        "Be kind.",
        [{"type": "text", "text": "Which is the cat?"}, data_url(CAT), data_url(DOG)],
        "The first.",
        [data_url(DOG)],
    ]


async def test_ollama_gets_base64_beside_the_text() -> None:
    """Ollama's messages have a field for pictures, which those without leave out."""
    async with ModelServer() as server:
        server.play(
            OLLAMA_CHAT, stream_head("application/x-ndjson") + chunked(chat_lines(["Yes."]))
        )
        await read_to_the_end(Ollama(name="ollama", base_url=server.url))
    system, first, answer, last = server.bodies(OLLAMA_CHAT)[0]["messages"]
    assert system.keys() == answer.keys() == {"role", "content"}
    assert first["content"] == "Which is the cat?"
    assert [base64.b64decode(one) for one in first["images"]] == [CAT.data, DOG.data]
    assert last == {
        "role": "user",
        "content": "",
        "images": [base64.b64encode(DOG.data).decode()],
    }


async def test_embedded_model_is_told_of_pictures_in_words() -> None:
    """It has no eyes: pictures that were meant for another model become a word in their place."""
    async with aclosing(Embedded(context_tokens=512, slots=1, cache_ram_mib=0)) as provider:
        shown = await usage_of(provider, ChatMessage("user", "What is this?", (CAT,)))
        told = await usage_of(provider, ChatMessage("user", f"What is this?\n{UNSEEN_PICTURE}"))
    assert shown.prompt_tokens == told.prompt_tokens


async def usage_of(provider: Embedded, said: ChatMessage) -> Usage:
    """Ask, and return what the server counted."""
    request = ChatRequest(model=MODEL_NAME, messages=(said,), max_tokens=1)
    async with provider.stream(request) as pieces:
        *_, end = [piece async for piece in pieces]
    assert isinstance(end, End)
    assert end.usage is not None
    return end.usage
