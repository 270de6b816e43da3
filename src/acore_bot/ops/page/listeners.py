"""Who has the page open: each is sent the whole picture once, and then every change."""

import logging
from asyncio import Queue, QueueFull, Transport
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from acore_bot.ops.page.picture import Picture

log = logging.getLogger(__name__)

MAX_LISTENERS = 16
MAX_UNREAD = 4


class Listeners:
    """Hands each change to all, encoded once. Whoever does not read is let go, and may come back
    for a whole picture, so nobody's slowness is kept in memory."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._open: set[_Listener] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with a stream of events, until the browser or the page closes."""
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        with self._place(request) as listener:
            try:
                await response.prepare(request)
                while (message := await listener.unread.get()) is not None:
                    await response.write(message)
            except ConnectionError:
                log.debug("A browser closed the operator's page, or was too slow for it.")
        return response

    def tell(self) -> None:
        """Look for changes and hand them on. Without listeners, nothing is asked."""
        if not self._open:
            return
        message = self._picture.refresh()
        for listener in tuple(self._open):
            listener.offer(message)

    def close(self) -> None:
        """Let all go."""
        for listener in tuple(self._open):
            listener.drop()

    @contextmanager
    def _place(self, request: web.Request) -> Iterator["_Listener"]:
        if len(self._open) >= MAX_LISTENERS:
            raise web.HTTPServiceUnavailable(
                text=f"The page is open {MAX_LISTENERS} times already. Close one, then try again.",
                headers={"Retry-After": "5"},
            )
        if not self._open:
            self._picture.refresh()
        listener = _Listener(request.transport)
        listener.offer(self._picture.whole())
        self._open.add(listener)
        try:
            yield listener
        finally:
            self._open.discard(listener)


class _Listener:
    def __init__(self, transport: Transport | None) -> None:
        self.unread: Queue[bytes | None] = Queue(MAX_UNREAD)
        self._transport = transport

    def offer(self, message: bytes) -> None:
        try:
            self.unread.put_nowait(message)
        except QueueFull:
            self.drop()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # closing would wait for the browser to read
        if not self.unread.full():
            self.unread.put_nowait(None)
