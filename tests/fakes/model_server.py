"""A model server on loopback that speaks Ollama's, OpenAI's and OpenRouter's protocols.

It is strict about what it accepts, remembers what it was asked, and can be told to misbehave: an
answer is a sequence of steps (bytes to send, seconds to wait, an event to wait for, an end), so any
byte of it can be late, missing or wrong.
"""

import asyncio
import itertools
import json
import socket
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

Ending: TypeAlias = Literal["close", "reset", "keep"]
Step: TypeAlias = bytes | float | asyncio.Event | Ending

CHAT: Final = "/v1/chat/completions"
OPENROUTER_CHAT: Final = "/api/v1/chat/completions"
OLLAMA_CHAT: Final = "/api/chat"

_OPENAI_FIELDS = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "seed",
}  # fmt: skip
_OPENROUTER_FIELDS = _OPENAI_FIELDS - {"stream_options", "max_tokens"} | {
    "provider", "models", "user",
}  # fmt: skip
_OLLAMA_FIELDS = {
    "model", "messages", "stream", "truncate", "shift", "keep_alive", "options", "think",
    "tools", "format",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One request as it came. `connection` counts from 1, `turn` from 1 within a connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    turn: int


@dataclass
class ModelServer:
    """The server, to be used as an async context manager."""

    model: str = "tiny"
    words: tuple[str, ...] = ("Hello", " there,", " my", " friend.")
    context_tokens: int = 4096
    capabilities: tuple[str, ...] = ("completion", "tools")
    parameters: str = ""
    loaded_context_tokens: int = 2048
    refused_fields: set[str] = field(default_factory=set)
    props: bool = True
    break_reused: int = 0  # how many requests on a reused connection are met by closing it
    asked: list[Asked] = field(default_factory=list)
    open_connections: int = 0
    connections: int = 0
    left_early: int = 0  # how often a client closed while an answer was under way

    def __post_init__(self) -> None:
        self._scripts: defaultdict[str, deque[Iterable[Step]]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def play(self, path: str, *steps: Step) -> None:
        """Answer the next request for a path with these steps. It ends with a clean close."""
        self._scripts[path].append(steps)

    def play_endlessly(self, path: str, head: bytes, *steps: Step) -> None:
        """Answer the next request for a path with a head, then these steps again and again."""
        self._scripts[path].append(itertools.chain([head], itertools.cycle(steps)))

    def bodies(self, path: str) -> list[Any]:
        """Return the bodies that were sent to a path, in order."""
        return [asked.body for asked in self.asked if asked.path == path]

    async def until_idle(self) -> None:
        """Wait until no client is connected."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.open_connections)

    def answer(self, asked: Asked) -> Iterable[Step]:
        """Return the steps of the scripted answer, or of the usual one."""
        if asked.turn > 1 and self.break_reused > 0:
            self.break_reused -= 1
            return ()
        if script := self._scripts[asked.path]:
            return script.popleft()
        return (self._usual(asked), "keep")

    def _usual(self, asked: Asked) -> bytes:
        routes: dict[tuple[str, str], Callable[[], bytes]] = {
            ("POST", CHAT): lambda: self._chat(asked, _OPENAI_FIELDS),
            ("POST", OPENROUTER_CHAT): lambda: self._chat(asked, _OPENROUTER_FIELDS),
            ("GET", "/v1/models"): lambda: reply_json(self._openai_models()),
            ("GET", "/api/v1/models"): lambda: reply_json(self._openrouter_models()),
            ("GET", "/props"): self._props,
            ("POST", OLLAMA_CHAT): lambda: self._ollama_chat(asked),
            ("POST", "/api/show"): lambda: self._show(asked),
            ("GET", "/api/tags"): lambda: reply_json({"models": [self._ollama_model()]}),
            ("GET", "/api/ps"): lambda: reply_json({"models": [self._process()]}),
            ("GET", "/api/version"): lambda: reply_json({"version": "0.12.0"}),
        }
        route = routes.get((asked.method, asked.path))
        return route() if route else openai_error(404, "File Not Found", "not_found_error")

    def _chat(self, asked: Asked, fields: set[str]) -> bytes:
        body = asked.body
        if wrong := _complaint(body, fields - self.refused_fields):
            return openai_error(400, wrong, "invalid_request_error")
        if body["model"] != self.model:
            return openai_error(404, f"no model {body['model']}", "model_not_found")
        routed = fields is _OPENROUTER_FIELDS
        if not body.get("stream"):
            return reply_json(completion(self.words, model=self.model))
        tells_usage = routed or body.get("stream_options", {}).get("include_usage", False)
        events = completion_events(
            self.words, model=self.model, usage=tells_usage, cost=0.00095 if routed else None
        )
        if routed:
            head = stream_head("text/event-stream", {"X-Generation-Id": "gen-1"})
            return head + chunked([b": OPENROUTER PROCESSING\n\n", *events])
        return stream_head("text/event-stream") + chunked(events)

    def _openai_models(self) -> object:
        return {
            "object": "list",
            "data": [{"id": self.model, "object": "model", "created": 1, "owned_by": "test"}],
        }

    def _openrouter_models(self) -> object:
        return {
            "data": [
                {
                    "id": self.model,
                    "name": "Tiny",
                    "context_length": self.context_tokens,
                    "architecture": {"input_modalities": ["text", "image"]},
                    "top_provider": {"context_length": self.context_tokens - 96},
                    "supported_parameters": ["tools", "reasoning", "seed"],
                    "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
                }
            ]
        }

    def _props(self) -> bytes:
        if not self.props:
            return openai_error(404, "File Not Found", "not_found_error")
        settings = {"n_ctx": self.context_tokens}
        return reply_json(
            {"default_generation_settings": settings, "modalities": {"vision": False}}
        )

    def _ollama_chat(self, asked: Asked) -> bytes:
        body = asked.body
        if wrong := _complaint(body, _OLLAMA_FIELDS):
            return reply_json({"error": wrong}, status=400)
        if body["model"] != self.model:
            return reply_json({"error": f"model '{body['model']}' not found"}, status=404)
        if body.get("think") and "thinking" not in self.capabilities:
            return reply_json({"error": f'"{self.model}" does not support thinking'}, status=400)
        lines = chat_lines(self.words, model=self.model)
        if body.get("stream", True):
            return stream_head("application/x-ndjson") + chunked(lines)
        whole = json.loads(lines[-1])
        whole["message"]["content"] = "".join(self.words)
        return reply_json(whole)

    def _show(self, asked: Asked) -> bytes:
        if asked.body.get("model") != self.model:
            return reply_json({"error": f"model '{asked.body.get('model')}' not found"}, status=404)
        facts = {"general.architecture": "llama", "llama.context_length": self.context_tokens}
        return reply_json(
            {
                "capabilities": list(self.capabilities),
                "model_info": facts,
                "parameters": self.parameters,
                "details": {"family": "llama"},
            }
        )

    def _ollama_model(self) -> dict[str, object]:
        return {"name": self.model, "model": self.model, "size": 1, "digest": "0" * 12}

    def _process(self) -> dict[str, object]:
        return {
            **self._ollama_model(),
            "size_vram": 0,
            "context_length": self.loaded_context_tokens,
        }

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Own a connection's task until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def tell_change(self) -> None:
        """Wake those who wait for a count to change."""
        async with self._changed:
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._received = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._answering = False
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections += 1
        self._server.open_connections += 1
        self._number = self._server.connections
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._server.adopt(self._task)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open_connections -= 1
        if self._answering and not self._leaving:
            self._server.left_early += 1
        self._task.cancel()
        self._server.adopt(asyncio.get_running_loop().create_task(self._server.tell_change()))

    async def _serve(self) -> None:
        turn = 0
        try:
            while True:
                turn += 1
                asked = await self._read_request(turn)
                self._server.asked.append(asked)
                self._answering = True
                if await self._perform(self._server.answer(asked)) != "keep":
                    return
                self._answering = False
        finally:
            self._leaving = True
            self._transport.close()

    async def _read_request(self, turn: int) -> Asked:
        await self._until(lambda: b"\r\n\r\n" in self._received)
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, _version = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {key.lower(): value.strip() for key, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        self._received[:] = rest
        await self._until(lambda: len(self._received) >= length)
        raw = bytes(self._received[:length])
        del self._received[:length]
        body = json.loads(raw) if raw else None
        return Asked(method, path, headers, body, self._number, turn)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._news.clear()
            await self._news.wait()

    async def _perform(self, steps: Iterable[Step]) -> Ending:
        for step in steps:
            if self._transport.is_closing():  # an endless script would never let the loop notice
                return "close"
            match step:
                case bytes():
                    self._transport.write(step)
                    await self._writable.wait()
                case float():
                    await asyncio.sleep(step)
                case asyncio.Event():
                    await step.wait()
                case "reset":
                    sock: socket.socket = self._transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._leaving = True
                    self._transport.abort()
                    return "reset"
                case _:
                    return step
        return "close"


def _complaint(body: object, fields: set[str]) -> str:
    if not isinstance(body, dict):
        return "missing request body"
    if unknown := sorted(body.keys() - fields):
        return f"Unrecognized request argument supplied: {', '.join(unknown)}"
    messages = body.get("messages")
    if not isinstance(body.get("model"), str) or not isinstance(messages, list):
        return "model and messages are required"
    for message in messages:
        right = message.get("role") in {"system", "user", "assistant"}
        if not right or not isinstance(message.get("content"), str):
            return "a message needs a role and content"
    return ""


def to_json(body: object) -> bytes:
    """Return JSON as real servers write it: in UTF-8, without escapes."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def reply(
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Return a whole answer with its length told."""
    told = {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}
    return _head(status, told) + body


def reply_json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Return a whole answer of JSON."""
    return reply(status, to_json(body), headers=headers)


def openai_error(status: int, message: str, kind: str, **more: object) -> bytes:
    """Return an error as OpenAI and llama.cpp shape it."""
    return reply_json(
        {"error": {"message": message, "type": kind, "code": status, **more}}, status=status
    )


def stream_head(content_type: str, headers: dict[str, str] | None = None) -> bytes:
    """Return the head of an answer that comes in HTTP chunks."""
    told = {"Content-Type": content_type, "Transfer-Encoding": "chunked", **(headers or {})}
    return _head(200, told)


def chunk(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def chunked(parts: Iterable[bytes]) -> bytes:
    """Return parts as HTTP chunks, and the empty one that ends an answer."""
    return b"".join(map(chunk, parts)) + LAST_CHUNK


LAST_CHUNK: Final = b"0\r\n\r\n"


def event(body: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + to_json(body) + b"\n\n"


def piece(**delta: object) -> bytes:
    """Return a chunk of a chat completion as an event."""
    return event({"id": "chat-1", "model": "tiny", "choices": [{"index": 0, "delta": delta}]})


def finish(reason: str | None) -> bytes:
    """Return the chunk that tells the finish reason as an event."""
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return event({"id": "chat-1", "model": "tiny", "choices": [choice]})


DONE: Final = b"data: [DONE]\n\n"


def completion_events(
    words: Iterable[str], *, model: str = "tiny", usage: bool = True, cost: float | None = None
) -> list[bytes]:
    """Return a whole streamed chat completion, event by event."""
    words = tuple(words)
    shape = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def choice(delta: dict[str, str], reason: str | None = None) -> bytes:
        return event({**shape, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    events = [choice({"role": "assistant"}), *(choice({"content": word}) for word in words)]
    events.append(choice({}, "stop"))
    if usage:
        told = _usage(len(words)) | ({} if cost is None else {"cost": cost})
        events.append(event({**shape, "choices": [], "usage": told}))
    return [*events, DONE]


def completion(words: Iterable[str], *, model: str = "tiny") -> dict[str, object]:
    """Return a chat completion that is not streamed."""
    words = tuple(words)
    message = {"role": "assistant", "content": "".join(words)}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(len(words)),
    }


def chat_lines(words: Iterable[str], *, model: str = "tiny", reason: str = "stop") -> list[bytes]:
    """Return a whole streamed answer of Ollama, line by line."""
    words = tuple(words)
    shape = {"model": model, "created_at": "2026-08-21T10:00:00Z"}

    def line(content: str, **more: object) -> bytes:
        message = {"role": "assistant", "content": content}
        return to_json({**shape, "message": message, **more}) + b"\n"

    counts = {"prompt_eval_count": 7, "eval_count": len(words), "total_duration": 1}
    last = line("", done=True, done_reason=reason, **counts)
    return [*(line(word, done=False) for word in words), last]


def _usage(completion_tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 7,
        "completion_tokens": completion_tokens,
        "total_tokens": 7 + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"HTTP/1.1 {status} Told\r\n{lines}\r\n".encode()
