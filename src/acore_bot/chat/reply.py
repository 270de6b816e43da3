"""An answer that becomes visible while it grows, as one message or as many as it needs.

Only the newest text that should be visible is kept; a writer of its own puts it where it belongs
whenever it may. So a slow place costs no memory and holds nobody up, and pacing is the place's own
matter: its `ready` returns when the next edit is allowed.

A part that is full is edited for the last time, and the next one is posted below it. The newest
message ends in a cursor until the answer is complete, so that half an answer, left behind by a
crash, can be told from a whole one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from acore_bot.chat.markdown import Pages, Part
from acore_bot.contracts import ReplyTarget
from acore_bot.messages import Control

CURSOR = " ▌"
MAX_PARTS = 10
FILE_NAME = "answer.md"
ALL_IN_FILE = "The answer is long; all of it is in the file."


async def at_once() -> None:
    """Return without waiting for anything."""


class _View(NamedTuple):
    """What the newest message should show. `part` is set if that is a part which is full, `is_last`
    if the answer ends here, `is_file` if that is in a file, and `is_held` if nothing more is to be
    shown before that."""

    text: str
    part: Part | None = None
    is_last: bool = False
    is_file: bool = False
    is_held: bool = False

    @property
    def is_final(self) -> bool:
        """True if no edit of the message follows."""
        return self.is_last or self.part is not None


class Reply:
    """Shows one growing answer, as soon as `its_turn` returns. `on_post`, which may be set later,
    learns the id of each message as soon as it is visible.

    Where messages have no greatest length, the text is shown as it is, in one.
    """

    def __init__(
        self,
        target: ReplyTarget,
        on_post: Callable[[int], None] = lambda _: None,
        *,
        its_turn: Callable[[], Awaitable[object]] = at_once,
    ) -> None:
        self.on_post = on_post
        self._its_turn = its_turn
        self._target = target
        self._placeholder = ""
        self._source: str | Callable[[], str] = ""
        self._controls: tuple[Control, ...] = ()
        self._is_final = False
        self._changed, self._ended = asyncio.Event(), asyncio.Event()
        self._ids: list[int] = []
        self._message_id: int | None = None  # of the message that grows
        self._shown = ""  # in it
        self._said = ""  # in the parts that are full
        self._pages = None if target.max_length is None else Pages(target.max_length)

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

    def wait(self, text: str) -> None:
        """Let this be visible until there is text of the answer. Raises what the place raised."""
        self._placeholder = text
        self._tell_writer()

    def show(self, text: str | Callable[[], str]) -> None:
        """Let this be the visible text as soon as it may. A callable is asked for it then: a long
        answer is joined as often as it is shown, not at each word. Raises what the place raised."""
        self._source = text
        self._tell_writer()

    @property
    def _newest(self) -> str:
        return self._source if isinstance(self._source, str) else self._source()

    def _tell_writer(self) -> None:
        if self._writer.done():
            self._writer.result()
        self._changed.set()

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of its messages so far, in order."""
        return tuple(self._ids)

    async def finish(self, text: str, controls: Sequence[Control] = ()) -> tuple[int, ...]:
        """Show the final text and return the ids of its messages, in order. If it does not continue
        what was shown, it replaces the newest message. The last one offers `controls`. Raises what
        the place raised."""
        self._source, self._controls = text, tuple(controls)
        self._is_final = True
        self._ended.set()
        self._changed.set()
        return await self._writer

    async def _write(self) -> tuple[int, ...]:
        async with self._target.typing():
            await self._its_turn()
            while not self._look().text and not self._is_final:
                await self._next_change()
        while not await self._advance():
            pass
        return self.ids

    async def _advance(self) -> bool:
        """Show what is new and go on to the next message, or wait. True if all is shown."""
        view = self._look()
        # Without a cursor, only being final tells a whole answer from half of it.
        is_news = view.text != self._shown or (view.is_last and self._pages is None)
        if view.text and is_news:
            view = await self._put(view)
        if view.is_last:
            return True
        if view.part:
            self._turn(view.part)
        elif view.is_held:
            async with self._target.typing():
                while not self._is_final:
                    await self._next_change()
        else:
            await self._next_change()
        return False

    async def _next_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _look(self) -> _View:
        newest = self._newest
        if self._pages is None:
            is_blank = not newest or newest.isspace()
            return _View(self._placeholder if is_blank else newest, is_last=self._is_final)
        text = newest.strip()
        if not text:
            return self._look_at_placeholder()
        if not text.startswith(self._said):
            self._pages, self._said = Pages(self._pages.limit), ""
        part = self._pages.cut(text, is_final=self._is_final)
        if part and self._is_final and self._number == MAX_PARTS:
            return _View(ALL_IN_FILE, is_last=True, is_file=True)
        if part and (self._is_final or self._number < MAX_PARTS - 1):
            return _View(part.shown, part)
        if self._is_final:
            return _View(self._pages.rest(text), is_last=True)
        # The last message before the file keeps its cursor: nothing else says that more will come.
        return _View(self._pages.preview(text, CURSOR), is_held=part is not None)

    def _look_at_placeholder(self) -> _View:
        text = "" if self._is_final or not self._placeholder else self._placeholder + CURSOR
        return _View(text, is_last=self._is_final)

    @property
    def _number(self) -> int:
        """Which message grows now, or will be posted next, from 1 on."""
        return len(self._ids) + (self._message_id is None)

    async def _put(self, view: _View) -> _View:
        """Make a view visible, or a newer one if it has to wait; return which it was."""
        target, offered = self._target, self._controls
        if view.is_file:
            file = (FILE_NAME, self._newest)
            self._learn(await target.attach(view.text, *file, controls=offered))
        elif self._message_id is None:
            controls = offered if view.is_last else ()
            self._learn(await target.post(view.text, final=view.is_final, controls=controls))
        else:
            await self._ready(self._message_id, is_final=view.is_final)
            view = self._look()
            controls = self._controls if view.is_last else ()
            await target.edit(self._message_id, view.text, final=view.is_final, controls=controls)
        self._shown = view.text
        return view

    async def _ready(self, message_id: int, *, is_final: bool) -> None:
        """Wait until a message may be edited; if the answer ends meanwhile, as a final one."""
        if not is_final:
            asking = asyncio.create_task(self._target.ready(message_id))
            ending = asyncio.create_task(self._ended.wait())
            try:
                await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_ready = asking.done()
                await _end(asking, ending)
            if is_ready:
                return asking.result()
        return await self._target.ready(message_id, final=True)

    def _learn(self, message_id: int) -> None:
        self._message_id = message_id
        self._ids.append(message_id)
        self.on_post(message_id)

    def _turn(self, part: Part) -> None:
        assert self._pages
        self._pages.turn(part)
        self._said += part.text
        self._message_id, self._shown = None, ""


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
