"""A coat for a chat model that answers a repeated question with the answer it had before.

Only stateless questions are remembered: neither chat turns, whose history makes each one new, nor
what is personal. The key is the one under which requests share a flight, the scope included. Only
whole answers of the model that was asked are kept, for a while, and within bounds of their number
and size; the least recently used leave first.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from decimal import Decimal
from typing import Final, TypeAlias

from msgspec import Struct, structs

from acore_bot.contracts import ChatModel
from acore_bot.llm.deduplicate import RequestDeduplicator
from acore_bot.messages import ChatRequest, Delta, End, ModelInfo, Piece
from acore_bot.telemetry.events import CachedAnswer, Emit, ignore

ENTRY_BYTES: Final = 1024
"""What an entry takes beside its text: its key, its end and its place in the two orders."""

Stats: TypeAlias = dict[str, bool | int | float]


class CacheOptions(Struct, frozen=True, kw_only=True):
    """What is remembered, how much of it and how long.

    `cache_sampled` is about answers that would come out differently each time: those with no seed
    whose temperature is above 0 or left to the provider. If it is true, an exact repeat gets the
    same words again; if it is false, such requests always go to the model.
    """

    is_enabled: bool = True
    max_entries: int = 1000
    max_bytes: int = 16 * 1024 * 1024
    ttl_seconds: float = 300.0
    cache_sampled: bool = True

    def allow(self, request: ChatRequest) -> bool:
        """Tell whether a request may be answered from the cache."""
        if not self.is_enabled or request.has_history or request.is_personal:
            return False
        # A temperature of 0 is a choice; None leaves it to the provider.
        return self.cache_sampled or request.seed is not None or request.temperature == 0


class CachedResponses:
    """Answers from memory what was answered before, and asks the model for the rest."""

    def __init__(
        self,
        model: ChatModel,
        options: CacheOptions = CacheOptions(),  # noqa: B008 - it is frozen
        clock: Callable[[], float] = time.monotonic,
        emit: Emit = ignore,
    ) -> None:
        self._emit = emit
        self._model = model
        self._options = options
        self._responses = _Responses(options, clock)

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Replay the answer to an equal request, or stream a new one and remember it.

        A replay is one delta and an end that is marked. Its usage tells the tokens as before, since
        they measure the prompt, and a cost of zero where there was one: nothing was paid again.
        """
        if not self._options.allow(request):
            return self._model.stream(request)
        return self._answer(request)

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the model that is covered."""
        return await self._model.describe(model, local_only=local_only)

    def clear(self) -> None:
        """Forget all answers, those still under way too: for when a person's data is forgotten."""
        self._responses.clear()

    def get_cache_stats(self) -> dict[str, Stats]:
        """Return under `responses` what is remembered and how often that helped. The counts of
        requests leave out those that the cache has no part in."""
        return {"responses": self._responses.stats()}

    @asynccontextmanager
    async def _answer(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        key = RequestDeduplicator.create_request_key(request)
        response = self._responses.find(key)
        if response:
            usage = response.end.usage
            saved = usage.prompt_tokens + usage.completion_tokens if usage else 0
            self._emit(CachedAnswer(request.model, saved))
            async with aclosing(_replay(response)) as replayed:
                yield replayed
            return
        async with (
            self._model.stream(request) as pieces,
            aclosing(self._listen(key, pieces)) as heard,
        ):
            yield heard

    async def _listen(self, key: str, pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece]:
        epoch = self._responses.epoch
        deltas: list[Delta] = []
        async for piece in pieces:
            if isinstance(piece, Delta):
                deltas.append(piece)
            elif isinstance(piece, End) and epoch == self._responses.epoch:
                self._responses.add(key, deltas, piece)
            yield piece


class _Response(Struct, frozen=True):
    """An answer to be given again. `expires_at` is a time of the cache's clock."""

    delta: Delta
    end: End
    bytes: int
    expires_at: float


class _Responses:
    """Answers by key, in two orders: by use, for who leaves when it is full, and by age."""

    def __init__(self, options: CacheOptions, clock: Callable[[], float]) -> None:
        self.epoch = 0  # counts the clearings: what was begun before one is not kept after it
        self._options = options
        self._clock = clock
        self._by_use: OrderedDict[str, _Response] = OrderedDict()
        self._by_age: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = self._expirations = 0

    def find(self, key: str) -> _Response | None:
        """Return an answer that is young enough, and count."""
        self._expire()
        response = self._by_use.get(key)
        if response is None:
            self._misses += 1
            return None
        self._hits += 1
        self._by_use.move_to_end(key)
        return response

    def add(self, key: str, deltas: list[Delta], end: End) -> None:
        """Keep an answer if it is whole, making room for it."""
        text = "".join([delta.text for delta in deltas])
        delta = Delta(text, "".join([delta.reasoning for delta in deltas]))
        size = ENTRY_BYTES + sys.getsizeof(delta.text) + sys.getsizeof(delta.reasoning)
        is_whole = end.finish_reason == "stop" and text.strip() and not end.fell_back_from
        if not is_whole or size > self._options.max_bytes:
            return
        self._expire()
        if key in self._by_use:
            self._drop(key)  # two asked the same at once
        expires_at = self._clock() + self._options.ttl_seconds
        self._by_use[key] = _Response(delta, _as_replayed(end), size, expires_at)
        self._by_age[key] = None
        self._bytes += size
        self._make_room()

    def clear(self) -> None:
        """Forget all."""
        self.epoch += 1
        self._by_use.clear()
        self._by_age.clear()
        self._bytes = 0

    def stats(self) -> Stats:
        """Return sizes and counts."""
        self._expire()
        requests = self._hits + self._misses
        return {
            "enabled": self._options.is_enabled,
            "size": len(self._by_use),
            "max_size": self._options.max_entries,
            "bytes": self._bytes,
            "max_bytes": self._options.max_bytes,
            "ttl_seconds": self._options.ttl_seconds,
            "hits": self._hits,
            "misses": self._misses,
            "total_requests": requests,
            "hit_rate_percent": round(100 * self._hits / max(1, requests), 1),
            "evictions": self._evictions,
            "ttl_expirations": self._expirations,
        }

    def _expire(self) -> None:
        """Let go of what is too old. All live equally long, so the oldest are at the front."""
        now = self._clock()
        while self._by_age:
            oldest = next(iter(self._by_age))
            if self._by_use[oldest].expires_at > now:
                return
            self._drop(oldest)
            self._expirations += 1

    def _make_room(self) -> None:
        options = self._options
        while len(self._by_use) > options.max_entries or self._bytes > options.max_bytes:
            self._drop(next(iter(self._by_use)))
            self._evictions += 1

    def _drop(self, key: str) -> None:
        self._bytes -= self._by_use.pop(key).bytes
        del self._by_age[key]


async def _replay(response: _Response) -> AsyncGenerator[Piece]:
    yield response.delta
    yield response.end


def _as_replayed(end: End) -> End:
    usage = end.usage
    if usage and usage.cost is not None:
        usage = structs.replace(usage, cost=Decimal(0))
    return structs.replace(end, usage=usage, is_cached=True, queued_seconds=0.0)
