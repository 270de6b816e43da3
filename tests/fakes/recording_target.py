"""A reply target that records everything that it is asked to show, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias

from msgspec import Struct

from acore_bot.errors import FileUnreadable
from acore_bot.messages import Attachment, Control


class Typing(Struct, frozen=True):
    """Typing began, or ended."""

    is_on: bool


class Posted(Struct, frozen=True):
    """A message was posted."""

    id: int
    text: str
    final: bool
    controls: tuple[Control, ...] = ()


class Edited(Struct, frozen=True):
    """A message was edited."""

    id: int
    text: str
    final: bool
    controls: tuple[Control, ...] = ()


class Attached(Struct, frozen=True):
    """A message with a file was posted."""

    id: int
    text: str
    file_name: str
    content: str
    controls: tuple[Control, ...] = ()


Step: TypeAlias = Typing | Posted | Edited | Attached


class RecordingTarget:
    """Keeps `steps`, and in `asked` the id and finality of each edit that wanted to know when.

    Clear a gate to hold every post or edit open, after it was recorded, or every edit before it;
    set a failure to have it raised instead of recorded. `files` are what attachments hold, by id;
    `whispers`, `masks`, `threads` and `removed` are what else was asked of it.
    """

    def __init__(self, *, first_id: int = 1_000, max_length: int | None = None) -> None:
        self.max_length = max_length
        self.steps: list[Step] = []
        self.asked: list[tuple[int, bool]] = []
        self.files: dict[int, bytes] = {}
        self.whispers: list[str] = []
        self.masks: list[tuple[str, bytes]] = []
        self.threads: list[str] = []
        self.removed: list[int] = []
        self._replaced: list[int] = []
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

    async def post(
        self, text: str, *, final: bool = False, controls: Sequence[Control] = ()
    ) -> int:
        """Record a new message and return the next id."""
        if self.post_failure:
            raise self.post_failure
        if self._replaced:
            message_id = self._replaced.pop(0)
            self._record(Edited(message_id, text, final, tuple(controls)))
        else:
            message_id = next(self._ids)
            self._record(Posted(message_id, text, final, tuple(controls)))
        await self.post_gate.wait()
        return message_id

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Note who asks."""
        self.asked.append((message_id, final))
        self._changed.set()
        await self.ready_gate.wait()

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),
    ) -> None:
        """Record an edit."""
        if self.edit_failure:
            raise self.edit_failure
        self._record(Edited(message_id, text, final, tuple(controls)))
        await self.edit_gate.wait()

    async def attach(
        self, text: str, file_name: str, content: str, *, controls: Sequence[Control] = ()
    ) -> int:
        """Record a new message with a file and return the next id."""
        message_id = next(self._ids)
        self._record(Attached(message_id, text, file_name, content, tuple(controls)))
        return message_id

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds, if there is one of that id."""
        try:
            return self.files[attachment.id]
        except KeyError:
            raise FileUnreadable(f"{attachment.name} is not there.") from None

    async def whisper(self, text: str) -> None:
        """Keep what one person alone was told."""
        self.whispers.append(text)
        self._changed.set()

    def in_place_of(self, message_ids: Sequence[int]) -> "RecordingTarget":
        """Let the next posts edit these messages."""
        self._replaced += message_ids
        return self

    def speaking_as(self, name: str, picture: bytes) -> "RecordingTarget":
        """Keep under which name and picture it is spoken."""
        self.masks.append((name, picture))
        return self

    async def thread(self, name: str) -> "RecordingTarget":
        """Keep the name of the thread and go on here."""
        self.threads.append(name)
        return self

    async def remove(self, message_ids: Sequence[int]) -> None:
        """Keep which messages were taken away."""
        self.removed += message_ids
        self._changed.set()

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
        shown = {step.id: step.text for step in self.steps if not isinstance(step, Typing)}
        return {id_: text for id_, text in shown.items() if id_ not in self.removed}

    @property
    def controls(self) -> dict[int, tuple[Control, ...]]:
        """What each message offers now, if anything."""
        shown = {step.id: step.controls for step in self.steps if not isinstance(step, Typing)}
        return {id_: offered for id_, offered in shown.items() if offered}

    def _record(self, step: Step) -> None:
        self.steps.append(step)
        self._changed.set()


def _opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
