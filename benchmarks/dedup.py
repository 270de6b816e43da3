"""What sharing a stream costs: its key, its readers, and what reaches each of them.

Each figure stands beside the plainest way to do the same. Times are of the processor.

    uv run python -m benchmarks.dedup [--quick]
"""

import argparse
import asyncio
import hashlib
import heapq
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Self

from benchmarks.figures import Figure, interleaved, show
from msgspec import to_builtins

from acore_bot.llm.deduplicate import DeduplicatedModel, RequestDeduplicator
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo, Piece

TOKENS = 200
PAUSE_TOKENS = 50  # at 50 tokens a second and an edit a second, as a chat shows an answer


class Source:
    """A model that says the same each time, a token in each turn of the loop. Its tokens are the
    clock by which readers pause."""

    def __init__(self, tokens: int) -> None:
        self._deltas = [Delta("token ")] * tokens
        self._due: list[tuple[int, int, asyncio.Future[None]]] = []
        self._said = 0
        self._is_over = False
        self.calls = 0

    async def pause(self, tokens: int) -> None:
        """Wait until so many more tokens were said, or all."""
        if self._is_over:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._due, (self._said + tokens, id(waiter), waiter))
        await waiter

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:  # noqa: ARG002
        """Say it."""
        self.calls += 1
        yield self._say()

    async def describe(
        self,
        model: str,  # noqa: ARG002
        *,
        local_only: bool = False,  # noqa: ARG002
    ) -> ModelInfo:
        """Tell nothing."""
        return ModelInfo()

    async def _say(self) -> AsyncIterator[Piece]:
        for delta in self._deltas:
            await asyncio.sleep(0)
            yield delta
            self._said += 1
            self._wake(self._said)
        self._is_over = True
        self._wake(2 * len(self._deltas))
        yield End(finish_reason="stop")

    def _wake(self, said: int) -> None:
        while self._due and self._due[0][0] <= said:
            heapq.heappop(self._due)[2].set_result(None)


def conversation(messages: int) -> ChatRequest:
    """Make a chat's request anew, so that no part of it was ever hashed before."""
    said = (
        ChatMessage(
            "assistant" if number % 2 else "user",
            f"Number {number}: what people say in a chat is about this long, give or take a few "
            "words; some of them write more than that at once, and others a word or two.",
        )
        for number in range(messages)
    )
    return ChatRequest(
        model="ollama/llama3.2:3b",
        messages=tuple(said),
        max_tokens=512,
        temperature=0.7,
        scope="guild:1168321409867829258",
    )


def measure_key(rounds: int, keys: int = 2000) -> Figure:
    """Measure the key of a conversation of twenty messages."""

    def ours() -> float:
        requests = [conversation(20) for _ in range(keys)]
        started_at = time.process_time()
        for request in requests:
            RequestDeduplicator.create_request_key(request)
        return (time.process_time() - started_at) / keys * 1e6

    def plain() -> float:
        requests = [to_builtins(conversation(20)) for _ in range(keys)]
        started_at = time.process_time()
        for request in requests:
            hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return (time.process_time() - started_at) / keys * 1e6

    key, json_key = interleaved(rounds, ours, plain)
    return Figure(
        "key of 20 messages", key, "us", "sorted JSON and SHA-256", json_key, key / json_key, 0.2
    )


async def together(works: list[Coroutine[None, None, None]]) -> float:
    """Return the seconds that some works take together."""
    started_at = time.process_time()
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
    return time.process_time() - started_at


async def read(model: DeduplicatedModel, request: ChatRequest) -> None:
    """Read an answer to its end, keeping pace."""
    async with model.stream(request) as pieces:
        async for _ in pieces:
            pass


async def wait_through_the_coat(waiters: int, messages: int) -> float:
    """Let many ask the same at once."""
    source = Source(1)
    model = DeduplicatedModel(source)
    taken = await together([read(model, conversation(messages)) for _ in range(waiters)])
    assert source.calls == 1
    return taken


async def wait_for_a_future(waiters: int) -> float:
    """Let many wait for one bare future, which is done when all do."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await answer

    async def finish() -> None:
        answer.set_result(None)

    return await together([*(wait() for _ in range(waiters)), finish()])


class Nothing:
    """A stream of one piece that comes when a future is done: the least that a stream can cost."""

    def __init__(self, answer: asyncio.Future[None]) -> None:
        self._answer = answer
        self._index = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if self._index == 0:
            await self._answer
        if self._index == 2:
            raise StopAsyncIteration
        self._index += 1
        return self._index


async def wait_for_a_bare_stream(waiters: int) -> float:
    """Let many read a stream that does nothing but wait for one future."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        async with Nothing(answer) as pieces:
            async for _ in pieces:
                pass

    async def finish() -> None:
        answer.set_result(None)

    return await together([*(wait() for _ in range(waiters)), finish()])


def measure_waiters(rounds: int, waiters: int = 10_000) -> list[Figure]:
    """Measure what each of many equal requests costs, from its asking to its answer."""
    short, long, bare, stream = (
        seconds / waiters * 1e6
        for seconds in interleaved(
            rounds,
            lambda: asyncio.run(wait_through_the_coat(waiters, messages=1)),
            lambda: asyncio.run(wait_through_the_coat(waiters, messages=20)),
            lambda: asyncio.run(wait_for_a_future(waiters)),
            lambda: asyncio.run(wait_for_a_bare_stream(waiters)),
        )
    )
    name = f"one of {waiters:,} waiters"
    return [
        Figure(f"{name}, 1 message", short, "us", "a bare future", bare, short / bare, 1.35),
        Figure(f"{name}, 1 message", short, "us", "an idle stream", stream, short / stream),
        Figure(f"{name}, 20 messages", long, "us", "a bare future", bare, long / bare),
    ]


async def fan_out(readers: int, *, at_own_cadence: bool) -> float:
    """Let readers read a whole answer, at each token or with a pause of their own after each
    piece; the latter come one after the other, so that no two read the same pieces."""
    source = Source(TOKENS)
    model = DeduplicatedModel(source)
    request = conversation(1)

    async def read_at_own_cadence(number: int) -> None:
        if number:
            await source.pause(number % PAUSE_TOKENS)
        async with model.stream(request) as pieces:
            async for _ in pieces:
                await source.pause(PAUSE_TOKENS)

    if at_own_cadence:
        return await together([read_at_own_cadence(number) for number in range(readers)])
    return await together([read(model, request) for _ in range(readers)])


async def call_back(readers: int) -> float:
    """Call a function for each reader and token of the same answer."""
    heard: list[list[Piece]] = [[] for _ in range(readers)]

    def listener(pieces: list[Piece]) -> Callable[[Piece], None]:
        def hear(piece: Piece) -> None:
            pieces.append(piece)

        return hear

    callbacks = [listener(pieces) for pieces in heard]

    async def run() -> None:
        async with Source(TOKENS).stream(conversation(1)) as pieces:
            async for piece in pieces:
                for callback in callbacks:
                    callback(piece)

    return await together([run()])


def measure_fan_out(
    rounds: int, readers: int, *, at_own_cadence: bool, target: float | None = None
) -> list[Figure]:
    """Measure what an answer costs for each reader and token: with its source, the cheapest there
    can be, and without it."""
    repeats = max(1, 300 // readers)

    def often(run: Callable[[], Coroutine[None, None, float]]) -> Callable[[], float]:
        return lambda: sum(asyncio.run(run()) for _ in range(repeats))

    ours, plain, source = (
        seconds / repeats / readers / TOKENS * 1e9
        for seconds in interleaved(
            rounds,
            often(lambda: fan_out(readers, at_own_cadence=at_own_cadence)),
            often(lambda: call_back(readers)),
            often(lambda: call_back(0)),
        )
    )
    how = "at their own cadence" if at_own_cadence else "at each token"
    name = f"{TOKENS} tokens to {readers:,} {how}"
    beside = "a callback loop"
    figures = [Figure(name, ours, "ns", beside, plain, ours / plain, target)]
    if readers >= 100:  # for fewer, the source takes so much more that only noise would be left
        ours, plain = ours - source, plain - source
        figures.append(Figure(f"{name}, no source", ours, "ns", beside, plain, ours / plain))
    return figures


def measure(quick: bool = False) -> list[Figure]:
    """Measure all."""
    rounds = 5 if quick else 11
    figures = [measure_key(rounds), *measure_waiters(rounds)]
    for readers in (10, 30, 100):
        figures += measure_fan_out(rounds, readers, at_own_cadence=True, target=2.2)
    for readers in (1, 100, 1000):
        figures += measure_fan_out(rounds, readers, at_own_cadence=False)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    show(measure(parser.parse_args().quick))
