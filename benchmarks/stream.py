"""What it costs to read a streamed answer, beside what any reader has to pay.

The limit is the plain asyncio way: `StreamReader.readline` on a socket, which finds the ends of the
lines and nothing else. Beside it stand a bare `Protocol`, which only counts bytes, and the official
`openai` client. The server is another process and writes one event at a time: one by one, some time
apart, as models do, where the kernel and the event loop cost most; or in a bundle that waits when
the reader comes, where the reading itself does. CPU is this process's alone, user and system, from
when all streams have given their first piece until the last one has ended.

    uv run python benchmarks/run.py stream
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import TypeAlias
from urllib.parse import urlsplit

from benchmarks.figures import Figure, interleaved
from msgspec import Struct

from acore_bot.contracts import ChatModel
from acore_bot.messages import ChatMessage, ChatRequest, End
from acore_bot.providers.ollama import Ollama
from acore_bot.providers.openai_compatible import OpenAICompatible

SERVER = Path(__file__).with_name("stream_server.py")
OPENAI, OLLAMA = "/v1/chat/completions", "/api/chat"
REQUEST = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)

MAX_RATIOS = {1: 2.0, 100: 2.5, 500: 3.5}  # to readline, by the number of streams
MAX_RATIO_TO_OFFICIAL = 1 / 20
MAX_FIRST_BYTE_MILLISECONDS = 0.3
MAX_STREAMS_OF_OFFICIAL = 100  # with more, it takes minutes
BUNDLE_SECONDS = 0.7  # in which the server has written a bundle
FIRST_BYTES = 30  # requests in a run

Read: TypeAlias = Callable[["Meter"], Awaitable[None]]
Reader: TypeAlias = Callable[[str], AbstractAsyncContextManager[Read]]


class Load(Struct, frozen=True):
    """So many streams of so many events, that far apart, or in a bundle if that is 0."""

    streams: int
    chunks: int
    microseconds: int

    @property
    def title(self) -> str:
        """How it is called in the table."""
        return f"{self.streams} {'one by one' if self.microseconds else 'in bundles'}"


LOADS = (
    Load(1, 800, 1_000),
    Load(100, 30, 40_000),
    Load(500, 15, 100_000),
    Load(1, 6_000, 0),
    Load(100, 100, 0),
    Load(500, 30, 0),
)
QUICK_LOADS = (Load(1, 300, 1_000), Load(100, 15, 40_000), Load(1, 3_000, 0), Load(100, 60, 0))


class Meter:
    """Takes times: of the CPU from when all streams have begun until the last has ended, and of the
    clock until a stream's first piece."""

    def __init__(self, load: Load) -> None:
        self._to_begin = self._to_end = load.streams
        self._in_bundles = not load.microseconds
        self._all_began = asyncio.Event()
        self._began_at = 0.0
        self._made_at = time.perf_counter()
        self.cpu_seconds = 0.0
        self.first_byte_seconds = 0.0

    async def begin(self) -> None:
        """Tell that a stream has given its first piece, and wait for the others."""
        self.first_byte_seconds = time.perf_counter() - self._made_at
        self._to_begin -= 1
        if not self._to_begin:
            if self._in_bundles:
                time.sleep(BUNDLE_SECONDS)  # noqa: ASYNC251 -- a loop that is busy is what is meant
            self._began_at = time.process_time()
            self._all_began.set()
        await self._all_began.wait()

    def end(self) -> None:
        """Tell that a stream has ended."""
        self._to_end -= 1
        if not self._to_end:
            self.cpu_seconds = time.process_time() - self._began_at


class FirstByteMeter(Meter):
    """Lets a reader leave after the first piece."""

    def __init__(self) -> None:
        super().__init__(Load(1, 1, 1))

    async def begin(self) -> None:
        """Take the time, and let the reader go."""
        await super().begin()
        raise _Enough


class _Enough(Exception):
    pass


@contextmanager
def running_server() -> Iterator[str]:
    """Run the server, and give its address."""
    command = [sys.executable, str(SERVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


@asynccontextmanager
async def readline(url: str) -> AsyncIterator[Read]:
    """Read as a plain asyncio program does: line by line, with no thought of what they say."""

    async def read(meter: Meter) -> None:
        reader, writer = await asyncio.open_connection(*_address(url))
        try:
            writer.write(_post(url))
            await reader.readuntil(b"\r\n\r\n")
            await reader.readline()
            await meter.begin()
            while await reader.readline() != b"0\r\n":
                pass
            meter.end()
        finally:
            writer.close()

    yield read


class _Counting(asyncio.Protocol):
    def __init__(self) -> None:
        self.bytes = 0
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        self.began.set()
        if data.endswith(b"0\r\n\r\n"):
            self.ended.set()


@asynccontextmanager
async def bare_protocol(url: str) -> AsyncIterator[Read]:
    """Read with as little as asyncio allows: count the bytes."""
    loop = asyncio.get_running_loop()

    async def read(meter: Meter) -> None:
        transport, counting = await loop.create_connection(_Counting, *_address(url))
        transport.write(_post(url))
        await counting.began.wait()
        await meter.begin()
        await counting.ended.wait()
        meter.end()
        transport.close()

    yield read


def _address(url: str) -> tuple[str, int]:
    host, _, port = urlsplit(url).netloc.partition(":")
    return host, int(port)


def _post(url: str) -> bytes:
    return f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


@asynccontextmanager
async def official(url: str) -> AsyncIterator[Read]:
    """Read with the official client."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url.removesuffix("/chat/completions"), api_key="x") as client:

        async def read(meter: Meter) -> None:
            stream = await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            async with stream:
                await anext(stream)
                await meter.begin()
                async for _ in stream:
                    pass
                meter.end()

        yield read


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Read]:
    """Read with the provider that speaks the protocol of that address."""
    provider: OpenAICompatible | Ollama
    if url.endswith(OLLAMA):
        provider = Ollama(name="ours", base_url=url.removesuffix(OLLAMA))
    else:
        provider = OpenAICompatible(name="ours", base_url=url.removesuffix("/chat/completions"))
    async with aclosing(provider):
        yield lambda meter: _read_pieces(provider, meter)


async def _read_pieces(model: ChatModel, meter: Meter) -> None:
    async with model.stream(REQUEST) as pieces:
        await anext(pieces)
        await meter.begin()
        async for piece in pieces:
            if isinstance(piece, End):
                meter.end()


async def cpu_per_chunk(reader: Reader, server: str, path: str, load: Load) -> float:
    """Return the microseconds of CPU that an event takes."""
    url = f"{server}/{load.streams}/{load.chunks}/{load.microseconds}{path}"
    meter = Meter(load)
    async with reader(url) as read, asyncio.TaskGroup() as group:
        for _ in range(load.streams):
            group.create_task(_coroutine(read, meter))
    return meter.cpu_seconds / (load.streams * (load.chunks - 1)) * 1e6


async def _coroutine(read: Read, meter: Meter) -> None:
    await read(meter)


async def first_byte(reader: Reader, server: str, path: str) -> float:
    """Return the milliseconds from a request to its first piece, the median of some."""
    taken: list[float] = []
    async with reader(f"{server}/1/1/1{path}") as read:
        for _ in range(FIRST_BYTES + 1):
            meter = FirstByteMeter()
            try:
                await read(meter)
            except _Enough:
                taken.append(meter.first_byte_seconds * 1000)
    return median(taken[1:])  # the first one has to set up what the others use


def measure(quick: bool) -> list[Figure]:
    """Measure all loads, and the first byte."""
    with running_server() as server:
        figures = [
            figure
            for load in (QUICK_LOADS if quick else LOADS)
            for figure in _measure_load(server, load)
        ]
        return [*figures, *_measure_first_byte(server)]


def _measure_load(server: str, load: Load) -> list[Figure]:
    def contender(reader: Reader, path: str) -> Callable[[], float]:
        return lambda: asyncio.run(cpu_per_chunk(reader, server, path, load))

    with_official = load.streams <= MAX_STREAMS_OF_OFFICIAL
    sse, sse_ours, lines, lines_ours, bare, *client = interleaved(
        5,
        contender(readline, OPENAI),
        contender(ours, OPENAI),
        contender(readline, OLLAMA),
        contender(ours, OLLAMA),
        contender(bare_protocol, OPENAI),
        *([contender(official, OPENAI)] if with_official else []),
    )
    most = MAX_RATIOS[load.streams]
    return [
        _beside(f"OpenAI, {load.title}", sse_ours, "readline", sse, most),
        _beside(f"Ollama, {load.title}", lines_ours, "readline", lines, most),
        _beside(f"OpenAI, {load.title}", sse_ours, "bare Protocol", bare, None),
        *(
            figure
            for cost in client
            for figure in (
                _beside(
                    f"OpenAI, {load.title}", sse_ours, "openai client", cost, MAX_RATIO_TO_OFFICIAL
                ),
                _beside(f"readline, {load.title}", sse, "openai client", cost, None),
            )
        ),
    ]


def _beside(name: str, value: float, limit_name: str, limit: float, target: float | None) -> Figure:
    return Figure(
        name=name,
        value=value,
        unit="µs CPU/event",
        limit_name=limit_name,
        limit=limit,
        ratio=value / limit,
        target=target,
    )


def _measure_first_byte(server: str) -> list[Figure]:
    def contender(reader: Reader, path: str) -> Callable[[], float]:
        return lambda: asyncio.run(first_byte(reader, server, path))

    sse, sse_ours, lines, lines_ours, client = interleaved(
        5,
        contender(readline, OPENAI),
        contender(ours, OPENAI),
        contender(readline, OLLAMA),
        contender(ours, OLLAMA),
        contender(official, OPENAI),
    )
    return [
        _added("OpenAI", sse_ours - sse, MAX_FIRST_BYTE_MILLISECONDS),
        _added("Ollama", lines_ours - lines, MAX_FIRST_BYTE_MILLISECONDS),
        _added("openai client", client - sse, None),
    ]


def _added(name: str, milliseconds: float, target: float | None) -> Figure:
    return Figure(
        name=f"{name}, first byte later than readline's",
        value=milliseconds,
        unit="ms",
        limit_name="allowed",
        limit=MAX_FIRST_BYTE_MILLISECONDS,
        ratio=milliseconds / MAX_FIRST_BYTE_MILLISECONDS,
        target=None if target is None else 1.0,
    )
