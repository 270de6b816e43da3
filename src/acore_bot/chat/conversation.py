"""Whose turn it is, and what a turn continues from.

Turns in one conversation may run side by side, but a person has one at a time, in which rapid
messages are answered together. What was said is a tree that is mostly a line: a plain message
continues from the newest messages, in order; a reply to an older message continues from that
message, along its parents. A reply to an answer that is still being written waits for it.

What is being dealt with can be withdrawn, a person's all at once or a single message: its task is
cancelled, and nothing of its turn is stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from msgspec import structs

from acore_bot.chat.gathering import NO_PATIENCE, Gathering, Gatherings, Patience
from acore_bot.chat.locks import KeyedLocks
from acore_bot.chat.open_turn import Context, OpenAnswers, Turn
from acore_bot.contracts import Answers, History
from acore_bot.messages import AnswerRecord, IncomingMessage, Place

Load: TypeAlias = Callable[[], Awaitable[tuple[tuple[IncomingMessage, ...], Context]]]
"""Reads what a turn is about, and what it continues from, once it is its turn."""


@dataclass(eq=False)
class _Hearing:
    """Messages that a task deals with, and where the first of them waits for its author's next
    one; or the record of an answer that it is `about`."""

    messages: tuple[IncomingMessage, ...]
    task: asyncio.Task[object] | None
    gathering: Gathering | None = None
    about: AnswerRecord | None = None

    @property
    def people(self) -> frozenset[str]:
        """Whose words it deals with, by their ids."""
        about = {self.about.asker} if self.about else set()
        return frozenset({message.author.id for message in self.messages} | about)

    @property
    def ids(self) -> frozenset[int]:
        """The messages that it deals with."""
        ids = {message.id for message in self.messages}
        if it := self.about:
            ids |= {it.id, *it.part_ids, it.question_id}
        return frozenset(ids)

    def asks(self, message_id: int) -> bool:
        """Tell whether a message is to be answered, and stored with its answer."""
        is_there = any(message.id == message_id for message in self.messages)
        return is_there and self.about is None

    def stop(self) -> None:
        """Cancel the task, unless it is ours or was cancelled before: a second time it would not
        say its last words."""
        task = self.task
        if task is not None and task is not asyncio.current_task() and not task.cancelling():
            task.cancel()

    def withdraw(self) -> None:
        """Stop it. Until the task notices, its message must not be taken along, either."""
        if self.gathering is not None:
            self.gathering.leave(self.messages[0])
            self.gathering = None
        self.stop()


class Conversations:
    """Gives out turns. `history_messages` is how much of the past a turn may need at most;
    `answers` keeps what they were made of, if anybody does; `on_forget` is called when a
    conversation is forgotten; `patience` is how long a message waits for its author's next one."""

    def __init__(
        self,
        history: History,
        *,
        history_messages: int,
        answers: Answers | None = None,
        on_forget: Callable[[], None] = lambda: None,
        patience: Patience = NO_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._history = history
        self._answers = answers
        self._on_forget = on_forget
        self._gatherings = Gatherings(patience, clock=clock, sleep=sleep)
        # One more than is ever sent, so that the prompt's builder sees that there is more.
        self._limit = history_messages + 1
        self._people = KeyedLocks()
        self._past = KeyedLocks()
        self._open_answers = OpenAnswers()
        self._open_turns: dict[Turn, _Hearing] = {}
        self._hearings: set[_Hearing] = set()
        self._rewordings: dict[int, str] = {}  # of messages whose turn has not come yet

    def adopt(self, *, history_messages: int, patience: Patience) -> None:
        """Go by these from now on. Turns that are under way go on."""
        self._limit = history_messages + 1
        self._gatherings.be_patient(patience)

    async def forget(self, conversation: str) -> int:
        """Remove a conversation, with the turns that are under way in it and what its answers were
        made of. Return how many messages it had. Raises `HistoryError`."""
        async with self._past.hold((conversation, "")):
            for turn in self._open_turns:
                if turn.conversation == conversation:
                    turn.forget()
            self._on_forget()
            if self._answers is not None:
                await self._answers.forget_conversation(conversation)
            return await self._history.clear(conversation)

    @asynccontextmanager
    async def withdrawing(self, author_id: str) -> AsyncIterator[None]:
        """Stop all that is being answered to a person, and let nothing of it be stored. Inside of
        the block no other turn of theirs begins."""
        async with self._past.hold(("", author_id)):
            for turn in self._open_turns:
                turn.unsay(author_id)
            await self._withdraw(lambda hearing: author_id in hearing.people)
            yield

    async def withdraw_message(self, message_id: int) -> None:
        """Stop what is being answered to a message, with what was taken along, or the answer that
        it is a part of, and let nothing of it be stored."""
        shown = {hearing for turn, hearing in self._open_turns.items() if turn.shows(message_id)}
        await self._withdraw(lambda hearing: message_id in hearing.ids or hearing in shown)

    async def _withdraw(self, is_meant: Callable[[_Hearing], bool]) -> None:
        turns = [turn for turn, hearing in self._open_turns.items() if is_meant(hearing)]
        for turn in turns:
            turn.withdraw()
        for hearing in [one for one in self._hearings if is_meant(one)]:
            hearing.withdraw()
        for turn in turns:
            await turn.stored()

    def reword(self, message_id: int, words: str) -> bool:
        """Take other words for a message that waits for its turn, or whose turn has still to store
        it. False if there is none."""
        for turn, hearing in self._open_turns.items():
            if hearing.asks(message_id):
                return turn.reword(message_id, words)
        # A hearing without a gathering deals with what came before or comes after the turn.
        waiting = [it for it in self._hearings if it.gathering and it.asks(message_id)]
        if waiting:
            self._rewordings[message_id] = words
        return bool(waiting)

    def _reworded(self, message: IncomingMessage) -> IncomingMessage:
        words = self._rewordings.get(message.id)
        return message if words is None else structs.replace(message, text=words)

    def count_open(self) -> int:
        """Count the turns that are being answered."""
        return len(self._open_turns)

    def under_way(self) -> Mapping[str, Place]:
        """Tell in which conversations something is being answered, and where they are."""
        return {turn.conversation: turn.place for turn in self._open_turns}

    def askers_of(self, answer_id: int) -> frozenset[str]:
        """Tell whose answer it is that is being written; nobody's if it is not."""
        found = [hearing for turn, hearing in self._open_turns.items() if turn.shows(answer_id)]
        return frozenset().union(*(hearing.people for hearing in found))

    def stop(self, answer_id: int) -> None:
        """Stop an answer that is being written; what was said of it until now is kept."""
        for turn, hearing in self._open_turns.items():
            if turn.shows(answer_id):
                hearing.stop()

    @contextmanager
    def hearing(
        self, message: IncomingMessage | None = None, about: AnswerRecord | None = None
    ) -> Iterator[_Hearing]:
        """Note that this task deals with a message, or with an answer, until the block is left:
        whoever withdraws that cancels the task."""
        messages = (message,) if message else ()
        hearing = _Hearing(messages, asyncio.current_task(), about=about)
        self._hearings.add(hearing)
        try:
            yield hearing
        finally:
            self._hearings.discard(hearing)
            if self._rewordings:
                self._drop_rewordings()

    def _drop_rewordings(self) -> None:
        """Keep those only that somebody still waits with."""
        heard = {id_ for hearing in self._hearings for id_ in hearing.ids}
        self._rewordings = {id_: it for id_, it in self._rewordings.items() if id_ in heard}

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
        with self.hearing(message) as hearing, self._gatherings.join(message) as gathering:
            hearing.gathering = gathering
            await self._gatherings.settle(gathering, message)
            while await gathering.awaits(message):
                async with self._people.hold((message.conversation, message.author.id)):
                    await self._wait_for_replied(gathering.messages)
                    # Until now another message may have come, or this one been withdrawn alone.
                    if messages := self._gatherings.take(gathering, message):
                        hearing.messages = messages
                        load = partial(self._load_for, messages)
                        place = (message.conversation, message.author.id)
                        async with self._open_turn(place, hearing, load) as turn:
                            yield turn
                        return
            yield None

    @asynccontextmanager
    async def take_up(
        self, place: tuple[str, str], load: Load, about: AnswerRecord | None = None
    ) -> AsyncIterator[Turn]:
        """Wait for a person's turn in a conversation, and take it with what is there by then:
        `place` is the conversation and the person's id. Raises what `load` raises."""
        with self.hearing(about=about) as hearing:
            async with self._people.hold(place), self._open_turn(place, hearing, load) as turn:
                yield turn

    @asynccontextmanager
    async def take_aside(
        self, message: IncomingMessage, about: AnswerRecord | None = None
    ) -> AsyncIterator[Turn]:
        """Take a turn outside of any conversation, at once: nothing was said before it."""

        async def load() -> tuple[tuple[IncomingMessage, ...], Context]:
            return (message,), Context(())

        place = (message.conversation, message.author.id)
        with self.hearing(message, about) as hearing:
            async with self._open_turn(place, hearing, load) as turn:
                yield turn

    async def _wait_for_replied(self, messages: Sequence[IncomingMessage]) -> None:
        for message in messages:
            if message.reply_to is not None:
                await self._open_answers.wait(message.reply_to)

    @asynccontextmanager
    async def _open_turn(
        self, place: tuple[str, str], hearing: _Hearing, load: Load
    ) -> AsyncIterator[Turn]:
        conversation, author_id = place
        # Whoever forgets the conversation, or the person, finds each turn that knows of the past.
        async with self._past.hold(("", author_id)), self._past.hold((conversation, "")):
            messages, context = await load()
            hearing.messages = tuple(map(self._reworded, messages))
            turn = Turn(self._history, hearing.messages, context, self._open_answers)
            self._open_turns[turn] = hearing
        try:
            yield turn
        finally:
            del self._open_turns[turn]
            turn.close()

    async def _load_for(
        self, messages: tuple[IncomingMessage, ...]
    ) -> tuple[tuple[IncomingMessage, ...], Context]:
        return messages, await self._load(messages[0])

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
