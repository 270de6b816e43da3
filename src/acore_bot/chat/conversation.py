"""Whose turn it is, and what a turn continues from.

Turns in one conversation may run side by side, but a person has one at a time. What was said is a
tree that is mostly a line: a plain message continues from the newest messages, in order; a reply to
an older message continues from that message, along its parents. A reply to an answer that is still
being written waits for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct, structs

from acore_bot.contracts import History
from acore_bot.messages import IncomingMessage, Message

MAX_CHOICES = 10_000


class Context(Struct, frozen=True):
    """What a message continues from, oldest first: the conversation's line, or a branch of it."""

    said: tuple[Message, ...]
    is_branch: bool = False


class Turn:
    """One message's turn: its context, and the way to open and commit its answer."""

    def __init__(self, history: History, context: Context, open_answers: "_OpenAnswers") -> None:
        self.context = context
        self._history = history
        self._open_answers = open_answers
        self._answer_ids: list[int] = []
        self._is_forgotten = False

    def open_answer(self, answer_id: int) -> None:
        """Note that an answer became visible: replies to it wait until the turn is over."""
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
    `on_forget` is called when a conversation is forgotten."""

    def __init__(
        self,
        history: History,
        *,
        history_messages: int,
        on_forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._history = history
        self._on_forget = on_forget
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

    @asynccontextmanager
    async def take_turn(self, message: IncomingMessage) -> AsyncIterator[Turn]:
        """Wait for the person's turn and for what is replied to. Raises `HistoryError`."""
        async with self._people.hold((message.conversation, message.author.id)):
            if message.reply_to is not None:
                await self._open_answers.wait(message.reply_to)
            # Whoever forgets the conversation finds each turn that knows of its past.
            async with self._past.hold((message.conversation, "")):
                turn = Turn(self._history, await self._load(message), self._open_answers)
                self._open_turns[turn] = message.conversation
            try:
                yield turn
            finally:
                del self._open_turns[turn]
                turn.close()

    async def _load(self, message: IncomingMessage) -> Context:
        recent = await self._history.recent(message.conversation, self._limit)
        is_older = (
            message.reply_to is not None and recent[-1:] and recent[-1].id != message.reply_to
        )
        if is_older and message.reply_to is not None:
            chain = await self._history.chain(message.reply_to, self._limit)
            # An id from elsewhere must not carry another conversation's words into this one.
            if chain and all(said.conversation == message.conversation for said in chain):
                return Context(chain, is_branch=True)
        return Context(recent)


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
