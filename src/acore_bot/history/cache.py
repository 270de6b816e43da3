"""The newest messages of the conversations in use, kept in memory before any history.

An entry holds the newest messages of one conversation, and the tuple that was handed out last: as
long as nothing changes, the same question is answered with the same object. Entries stand in the
order of their use in an `OrderedDict`; the least recently used goes first, as soon as there are too
many entries or bytes.

The store is always right, and an entry is only ever a copy of what it says. So each change goes to
the store first. An append then adds to the entry, if that has been standing there untouched all the
while; every other change takes the entry away, and also forgets what is being loaded, which may
have been read before the change. Thus an entry may be evicted at any moment, even while it is
appended to: the worst that may happen is another read.
"""

import asyncio
import sys
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter

from msgspec import Struct

from acore_bot.contracts import History
from acore_bot.history.kept import as_kept
from acore_bot.messages import ConversationSummary, Message, well_formed
from acore_bot.telemetry.events import Emit, HistoryEvicted, HistoryRead

# What one entry takes beside its messages, and a message beside its texts: the objects that hold
# them (author, time, two ids) and their places in a list and a tuple. Measured, and rounded up.
ENTRY_BYTES = 700
MESSAGE_BYTES = 480

# Who asks for a chain has just asked for what is recent in its conversation.
ENTRIES_SEARCHED_FOR_A_CHAIN = 8

id_of = attrgetter("id")

HIT = HistoryRead(is_hit=True)  # made once: that would take longer than a read from memory
MISS = HistoryRead(is_hit=False)


class CacheOptions(Struct, frozen=True, kw_only=True):
    """How much is kept: conversations (at least one), bytes in all, messages of each."""

    max_entries: int = 1000
    max_bytes: int = 64 * 2**20
    messages_per_conversation: int = 512


DEFAULT_OPTIONS = CacheOptions()


class CachedHistory:
    """A `History` that keeps what it handed out, and hands it out again without asking the store.

    Each method raises what the store raises. A history that others may change behind our back has
    `foreign_changes` count when it notices that; it is asked after each append, and if it has
    counted, all is read anew. So what another process removed is out of use once the next append
    has returned. To look at each read would cost more than the cache saves.
    """

    def __init__(
        self,
        history: History,
        options: CacheOptions = DEFAULT_OPTIONS,
        *,
        foreign_changes: Callable[[], int] = int,
        emit: Emit | None = None,
    ) -> None:
        self._emit = emit
        self._history = history
        self._max_entries = options.max_entries
        self._max_bytes = options.max_bytes
        self._max_messages = options.messages_per_conversation
        self._foreign_changes = foreign_changes
        self._foreign_changes_seen = foreign_changes()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loads: dict[str, _Load] = {}
        self._bytes = 0
        self._removals = 0  # edits too: all that an append under way may not know of
        self._hits = self._misses = self._evictions = 0

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest `limit` messages of a conversation, oldest first."""
        # Written for the hit: each call less, as of `get`, is an eighth of its time.
        try:
            entry = self._entries[conversation]
        except KeyError:
            pass
        else:
            if entry.limit == limit:
                self._entries.move_to_end(conversation)
                self._hits += 1
                if self._emit:
                    self._emit(HIT)
                return entry.answer
        return await self._slice_or_load(conversation, limit)

    async def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Return a message and what it continues, at most `limit`, oldest first."""
        for entry in islice(reversed(self._entries.values()), ENTRIES_SEARCHED_FOR_A_CHAIN):
            if chain := entry.chain(message_id, limit):
                self._count_hit()
                return chain
        self._count_miss()
        return await self._history.chain(message_id, limit)

    async def append(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none, durably. Raises `DuplicateMessage`."""
        kept = [as_kept(message) for message in messages]
        before = {message.conversation: self._use(message.conversation) for message in kept}
        removals = self._removals
        try:
            await self._history.append(kept)
        except BaseException:
            # It may have been stored or not: who was cancelled does not know.
            self._drop(before)
            raise
        if self._has_foreign_changes():
            self._forget([*self._entries])
        elif removals != self._removals:
            self._drop(before)
        else:
            self._add(kept, before)

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a message's text. False if there is no such message."""
        try:
            return await self._history.edit(message_id, text)
        finally:
            self._forget([name for name, entry in self._entries.items() if entry.has(message_id)])

    async def delete(self, message_id: int) -> bool:
        """Remove a message; what continued it continues its parent. False if there is none."""
        is_deleted = True  # unless the store says otherwise: who is cancelled does not know
        try:
            is_deleted = await self._history.delete(message_id)
        finally:
            if is_deleted:
                # What continued it may stand in any conversation.
                self._forget([*self._entries])
        return is_deleted

    async def replace(self, message: Message) -> bool:
        """Put a message in the place of the one with its id, all of it. False if there is none."""
        try:
            return await self._history.replace(message)
        finally:
            places = [name for name, entry in self._entries.items() if entry.has(message.id)]
            self._forget([*places, well_formed(message.conversation)])

    async def clear(self, conversation: str) -> int:
        """Remove a whole conversation. Return how many messages it had."""
        try:
            return await self._history.clear(conversation)
        finally:
            self._forget([well_formed(conversation)])

    async def said_by(self, author_id: str) -> tuple[Message, ...]:
        """Return all that a person said, oldest first, as the store does."""
        return await self._history.said_by(author_id)

    async def holding(self, words: str) -> tuple[Message, ...]:
        """Return all messages whose text holds these words, oldest first, as the store does."""
        return await self._history.holding(words)

    async def erase(self, author_id: str) -> int:
        """Remove all that a person said, and the answers to it, without a trace. Return how many
        messages that were."""
        try:
            return await self._history.erase(author_id)
        finally:
            self._forget([*self._entries])

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove what was said in a conversation before a moment. Return how many that were."""
        try:
            return await self._history.expire(conversation, before)
        finally:
            self._forget([well_formed(conversation)])

    async def leave_no_trace(self) -> None:
        """Rid the files of what is left of anything that was removed, as the store does."""
        await self._history.leave_no_trace()

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """List the conversations, as the store does."""
        return await self._history.conversations()

    def get_cache_stats(self) -> dict[str, dict[str, float]]:
        """Return under `history` what was asked and what is held. A hit is a question that was
        answered at once, without the store; `hit_rate` is in percent."""
        asked = self._hits + self._misses
        return {
            "history": {
                "hits": self._hits,
                "misses": self._misses,
                "hit_rate": round(100 * self._hits / asked, 1) if asked else 0.0,
                "entries": len(self._entries),
                "max_entries": self._max_entries,
                "bytes": self._bytes,
                "max_bytes": self._max_bytes,
                "evictions": self._evictions,
            }
        }

    async def _slice_or_load(self, conversation: str, limit: int) -> tuple[Message, ...]:
        if limit <= 0:
            return ()
        name = well_formed(conversation)
        if (answer := self._slice(name, limit)) is not None:
            self._count_hit()
            return answer
        self._count_miss()
        if limit > self._max_messages:
            return await self._history.recent(name, limit)
        # Whoever loads may fail or be cancelled. Then the first of those who waited for it loads:
        # so no cancellation harms another, and each has an error of its own.
        while (load := self._loads.get(name)) is not None and load.limit >= limit:
            await load.done.wait()
            if load.messages is not None:
                return load.messages[-limit:]
        return await self._load(name, limit)

    def _slice(self, name: str, limit: int) -> tuple[Message, ...] | None:
        entry = self._entries.get(name)
        if entry is None or not entry.holds(limit):
            return None
        self._entries.move_to_end(name)
        return entry.slice(limit)

    async def _load(self, name: str, limit: int) -> tuple[Message, ...]:
        load = self._loads[name] = _Load(limit)
        try:
            load.messages = await self._history.recent(name, limit)
            entry = _Entry(load.messages, limit, self._max_messages)
            # Else something changed meanwhile: this is an answer, but nothing to keep. And one that
            # is larger than all the room must not drive out the others.
            if self._loads.get(name) is load and entry.bytes <= self._max_bytes:
                self._keep(name, entry)
            return load.messages
        finally:
            if self._loads.get(name) is load:
                del self._loads[name]
            load.done.set()

    def _keep(self, name: str, entry: "_Entry") -> None:
        entries = self._entries
        if name in entries:
            self._drop([name])
        size = self._bytes + entry.bytes
        if len(entries) >= self._max_entries:  # never more than one too many
            size -= entries.popitem(False)[1].bytes
            self._count_evictions(1)
        entries[name] = entry
        self._bytes = size
        if size > self._max_bytes:
            self._shrink()

    def _use(self, name: str) -> "_Entry | None":
        if name in self._entries:
            self._entries.move_to_end(name)
        return self._entries.get(name)

    def _add(self, messages: Iterable[Message], before: "Mapping[str, _Entry | None]") -> None:
        for message in messages:
            name = message.conversation
            entry = self._entries.get(name)
            if entry is None or entry is not before[name]:
                self._drop([name])
            else:
                self._loads.pop(name, None)
                self._bytes += entry.add(message)
        self._shrink()

    def _shrink(self) -> None:
        before = len(self._entries)
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1].bytes
        self._count_evictions(before - len(self._entries))

    def _count_hit(self) -> None:
        self._hits += 1
        if self._emit:
            self._emit(HIT)

    def _count_miss(self) -> None:
        self._misses += 1
        if self._emit:
            self._emit(MISS)

    def _count_evictions(self, count: int) -> None:
        self._evictions += count
        if self._emit and count:
            self._emit(HistoryEvicted(count))

    def _has_foreign_changes(self) -> bool:
        former, self._foreign_changes_seen = self._foreign_changes_seen, self._foreign_changes()
        return former != self._foreign_changes_seen

    def _forget(self, names: Iterable[str]) -> None:
        """Something was edited or removed: forget these entries and all that is under way."""
        self._removals += 1
        self._loads.clear()
        self._drop(names)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._loads.pop(name, None)
            if (entry := self._entries.pop(name, None)) is not None:
                self._bytes -= entry.bytes


class _Load:
    """One read of the store, for all who want the same: `messages` is None until it succeeds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.messages: tuple[Message, ...] | None = None
        self.done = asyncio.Event()


class _Entry:
    """The newest messages of one conversation, and the answer that was given last."""

    __slots__ = ("answer", "bytes", "is_whole", "limit", "max_messages", "messages", "wanted")

    def __init__(self, messages: tuple[Message, ...], limit: int, max_messages: int) -> None:
        self.messages = [*messages]
        self.answer = messages
        self.limit = limit  # of the answer
        self.wanted = limit  # the most that was ever asked for
        self.max_messages = max_messages
        self.is_whole = len(messages) < limit
        self.bytes = ENTRY_BYTES + sum(map(_size, messages))

    def holds(self, limit: int) -> bool:
        """Tell whether the newest so many messages are all here."""
        return self.is_whole or limit <= len(self.messages)

    def has(self, message_id: int) -> bool:
        """Tell whether a message is here."""
        return self._find(message_id, len(self.messages)) is not None

    def slice(self, limit: int) -> tuple[Message, ...]:
        """Make the newest so many messages the answer."""
        if limit != self.limit:
            self.wanted = max(self.wanted, min(limit, self.max_messages))
            self.limit, self.answer = limit, tuple(self.messages[-limit:])
        return self.answer

    def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Return a message and what it continues; nothing if not all of that is here."""
        newest_first: list[Message] = []
        wanted: int | None = message_id
        end = len(self.messages)
        while wanted is not None and len(newest_first) < limit:
            # Each is looked for among the older ones, so a circle ends here; the store may tell it.
            if (place := self._find(wanted, end)) is None:
                return ()
            newest_first.append(self.messages[place])
            wanted, end = self.messages[place].parent_id, place
        return tuple(reversed(newest_first))

    def add(self, message: Message) -> int:
        """Take in a message that was stored. Return by how many bytes the entry grew."""
        before = self.bytes
        place = bisect_left(self.messages, message.id, key=id_of)
        # Between one that is older than all of these and them, others may stand in the store.
        if place or self.is_whole:
            self.messages.insert(place, message)
            self.bytes += _size(message)
            self.limit, self.answer = 0, ()
            self._trim()
        return self.bytes - before

    def _trim(self) -> None:
        # In blocks, so that it costs next to nothing for each message.
        if len(self.messages) > min(2 * self.wanted, self.max_messages):
            surplus = len(self.messages) - self.wanted
            self.bytes -= sum(map(_size, self.messages[:surplus]))
            del self.messages[:surplus]
            self.is_whole = False

    def _find(self, message_id: int, end: int) -> int | None:
        # What a message continues is nearly always the one before it.
        if end and self.messages[end - 1].id == message_id:
            return end - 1
        place = bisect_left(self.messages, message_id, hi=end, key=id_of)
        is_there = place < end and self.messages[place].id == message_id
        return place if is_there else None


def _size(message: Message) -> int:
    author = message.author
    texts = (message.text, message.conversation, author.id, author.name, message.model or "")
    return MESSAGE_BYTES + sum(map(sys.getsizeof, texts))
