"""R14: a stream that is cut anywhere is never hung on, and never taken for a whole answer."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from tests.fakes.model_server import (
    CHAT,
    OLLAMA_CHAT,
    Asked,
    Ending,
    ModelServer,
    Step,
    chat_lines,
    chunked,
    completion_events,
    stream_head,
)

from acore_bot.contracts import Provider
from acore_bot.errors import ModelError
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible

WORKERS = 16


@dataclass
class CuttingServer(ModelServer):
    """Sends a recording up to as many bytes as the request's token limit says."""

    recording: bytes = b""
    ending: Ending = "close"

    def answer(self, asked: Asked) -> Iterable[Step]:
        """Cut the recording."""
        if asked.path == CHAT:
            return (self.recording[: asked.body["max_tokens"]], self.ending)
        if asked.path == OLLAMA_CHAT:
            return (self.recording[: asked.body["options"]["num_predict"]], self.ending)
        return super().answer(asked)


@dataclass(frozen=True)
class Recording:
    """A recorded answer. Its finish reason is told from `told_at` bytes on."""

    sent: bytes
    told_at: int
    text: str


def recorded(head: bytes, parts: list[bytes], last_words: bytes, words: Iterable[str]) -> Recording:
    """Record an answer in which these last words tell the finish reason."""
    sent = head + chunked(parts)
    assert 3900 < len(sent) < 4300
    return Recording(sent, sent.index(last_words) + len(last_words), "".join(words))


def openai_recording() -> Recording:
    """Record about 4 kB of server-sent events."""
    words = [f" wörd{number} 🌊" for number in range(20)]
    events = completion_events(words)
    return recorded(stream_head("text/event-stream"), events, events[-3], words)


def ollama_recording() -> Recording:
    """Record about 4 kB of lines. The last one is whole without its newline, too."""
    words = [f" wörd{number} 🌊" for number in range(29)]
    lines = chat_lines(words)
    return recorded(stream_head("application/x-ndjson"), lines, lines[-1].rstrip(), words)


async def outcome(provider: Provider, cut: int) -> tuple[str, str]:
    """Return the text that came, and the finish reason or the error's kind."""
    request = ChatRequest(
        model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=max(cut, 0)
    )
    text = ""
    try:
        async with provider.stream(request) as pieces:
            async for piece in pieces:
                if isinstance(piece, End):
                    return text, piece.finish_reason
                assert isinstance(piece, Delta)
                text += piece.text
    except ModelError as error:
        return text, error.kind
    pytest.fail(f"the stream cut at {cut} ended without a word")


async def cut_everywhere(provider: Provider, cuts: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return the outcome of each cut, with several under way at once."""
    left, outcomes = iter(cuts), dict[int, tuple[str, str]]()

    async def work() -> None:
        for cut in left:
            outcomes[cut] = await outcome(provider, cut)

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
    return outcomes


def check(recording: Recording, outcomes: dict[int, tuple[str, str]], *, exactly: bool) -> None:
    """Hold every outcome against what had been sent; a reset may take sent bytes away again."""
    head_bytes = recording.sent.index(b"\r\n\r\n") + 4
    assert len(outcomes) == len(recording.sent) + 1
    for cut, (text, how) in outcomes.items():
        assert recording.text.startswith(text), cut
        if how == "stop":
            assert text == recording.text, cut
            assert cut >= recording.told_at, cut
        else:
            allowed = {"truncated", "unavailable", "broken_stream"}
            assert how in allowed, (cut, how)
        if exactly and cut < head_bytes:
            assert how in ("unavailable", "broken_stream"), (cut, how)
        elif exactly:
            assert how == ("stop" if cut >= recording.told_at else "truncated"), cut


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_r14_openai_stream_cut_at_every_byte(ending: Ending) -> None:
    """Each cut of an OpenAI-compatible stream is an error, truncated, or whole: as it was."""
    recording = openai_recording()
    async with CuttingServer(recording=recording.sent, ending=ending) as server:
        provider = OpenAICompatible(name="openai", base_url=server.url + "/v1")
        outcomes = await cut_everywhere(provider, range(len(recording.sent) + 1))
        await provider.aclose()
    check(recording, outcomes, exactly=ending == "close")


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_r14_ollama_stream_cut_at_every_byte(ending: Ending) -> None:
    """Each cut of an Ollama stream is an error, truncated, or whole: as it was."""
    recording = ollama_recording()
    async with CuttingServer(recording=recording.sent, ending=ending) as server:
        provider = Ollama(name="ollama", base_url=server.url)
        outcomes = await cut_everywhere(provider, range(len(recording.sent) + 1))
        await provider.aclose()
    check(recording, outcomes, exactly=ending == "close")
