"""A reply target that records everything that it is asked to show, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias

from msgspec import Struct

from acore_bot.errors import FileUnreadable
from acore_bot.messages import Attachment


class Typing(Struct, frozen=True):
    """Typing began, or ended."""

    is_on: bool


class Posted(Struct, frozen=True):
    """A message was posted."""

    id: int
    text: str
    final: bool


class Edited(Struct, frozen=True):
    """A message was edited."""

    id: int
    text: str
    final: bool


class Attached(Struct, frozen=True):
    """A message with a file was posted."""

    id: int
    text: str
    file_name: str
    content: str


Step: TypeAlias = Typing | Posted | Edited | Attached


class RecordingTarget:
    """Keeps `steps`, and in `asked` the id and finality of each edit that wanted to know when.

    Clear a gate to hold every post or edit open, after it was recorded, or every edit before it;
    set a failure to have it raised instead of recorded. `files` are what attachments hold, by id.
    """

    def __init__(self, *, first_id: int = 1_000, max_length: int | None = None) -> None:
        self.max_length = max_length
        self.steps: list[Step] = []
        self.asked: list[tuple[int, bool]] = []
        self.files: dict[int, bytes] = {}
        self.post_gate = _opened()
        self.ready_gate = _opened()
        self.edit_gate = _opened()
        self.post_failure: Exception | None = None
        self.edit_failure: Exception | None = None
        self._ids = count(first_id)
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Record the beginning and the end."""
        self._record(Typing(is_on=True))
        try:
            yield
        finally:
            self._record(Typing(is_on=False))

    async def post(self, text: str, *, final: bool = False) -> int:
        """Record a new message and return the next id."""
        if self.post_failure:
            raise self.post_failure
        message_id = next(self._ids)
        self._record(Posted(message_id, text, final))
        await self.post_gate.wait()
        return message_id

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Note who asks."""
        self.asked.append((message_id, final))
        self._changed.set()
        await self.ready_gate.wait()

    async def edit(self, message_id: int, text: str, *, final: bool = False) -> None:
        """Record an edit."""
        if self.edit_failure:
            raise self.edit_failure
        self._record(Edited(message_id, text, final))
        await self.edit_gate.wait()

    async def attach(self, text: str, file_name: str, content: str) -> int:
        """Record a new message with a file and return the next id."""
        message_id = next(self._ids)
        self._record(Attached(message_id, text, file_name, content))
        return message_id

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds, if there is one of that id."""
        try:
            return self.files[attachment.id]
        except KeyError:
            raise FileUnreadable(f"{attachment.name} is not there.") from None

    async def until(self, is_enough: Callable[[list[Step]], bool]) -> None:
        """Wait until the steps are enough."""
        while not is_enough(self.steps):
            self._changed.clear()
            await self._changed.wait()

    async def until_shown(self, text: str) -> None:
        """Wait until exactly this text was posted or edited in."""
        await self.until(lambda _: text in self.texts)

    @property
    def texts(self) -> list[str]:
        """Every text that was shown, in order."""
        return [step.text for step in self.steps if not isinstance(step, Typing)]

    @property
    def visible(self) -> dict[int, str]:
        """What a person sees now: the newest text of each message."""
        return {step.id: step.text for step in self.steps if not isinstance(step, Typing)}

    def _record(self, step: Step) -> None:
        self.steps.append(step)
        self._changed.set()


def _opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
