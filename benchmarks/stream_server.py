"""The other side of the streaming benchmark: a process that answers in one write per event.

A path begins `/STREAMS/CHUNKS/MICROSECONDS/`: the first event of an answer comes at once, the
others when so many streams are open, that far apart (0: as fast as it goes, taking turns). Prints
its port and serves until standard input closes. Ollama's protocol where the path says `/api/`.
Every connection serves one answer.
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator

_START_SECONDS = 0.3  # from the last stream's opening on, so that every client stands ready
_SSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_LINES = _SSE.replace(b"text/event-stream", b"application/x-ndjson")


def completion_events(chunks: int) -> Iterator[bytes]:
    """Make the events of a chat completion."""
    shape = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    for number in range(chunks):
        reason = "stop" if number == chunks - 1 else None
        choice = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": reason}
        yield b"data: " + json.dumps({**shape, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def chat_lines(chunks: int) -> Iterator[bytes]:
    """Make the lines of an answer of Ollama."""
    for number in range(chunks):
        message = {"role": "assistant", "content": f" word{number}"}
        line = {"model": "tiny", "created_at": "2026-08-21T10:00:00.000000Z", "message": message}
        is_last = number == chunks - 1
        more = {"done_reason": "stop", "prompt_eval_count": 7, "eval_count": chunks}
        yield json.dumps({**line, "done": is_last, **(more if is_last else {})}).encode() + b"\n"


def framed(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class Benchmarked:
    """Answers every connection once."""

    def __init__(self) -> None:
        self._open: defaultdict[str, int] = defaultdict(int)
        self._ready: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._answers: dict[str, list[bytes]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer, and close."""
        try:
            path = await _read_path(reader)
            if path.endswith("/api/show"):
                writer.write(_whole(b'{"capabilities":["completion"]}'))
            else:
                await self._stream(path, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    async def _stream(self, path: str, writer: asyncio.StreamWriter) -> None:
        streams, chunks, microseconds = (int(part) for part in path.split("/")[1:4])
        head, *rest = self._answer(path, chunks)
        writer.write(head)
        await self._start_together(path, streams)
        loop = asyncio.get_running_loop()
        # Streams that start at the same instant would come in bursts, as no models do.
        due = loop.time() + _START_SECONDS + (id(writer) >> 4) % 1009 / 1009 * microseconds / 1e6
        for event in rest:
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(event)
            due += microseconds / 1e6

    def _answer(self, path: str, chunks: int) -> list[bytes]:
        if path not in self._answers:
            is_ollama = "/api/" in path
            events = chat_lines(chunks) if is_ollama else completion_events(chunks)
            first, *rest = map(framed, events)
            head = _LINES if is_ollama else _SSE
            self._answers[path] = [head + first, *rest, b"0\r\n\r\n"]
        return self._answers[path]

    async def _start_together(self, path: str, streams: int) -> None:
        ready = self._ready[path]
        self._open[path] += 1
        if self._open[path] == streams:
            ready.set()
            del self._open[path], self._ready[path]
        await ready.wait()


async def _read_path(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    await reader.readexactly(int(lengths[0].split(":")[1]) if lengths else 0)
    return head.split(" ")[1]


def _whole(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


async def main() -> None:
    """Serve until standard input closes."""
    server = await asyncio.start_server(Benchmarked().serve, "127.0.0.1", 0, backlog=1024)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        os._exit(0)  # the streams that nobody reads any more are not worth an end in order


if __name__ == "__main__":
    asyncio.run(main())
