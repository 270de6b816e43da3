"""A history kept in a dictionary, as plainly as its promise can be kept, and one that takes its
time."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import structs

from acore_bot.errors import DuplicateMessage, HistoryError
from acore_bot.history.kept import as_kept
from acore_bot.messages import ConversationSummary, Message

T = TypeVar("T")


class PlainHistory:
    """Keeps messages by their ids; every question looks at all of them."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest messages of a conversation."""
        found = [m for _, m in sorted(self.messages.items()) if m.conversation == conversation]
        return tuple(found[-limit:]) if limit > 0 else ()

    async def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Walk the parents."""
        found: list[Message] = []
        here = self.messages.get(self._whole(message_id))
        while here is not None and here not in found and len(found) < limit:
            found.insert(0, here)
            here = None if here.parent_id is None else self.messages.get(here.parent_id)
        return tuple(found)

    async def append(self, messages: Sequence[Message]) -> None:
        """Store all or none."""
        numbers = [message.id for message in messages]
        taken = [n for n in numbers if n in self.messages or numbers.count(n) > 1]
        if taken:
            raise DuplicateMessage(f"The message {taken[0]} is stored already.")
        self.messages.update((message.id, as_kept(message)) for message in messages)

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a text."""
        if message_id not in self.messages:
            return False
        self.messages[message_id] = structs.replace(self.messages[message_id], text=text)
        return True

    async def delete(self, message_id: int) -> bool:
        """Remove a message and relink what continued it."""
        message_id = self._whole(message_id)
        if message_id not in self.messages:
            return False
        self._remove(message_id)
        return True

    def _remove(self, message_id: int) -> None:
        gone = self.messages.pop(message_id)
        for child in [m for m in self.messages.values() if m.parent_id == message_id]:
            self.messages[child.id] = structs.replace(child, parent_id=gone.parent_id)

    def _whole(self, message_id: int) -> int:
        answers = (m.id for m in self.messages.values() if message_id in m.part_ids)
        return next(answers, message_id)

    async def clear(self, conversation: str) -> int:
        """Remove a conversation."""
        gone = [m.id for m in self.messages.values() if m.conversation == conversation]
        for message_id in gone:
            del self.messages[message_id]
        return len(gone)

    async def replace(self, message: Message) -> bool:
        """Put a message in the place of another."""
        if message.id not in self.messages:
            return False
        self.messages[message.id] = as_kept(message)
        return True

    async def said_by(self, author_id: str) -> tuple[Message, ...]:
        """Look at every message for its author."""
        return tuple(m for _, m in sorted(self.messages.items()) if m.author.id == author_id)

    async def holding(self, words: str) -> tuple[Message, ...]:
        """Look at every message for these words."""
        return tuple(m for _, m in sorted(self.messages.items()) if words in m.text)

    async def erase(self, author_id: str) -> int:
        """Remove what a person said, and what the bot said to it, until nothing is found."""
        erased = {m.id for m in self.messages.values() if m.author.id == author_id}
        while more := {m.id for m in self.messages.values() if _answers(m, erased)} - erased:
            erased |= more
        for message_id in erased:
            self._remove(message_id)
        return len(erased)

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove what is older."""
        said = [m for m in self.messages.values() if m.conversation == conversation]
        old = [m.id for m in said if m.created_at < before]
        for message_id in old:
            del self.messages[message_id]
        return len(old)

    async def leave_no_trace(self) -> None:
        """Leave nothing: there are no files."""

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """Count the messages of each."""
        newest = {m.conversation: m for _, m in sorted(self.messages.items())}
        counts = Counter(message.conversation for message in self.messages.values())
        return tuple(
            ConversationSummary(conversation=name, messages=counts[name], last_at=m.created_at)
            for name, m in sorted(newest.items(), key=lambda item: item[1].id, reverse=True)
        )


def _answers(message: Message, asked: set[int]) -> bool:
    return message.role == "assistant" and message.parent_id in asked


class SteppedHistory(PlainHistory):
    """Does what is asked in the midst of two waits, and counts in `calls` what was asked.

    The waits last until `before` and `after` are set, as they are at first, and some turns of the
    loop more if there is a `chance` to draw them from. An `error` is raised between the two.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.before, self.after = asyncio.Event(), asyncio.Event()
        self.before.set()
        self.after.set()
        self.error: HistoryError | None = None
        self._chance = chance

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest messages, in the end."""
        return await self._step("recent", lambda: PlainHistory.recent(self, conversation, limit))

    async def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Walk the parents, in the end."""
        return await self._step("chain", lambda: PlainHistory.chain(self, message_id, limit))

    async def append(self, messages: Sequence[Message]) -> None:
        """Store, in the end."""
        await self._step("append", lambda: PlainHistory.append(self, messages))

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a text, in the end."""
        return await self._step("edit", lambda: PlainHistory.edit(self, message_id, text))

    async def delete(self, message_id: int) -> bool:
        """Remove a message, in the end."""
        return await self._step("delete", lambda: PlainHistory.delete(self, message_id))

    async def clear(self, conversation: str) -> int:
        """Remove a conversation, in the end."""
        return await self._step("clear", lambda: PlainHistory.clear(self, conversation))

    async def replace(self, message: Message) -> bool:
        """Put a message in the place of another, in the end."""
        return await self._step("replace", lambda: PlainHistory.replace(self, message))

    async def erase(self, author_id: str) -> int:
        """Remove what a person said, in the end."""
        return await self._step("erase", lambda: PlainHistory.erase(self, author_id))

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove what is older, in the end."""
        return await self._step("expire", lambda: PlainHistory.expire(self, conversation, before))

    async def _step(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self.calls[name] += 1
        await self._wander()
        await self.before.wait()
        if self.error is not None:
            raise HistoryError(self.error.sentence)
        result = await work()
        await self._wander()
        await self.after.wait()
        return result

    async def _wander(self) -> None:
        for _ in range(self._chance.randrange(4) if self._chance else 0):
            await asyncio.sleep(0)
