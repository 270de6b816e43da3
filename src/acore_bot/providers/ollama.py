"""Ollama over its native protocol, since only that one can set the context window.

Left to itself Ollama takes a small window and drops the oldest messages without a word. So the
window is always set here, to one value per model, because another one would reload the model.
"""

import asyncio
import re
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from aiohttp import ClientResponse
from msgspec import Raw, Struct

from acore_bot.contracts import PerformanceStats
from acore_bot.errors import BrokenStream, ConfigurationError
from acore_bot.messages import (
    Ability,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    FinishReason,
    ModelInfo,
    StreamLimits,
    Usage,
)
from acore_bot.providers.answer import open_answer
from acore_bot.providers.border import Border
from acore_bot.providers.http import HttpClient, read_complaint
from acore_bot.providers.performance import PerformanceLog
from acore_bot.providers.thinking import ThinkingFilter
from acore_bot.providers.wire import NDJSONDecoder

Think: TypeAlias = bool | Literal["low", "medium", "high", "max"]

_DEFAULT_PORT = 11434
_DEFAULT_WINDOW = 8192  # of what a model was trained for, as much as most machines can hold
_DESCRIPTION_SECONDS = 300.0
_ABILITIES: dict[str, Ability] = {"vision": "vision", "tools": "tools", "thinking": "thinking"}


def normalise_host(text: str) -> str:
    """Return the address to dial for what `OLLAMA_HOST` may hold, which is also what to listen on.

    A host, a port, both, or a whole URL. Raises `ConfigurationError` if it is none of these.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    if rest.count(":") > 1 and not rest.startswith("[") and "@" not in rest:
        rest = f"[{rest}]"  # a bare IPv6 address
    try:
        parts = urlsplit(f"{scheme or 'http'}://{rest}")
        port = parts.port
    except ValueError:
        # The text itself is not told, since it may hold a password.
        raise ConfigurationError(
            "The address of the Ollama server is not one.",
            remedy="Write it like 127.0.0.1:11434 or http://host:11434.",
        ) from None
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104
        parts.hostname or "", parts.hostname or ""
    )
    user, at, _ = parts.netloc.rpartition("@")
    if port is None and not separator:
        port = _DEFAULT_PORT  # with a scheme, its own port holds, as for Ollama itself
    where = f"[{host}]" if ":" in host else host
    where = where if port is None else f"{where}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{user}{at}{where}{parts.path.rstrip('/')}{query}"


# Made and dropped for each line, and never part of a cycle: the collector need not know of them.
class _Said(Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Raw] | None = None


class _Line(Struct, gc=False):
    model: str | None = None
    message: _Said | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int = 0  # a count of zero is left out
    eval_count: int = 0
    error: Raw = Raw()


class _Show(Struct):
    capabilities: list[str] | None = None
    model_info: dict[str, Raw] | None = None
    parameters: str | None = None


class _Loaded(Struct):
    name: str = ""
    model: str = ""
    context_length: int = 0


class _Processes(Struct):
    models: list[_Loaded] | None = None


class _Listed(Struct):
    name: str


class _Tags(Struct):
    models: list[_Listed] | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


class LineDecoder:
    """Decodes one answer of `/api/chat`, as an `AnswerDecoder`."""

    def __init__(self, border: Border) -> None:
        self.finish_reason: FinishReason | None = None
        self.complete = False
        self.characters = 0
        self._lines = NDJSONDecoder()
        self._border = border
        self._model = border.model
        self._thinking = ThinkingFilter()
        self._usage: Usage | None = None
        self._asks_for_tools = False

    def feed(self, data: bytes, pieces: deque[Delta | End]) -> None:
        """Append the deltas that `data` completes. Raises `ModelError`."""
        try:
            payloads = self._lines.feed(data)
        except BrokenStream as fault:
            raise self._border.error(BrokenStream, fault.detail) from fault
        for payload in payloads:
            try:
                line = _decode_line(payload)
            except (ValueError, RecursionError) as fault:
                raise self._border.error(BrokenStream, f"not a line: {fault}") from fault
            self._take(line, payload, pieces)

    def close(self, pieces: deque[Delta | End]) -> None:
        """Append the deltas that were held back. Raises `ModelError`."""
        for payload in self._lines.close():
            try:
                line = _decode_line(payload)
            except (ValueError, RecursionError):  # cut in the midst of a line
                continue
            self._take(line, payload, pieces)
        text, reasoning = self._thinking.close()
        if text or reasoning:
            pieces.append(Delta(text, reasoning))

    def end(self, finish_reason: FinishReason) -> End:
        """Return the last piece."""
        return End(
            finish_reason=finish_reason,
            usage=self._usage,
            provider=self._border.provider,
            model=self._model,
        )

    def _take(self, line: _Line, payload: bytes, pieces: deque[Delta | End]) -> None:
        if line.error:
            raise self._border.refusal(200, {}, payload)
        if line.message is not None:
            self._say(line.message, pieces)
        if line.done:
            self.complete = True
            self.finish_reason = self._why(line)
            self._model = line.model or self._model
            self._usage = Usage(
                prompt_tokens=line.prompt_eval_count, completion_tokens=line.eval_count
            )

    def _why(self, line: _Line) -> FinishReason:
        if line.done_reason == "length":
            return "length"
        return "tool_calls" if self._asks_for_tools else "stop"  # Ollama has no word for it

    def _say(self, said: _Said, pieces: deque[Delta | End]) -> None:
        text, reasoning = said.content or "", said.thinking or ""
        self.characters += len(text) + len(reasoning)
        if said.tool_calls:  # no one runs them, but without a count they could go on for ever
            self.characters += sum(len(memoryview(call)) for call in said.tool_calls)
            self._asks_for_tools = True
        if text and not self._thinking.settled:
            text, thought = self._thinking.feed(text)
            reasoning += thought
        if text or reasoning:
            pieces.append(Delta(text, reasoning))


class _Known(Struct):
    """What is known of one model for the provider's life, and its description for a while."""

    window: int
    abilities: frozenset[Ability]
    answered: bool = False
    info: ModelInfo | None = None
    info_until: float = 0.0


class Ollama:
    """A `Provider` over Ollama's own protocol.

    `base_url` is written as `OLLAMA_HOST` is. `context_tokens` is the window for every model; None
    takes the model's own setting, else what it was trained for, up to 8,192. `think` goes to those
    models only that can. `options` are Ollama's; the window and the token limit are not among them.
    `local` says whether what is sent there stays with the owner; None takes it that this holds of
    this machine only.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str = "http://127.0.0.1:11434",
        context_tokens: int | None = None,
        keep_alive: str | int = "5m",
        think: Think | None = None,
        options: Mapping[str, object] = {},
        headers: Mapping[str, str] = {},
        limits: StreamLimits | None = None,
        local: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = HttpClient(
            provider=name,
            base_url=normalise_host(base_url),
            headers=headers,
            limits=limits,
            local=local,
        )
        self._chat_url = self._client.url("api/chat")
        self._context_tokens = context_tokens
        self._keep_alive = keep_alive
        self._think = think
        self._options = dict(options)
        self._clock = clock
        self._performance = PerformanceLog(clock)
        self._known: dict[str, _Known] = {}  # by model; only models that the server has
        self._looking_up = asyncio.Lock()

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Delta | End]]:
        """Ask, and open the stream of the answer. Raises `ModelError`."""
        with self._performance.measured(request.model) as measurement:
            border = self._client.border(request.model)
            known = await self._know(request.model, border, local_only=request.is_local_only)
            started = asyncio.get_running_loop().time()
            response = await self._ask(request, known, border)
            decoder = LineDecoder(border)
            async with open_answer(
                response,
                decoder,
                self._client.limits,
                border,
                measurement,
                started=started,
                deadline=request.deadline,
            ) as answer:
                yield answer
        if decoder.complete and not known.answered:
            known.answered, known.info = True, None  # now the server can tell the window in force

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Tell the window that we set, or the smaller one in force once it has answered.

        Asks the server every 5 minutes. Raises `ModelError`, `ModelNotFound` for an unknown model.
        """
        border = self._client.border(model)
        known = await self._know(model, border, local_only=local_only)
        if known.info is None or self._clock() >= known.info_until:
            window = known.window
            if known.answered:
                window = await self._window_in_force(model, window, border, local_only=local_only)
            known.info = ModelInfo(context_tokens=window, abilities=known.abilities)
            known.info_until = self._clock() + _DESCRIPTION_SECONDS
        return known.info

    async def list_models(self) -> tuple[str, ...]:
        """Name the models that were pulled. Raises `ModelError`."""
        url, border = self._client.url("api/tags"), self._client.border("")
        tags = await self._client.fetch(url, _Tags, border, local_only=False)
        return tuple(listed.name for listed in tags.models or ())

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how it has done since it was made or its metrics were reset."""
        return self._performance.stats()

    def reset_metrics(self) -> None:
        """Begin to measure anew."""
        self._performance.reset()

    async def aclose(self) -> None:
        """Close the connections. May be called more than once."""
        await self._client.aclose()

    async def _ask(self, request: ChatRequest, known: _Known, border: Border) -> ClientResponse:
        body = msgspec.json.encode(self._body(request, known))
        response = await self._client.open_stream(
            self._chat_url, body, border, request.deadline, local_only=request.is_local_only
        )
        if response.status == 200:
            return response
        complaint = await read_complaint(response)
        raise border.refusal(response.status, response.headers, complaint)

    def _body(self, request: ChatRequest, known: _Known) -> dict[str, object]:
        options = {**self._options, "num_ctx": known.window, "num_predict": request.max_tokens}
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.seed is not None:
            options["seed"] = request.seed
        body: dict[str, object] = {
            "model": request.model,
            "messages": [_message(said) for said in request.messages],
            "stream": True,
            "truncate": False,  # rather an error than messages dropped without a word
            "shift": False,  # and rather a short answer than a beginning forgotten
            "keep_alive": self._keep_alive,
            "options": options,
        }
        if self._think is not None and "thinking" in known.abilities:
            body["think"] = self._think
        return body

    async def _know(self, model: str, border: Border, *, local_only: bool) -> _Known:
        async with self._looking_up:
            if model not in self._known:
                show = await self._client.fetch(
                    self._client.url("api/show"),
                    _Show,
                    border,
                    body=msgspec.json.encode({"model": model}),
                    local_only=local_only,
                )
                self._known[model] = _Known(
                    window=self._context_tokens or _window(show),
                    abilities=frozenset(
                        _ABILITIES[word] for word in show.capabilities or () if word in _ABILITIES
                    ),
                )
        return self._known[model]

    async def _window_in_force(
        self, model: str, window: int, border: Border, *, local_only: bool
    ) -> int:
        url = self._client.url("api/ps")
        processes = await self._client.fetch(url, _Processes, border, local_only=local_only)
        names = {model, f"{model}:latest"}
        for loaded in processes.models or ():
            if loaded.context_length and names & {loaded.name, loaded.model}:
                return min(window, loaded.context_length)
        return window


def _message(said: ChatMessage) -> dict[str, object]:
    message: dict[str, object] = {"role": said.role, "content": said.text}
    if said.images:
        message["images"] = [b64encode(image.data).decode() for image in said.images]
    return message


def _window(show: _Show) -> int:
    """Return the model's own setting, else what it was trained for, within reason."""
    if setting := re.search(r"^num_ctx\s+(\d+)", show.parameters or "", re.MULTILINE):
        return int(setting[1])
    facts = show.model_info or {}
    architecture = bytes(facts.get("general.architecture", b"")).decode().strip('"')
    trained = bytes(facts.get(f"{architecture}.context_length", b""))
    return min(int(trained), _DEFAULT_WINDOW) if trained.isdigit() else _DEFAULT_WINDOW
