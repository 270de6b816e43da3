"""Whose turn it is, and what a turn continues from.

Turns in one conversation may run side by side, but a person has one at a time, in which rapid
messages are answered together. What was said is a tree that is mostly a line: a plain message
continues from the newest messages, in order; a reply to an older message continues from that
message, along its parents. A reply to an answer that is still being written waits for it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct, structs

from acore_bot.chat.gathering import NO_PATIENCE, Gatherings, Patience
from acore_bot.contracts import History
from acore_bot.messages import IncomingMessage, Message

MAX_CHOICES = 10_000


class Context(Struct, frozen=True):
    """What a message continues from, oldest first: the conversation's line, or a branch of it."""

    said: tuple[Message, ...]
    is_branch: bool = False


class Turn:
    """The turn of one message, or of several that are answered together: its context, and the way
    to open and commit its answer."""

    def __init__(
        self,
        history: History,
        messages: tuple[IncomingMessage, ...],
        context: Context,
        open_answers: "_OpenAnswers",
    ) -> None:
        self.messages = messages
        self.context = context
        self._history = history
        self._open_answers = open_answers
        self._answer_ids: list[int] = []
        self._is_forgotten = False

    @property
    def conversation(self) -> str:
        """Where it takes place."""
        return self.messages[0].conversation

    def open_answer(self, answer_id: int) -> None:
        """Note that an answer, or a further part of it, became visible: replies to it wait until
        the turn is over."""
        self._open_answers.open(answer_id)
        self._answer_ids.append(answer_id)

    async def commit(self, messages: Sequence[Message]) -> None:
        """Store what was said in this turn, all or nothing, unless its conversation was forgotten
        meanwhile. Raises `HistoryError`."""
        if not self._is_forgotten:
            await self._history.append(messages)

    def forget(self) -> None:
        """Let nothing of this turn be stored."""
        self._is_forgotten = True

    def close(self) -> None:
        """Let those who reply to the answer go on."""
        for answer_id in self._answer_ids:
            self._open_answers.close(answer_id)


class Conversations:
    """Gives out turns. `history_messages` is how much of the past a turn may need at most;
    `on_forget` is called when a conversation is forgotten; `patience` is how long a message waits
    for its author's next one."""

    def __init__(
        self,
        history: History,
        *,
        history_messages: int,
        on_forget: Callable[[], None] = lambda: None,
        patience: Patience = NO_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._history = history
        self._on_forget = on_forget
        self._gatherings = Gatherings(patience, clock=clock, sleep=sleep)
        # One more than is ever sent, so that the prompt's builder sees that there is more.
        self._limit = history_messages + 1
        self._people = _KeyedLocks()
        self._past = _KeyedLocks()
        self._open_answers = _OpenAnswers()
        self._open_turns: dict[Turn, str] = {}

    async def forget(self, conversation: str) -> int:
        """Remove a conversation, with the turns that are under way in it. Return how many messages
        it had. Raises `HistoryError`."""
        async with self._past.hold((conversation, "")):
            for turn, its_conversation in self._open_turns.items():
                if its_conversation == conversation:
                    turn.forget()
            self._on_forget()
            return await self._history.clear(conversation)

    async def has_spoken(self, conversation: str) -> bool:
        """Tell whether the bot has answered in a conversation lately. Raises `HistoryError`."""
        recent = await self._history.recent(conversation, self._limit)
        return any(said.role == "assistant" for said in recent)

    def is_gathering(self, message: IncomingMessage) -> bool:
        """Tell whether its author is just saying something that it would be answered with."""
        return self._gatherings.is_open_to(message)

    async def was_answered(self, message: IncomingMessage) -> bool:
        """Tell whether a message had its turn before. Raises `HistoryError`."""
        return bool(await self._history.chain(message.id, 1))

    @asynccontextmanager
    async def take_turn(self, message: IncomingMessage) -> AsyncIterator[Turn | None]:
        """Wait for the person's turn and for what is replied to. None if a later message of the
        same person takes this one along. Raises `HistoryError`."""
        with self._gatherings.join(message) as gathering:
            await self._gatherings.settle(gathering, message)
            while await gathering.awaits(message):
                async with self._people.hold((message.conversation, message.author.id)):
                    await self._wait_for_replied(gathering.messages)
                    # Until now another message may have come, or this one been withdrawn alone.
                    if messages := self._gatherings.take(gathering, message):
                        async with self._open_turn(messages) as turn:
                            yield turn
                        return
            yield None

    async def _wait_for_replied(self, messages: Sequence[IncomingMessage]) -> None:
        for message in messages:
            if message.reply_to is not None:
                await self._open_answers.wait(message.reply_to)

    @asynccontextmanager
    async def _open_turn(self, messages: tuple[IncomingMessage, ...]) -> AsyncIterator[Turn]:
        first = messages[0]
        # Whoever forgets the conversation finds each turn that knows of its past.
        async with self._past.hold((first.conversation, "")):
            turn = Turn(self._history, messages, await self._load(first), self._open_answers)
            self._open_turns[turn] = first.conversation
        try:
            yield turn
        finally:
            del self._open_turns[turn]
            turn.close()

    async def _load(self, message: IncomingMessage) -> Context:
        recent = await self._history.recent(message.conversation, self._limit)
        if message.reply_to is None or not recent or recent[-1].id == message.reply_to:
            return Context(recent)
        chain = await self._history.chain(message.reply_to, self._limit)
        # An id from elsewhere must not carry another conversation's words into this one.
        if not chain or any(said.conversation != message.conversation for said in chain):
            return Context(recent)
        # A part of the newest answer stands for all of it.
        return Context(recent) if chain[-1] == recent[-1] else Context(chain, is_branch=True)


class Choice(Struct, frozen=True):
    """Who answers in a conversation: a persona's name, and a model written `provider/model`."""

    persona: str
    model: str


class Choices:
    """Remembers what conversations chose while the process runs, the latest choices if many."""

    def __init__(self, default: Choice) -> None:
        self._default = default
        self._choices: OrderedDict[str, Choice] = OrderedDict()

    def of(self, conversation: str) -> Choice:
        """Return what a conversation chose, or the default."""
        return self._choices.get(conversation, self._default)

    def choose(self, conversation: str, **changes: str) -> None:
        """Change a conversation's `persona` or `model`."""
        self._choices[conversation] = structs.replace(self.of(conversation), **changes)
        self._choices.move_to_end(conversation)
        if len(self._choices) > MAX_CHOICES:
            self._choices.popitem(last=False)


class _KeyedLocks:
    """A lock for each key, which exists only while somebody holds or wants it."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: tuple[str, str]) -> AsyncIterator[None]:
        lock, wanted = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, wanted + 1)
        try:
            async with lock:
                yield
        finally:
            lock, wanted = self._locks.pop(key)
            if wanted > 1:
                self._locks[key] = (lock, wanted - 1)


class _OpenAnswers:
    """The answers that are being written, and those who wait for them."""

    def __init__(self) -> None:
        self._finished: dict[int, asyncio.Event] = {}

    def open(self, answer_id: int) -> None:
        self._finished[answer_id] = asyncio.Event()

    def close(self, answer_id: int) -> None:
        self._finished.pop(answer_id).set()

    async def wait(self, answer_id: int) -> None:
        if (finished := self._finished.get(answer_id)) is not None:
            await finished.wait()
