"""Sessions, which outlive their connections, and the connections that serve them.

A session is one growing list of events; the connection that serves it keeps its own index. So
resuming is nothing but attaching another connection at an earlier index.
"""

import asyncio
import importlib
import json
import socket
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.things import Guild

Encode: TypeAlias = Callable[[str], str | bytes]


@dataclass(eq=False)
class Session:
    """What one client may hear on one shard. The n-th event, counted from 1, has sequence n."""

    id: str
    shard: int
    shard_count: int
    intents: int
    events: list[str] = field(default_factory=list)
    connection: "Connection | None" = None

    def push(self, name: str, data: JSON) -> None:
        """Add an event, and send it when there is a connection."""
        event = {"op": 0, "t": name, "s": len(self.events) + 1, "d": data}
        self.events.append(json.dumps(event))
        if self.connection is not None:
            self.connection.wake.set()

    def holds(self, guild: Guild | None) -> bool:
        """Tell whether a guild, or what is private, belongs to this shard."""
        return (guild.id >> 22) % self.shard_count == self.shard if guild else self.shard == 0

    def wants(self, intent_in_guild: int, intent_in_private: int, guild: Guild | None) -> bool:
        """Tell whether an event was subscribed to."""
        return self.holds(guild) and bool(
            self.intents & (intent_in_guild if guild else intent_in_private)
        )


@dataclass(eq=False)
class Connection:
    """One websocket. Whatever is to be sent goes by its writer."""

    websocket: web.WebSocketResponse
    request: web.BaseRequest
    encode: Encode
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: deque[str] = field(default_factory=deque)
    received_at: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    session: Session | None = None
    sent_events: int = 0
    is_silent: bool = False
    close_code: int | None = None

    def send(self, op: int, data: object) -> None:
        """Send something that is no event."""
        self.outbox.append(json.dumps({"op": op, "d": data}))
        self.wake.set()

    def close(self, code: int) -> None:
        """Send all there is, then close."""
        self.close_code = code
        self.wake.set()

    def drop(self) -> None:
        """Reset the TCP connection, which clients see as 1006."""
        if (transport := self.request.transport) is not None:
            reset(transport)

    def attach(self, session: Session, sent_events: int) -> None:
        """Serve a session from the event on that follows the first `sent_events`."""
        if session.connection is not None:
            session.connection.session = None
        self.session, self.sent_events = session, sent_events
        session.connection = self
        self.wake.set()

    async def write(self) -> None:
        """Send until closed."""
        while self.close_code is None or (self.outbox and not self.is_silent):
            await self.wake.wait()
            self.wake.clear()
            for text in self._unsent():
                encoded = self.encode(text)
                if isinstance(encoded, bytes):
                    await self.websocket.send_bytes(encoded)
                else:
                    await self.websocket.send_str(encoded)
        await self.websocket.close(code=self.close_code)

    def _unsent(self) -> Iterator[str]:
        while self.outbox and not self.is_silent:
            yield self.outbox.popleft()
        while self.session and self.sent_events < len(self.session.events) and not self.is_silent:
            self.sent_events += 1
            yield self.session.events[self.sent_events - 1]


def reset(transport: asyncio.BaseTransport) -> None:
    """Break a connection off by a TCP reset: what was not sent is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def encoder(compression: str | None) -> Encode:
    """Return what makes a message out of a text, as the client's `compress` asks."""
    if compression is None:
        return str
    if compression == "zlib-stream":
        deflate = zlib.compressobj()
        return lambda text: deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
    if compression == "zstd-stream":
        # discord.py asks for it where Python has it, which is from 3.14 on.
        zstd: Any = importlib.import_module("compression.zstd").ZstdCompressor()
        return lambda text: bytes(zstd.compress(text.encode(), mode=zstd.FLUSH_BLOCK))
    msg = f"The fake gateway does not speak compress={compression!r}."
    raise ValueError(msg)
