"""How much longer the first word takes when the first model is dead.

The first model is an address on loopback where nobody listens, the second a server that answers at
once. Measured is the time until the first delta, in three cases beside the same request sent
straight to the second model: the dead model's breaker is open, so it is not asked; it is closed, so
it is asked; and the same where the budget allows to ask twice, after a pause of 10 ms on average.

    uv run python -m benchmarks.failover [--quick]
"""

import argparse
import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress

from benchmarks.figures import Figure, interleaved, show

from acore_bot.contracts import ChatModel
from acore_bot.llm.breaker import FAILURES_IN_A_ROW
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import ChatMessage, ChatRequest, Delta
from acore_bot.providers.openai_compatible import OpenAICompatible

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'data: {"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
ALIVE, DEAD, ALSO_DEAD = "alive/tiny", "dead/tiny", "dead/other"
OPTIONS = FailoverOptions(fallbacks=(ALIVE,))
CASES = {"dead, breaker open": "open", "dead, breaker closed": "spent", "dead, retried once": "new"}


async def measure_first_delta(model: ChatModel, name: str) -> float:
    """Return the seconds until the first delta."""
    said = (ChatMessage("user", "Tea?"),)
    asked_at = time.perf_counter()
    async with model.stream(ChatRequest(model=name, messages=said, max_tokens=9)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Delta):
                return time.perf_counter() - asked_at
    raise AssertionError


async def prepare(model: ChatModel, case: str) -> Failover:
    """Make a fail-over in the state of a case."""
    failover = Failover(model, OPTIONS)
    if case == "spent":
        await measure_first_delta(failover, ALSO_DEAD)  # takes the one retry that a lull allows
    if case == "open":
        for _ in range(FAILURES_IN_A_ROW):
            await measure_first_delta(failover, DEAD)
    return failover


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Run a server that answers at once; give its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@asynccontextmanager
async def opened() -> AsyncIterator[RoutedModel]:
    """Open the two providers, of which one finds nobody."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # held and not listened on, so that nobody else takes it
        nowhere = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"
        async with serving() as somewhere:
            urls = {"alive": somewhere, "dead": nowhere}
            routed = RoutedModel(
                list(urls), lambda name: OpenAICompatible(name=name, base_url=urls[name])
            )
            async with aclosing(routed):
                yield routed


def measure(quick: bool) -> list[Figure]:
    """Return the milliseconds until the first delta in each case, beside the second model's own."""
    requests = 3 if quick else 20
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        routed = runner.run(stack.enter_async_context(opened()))

        def contender(case: str) -> Callable[[], float]:
            async def run() -> float:
                seconds = 0.0
                for _ in range(requests):
                    failover = await prepare(routed, case)
                    seconds += await measure_first_delta(failover, DEAD)
                return seconds / requests

            return lambda: runner.run(run())

        async def run_straight() -> float:
            seconds = [await measure_first_delta(routed, ALIVE) for _ in range(requests)]
            return sum(seconds) / requests

        straight, *others = interleaved(
            5 if quick else 15,
            lambda: runner.run(run_straight()),
            *map(contender, CASES.values()),
        )
        runner.run(stack.aclose())
    return [
        Figure(
            name=f"first delta, first model {name}",
            value=seconds * 1000,
            unit="ms",
            limit_name="second model asked straight",
            limit=straight * 1000,
            ratio=seconds / straight,
        )
        for name, seconds in zip(CASES, others, strict=True)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer requests and rounds")
    show(measure(parser.parse_args().quick))


if __name__ == "__main__":
    main()
