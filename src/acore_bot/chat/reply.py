"""An answer that becomes visible while it grows.

Only the newest text that should be visible is kept; a writer of its own puts it where it belongs
whenever it may. So a slow place costs no memory and holds nobody up, and pacing is the place's own
matter: its `edit` returns when the next one is allowed.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from acore_bot.contracts import ReplyTarget


class Reply:
    """Shows one growing answer. `on_post` learns its id as soon as it is visible."""

    def __init__(self, target: ReplyTarget, on_post: Callable[[int], None]) -> None:
        self._target = target
        self._on_post = on_post
        self._newest = ""
        self._is_final = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.cancel()
        await asyncio.wait([self._writer])
        if not self._writer.cancelled():
            self._writer.exception()  # `show` or `finish` raised it, or a worse one is under way

    def show(self, text: str) -> None:
        """Let this be the visible text as soon as it may. Raises what the place raised."""
        if self._writer.done():
            self._writer.result()
        if text and not text.isspace():
            self._newest = text
            self._changed.set()

    async def finish(self, text: str) -> int:
        """Show the final text and return the message's id. Raises what the place raised."""
        self._newest = text
        self._is_final = True
        self._changed.set()
        return await self._writer

    async def _write(self) -> int:
        async with self._target.typing():
            await self._changed.wait()
        self._changed.clear()
        is_final, shown = self._is_final, self._newest
        message_id = await self._target.post(shown, final=is_final)
        self._on_post(message_id)
        while not is_final:
            await self._changed.wait()
            self._changed.clear()
            is_final = self._is_final
            if is_final or self._newest != shown:
                shown = self._newest
                await self._target.edit(message_id, shown, final=is_final)
        return message_id
