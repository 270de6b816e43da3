"""The chunks of a chat completion, as OpenAI and all who follow it write them, made into deltas."""

from collections import deque
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from acore_bot.errors import BrokenStream
from acore_bot.messages import Delta, End, FinishReason, Usage
from acore_bot.providers.border import Border
from acore_bot.providers.thinking import ThinkingFilter
from acore_bot.providers.wire import PayloadDecoder

_T = TypeVar("_T")

_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
}


# Made and dropped for each event, and never part of a cycle: the collector need not know of them.
class _Said(Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Raw] | None = None


class _Choice(Struct, gc=False):
    delta: _Said | None = None
    message: _Said | None = None  # in place of the delta where a server does not stream
    finish_reason: str | None = None


class _Chunk(Struct, gc=False):
    # What is rarely there, or of a shape that servers do not agree on, is decoded when needed.
    id: str | None = None
    object: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    error: Raw = Raw()
    usage: Raw = Raw()
    timings: Raw = Raw()


class _PromptDetails(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for it
    cost: Decimal | None = None


class _Timings(Struct):
    cache_n: int | None = None  # llama.cpp's


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChunkDecoder:
    """Decodes one answer, streamed or whole, as an `AnswerDecoder`.

    The model that answers is taken from the chunks, and so is `response_id` unless it is given.
    """

    def __init__(self, payloads: PayloadDecoder, border: Border, *, response_id: str = "") -> None:
        self.finish_reason: FinishReason | None = None
        self.complete = False
        self.characters = 0
        self._payloads = payloads
        self._border = border
        self._model = border.model
        self._response_id = response_id
        self._thinking = ThinkingFilter()
        self._usage = Raw()
        self._timings = Raw()

    def feed(self, data: bytes, pieces: deque[Delta | End]) -> None:
        """Append the deltas that `data` completes. Raises `ModelError`."""
        try:
            payloads = self._payloads.feed(data)
        except BrokenStream as fault:
            raise self._border.error(BrokenStream, fault.detail) from fault
        for payload in payloads:
            if payload == b"[DONE]":
                self.complete = True
                return
            self._take(payload, pieces)

    def close(self, pieces: deque[Delta | End]) -> None:
        """Append the deltas that were held back. Raises `ModelError`."""
        for payload in self._payloads.close():
            self._take(payload, pieces)
        text, reasoning = self._thinking.close()
        if text or reasoning:
            pieces.append(Delta(text, reasoning))

    def end(self, finish_reason: FinishReason) -> End:
        """Return the last piece."""
        return End(
            finish_reason=finish_reason,
            usage=self._read_usage(),
            provider=self._border.provider,
            model=self._model,
            response_id=self._response_id,
        )

    def _take(self, payload: bytes, pieces: deque[Delta | End]) -> None:
        try:
            chunk = _decode_chunk(payload)
        except (ValueError, RecursionError) as fault:
            raise self._border.error(BrokenStream, f"not a chunk: {fault}") from fault
        if _is_error(chunk):
            raise self._border.refusal(200, {}, payload)
        if not self._response_id:
            self._response_id = chunk.id or ""
        self._model = chunk.model or self._model
        if chunk.usage:
            self._usage = chunk.usage
        if chunk.timings:
            self._timings = chunk.timings
        for choice in chunk.choices or ():
            if said := choice.delta or choice.message:
                self._say(said, pieces)
            if choice.finish_reason:
                self._conclude(choice.finish_reason)

    def _say(self, said: _Said, pieces: deque[Delta | End]) -> None:
        text = said.content or ""
        reasoning = said.reasoning or said.reasoning_content or ""
        self.characters += len(text) + len(reasoning)
        if said.tool_calls:  # no one runs them, but without a count they could go on for ever
            self.characters += sum(len(memoryview(call)) for call in said.tool_calls)
        if text and not self._thinking.settled:
            text, thought = self._thinking.feed(text)
            reasoning += thought
        if text or reasoning:
            pieces.append(Delta(text, reasoning))

    def _conclude(self, word: str) -> None:
        if word == "error":
            raise self._border.error(BrokenStream, "the finish reason is an error")
        self.finish_reason = _FINISH_REASONS.get(word, "stop")

    def _read_usage(self) -> Usage | None:
        usage = _decoded_or_none(self._usage, _Usage)
        if usage is None:
            return None
        cached = usage.prompt_cache_hit_tokens
        if usage.prompt_tokens_details is not None:
            cached = usage.prompt_tokens_details.cached_tokens
        if cached is None and (timings := _decoded_or_none(self._timings, _Timings)):
            cached = timings.cache_n
        return Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=cached,
            cost=usage.cost,
        )


def _is_error(chunk: _Chunk) -> bool:
    if chunk.error and bytes(chunk.error) != b"null":
        return True
    return chunk.object == "error" and not chunk.choices


def _decoded_or_none(raw: Raw, shape: type[_T]) -> _T | None:
    """Decode what is told beside the answer: an odd shape there must not cost the answer."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except ValueError:
        return None
