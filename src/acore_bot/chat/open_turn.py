"""A turn that was taken: what it is about, what it continues from, and what is stored of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct, structs

from acore_bot.chat.material import quote_mark, with_new_words, without_quotes
from acore_bot.chat.paused import without_words_of
from acore_bot.contracts import Answers, History
from acore_bot.messages import AnswerRecord, IncomingMessage, Message, Place


class Context(Struct, frozen=True):
    """What a message continues from, oldest first: the conversation's line, or a branch of it."""

    said: tuple[Message, ...]
    is_branch: bool = False


class Turn:
    """The turn of one message, or of several that are answered together: its context, and the way
    to open and commit its answer. `is_withdrawn` says that its question is gone."""

    def __init__(
        self,
        history: History,
        messages: tuple[IncomingMessage, ...],
        context: Context,
        open_answers: "OpenAnswers",
    ) -> None:
        self.messages = messages
        self.context = context
        self._history = history
        self._open_answers = open_answers
        self._answer_ids: list[int] = []
        self._rewordings: dict[int, str] = {}
        self._unsaid: set[str] = set()
        self.is_withdrawn = False
        self._is_forgotten = False
        self._is_committed = False
        self._storing = asyncio.Lock()

    @property
    def conversation(self) -> str:
        """Where it takes place."""
        return self.messages[0].conversation

    @property
    def place(self) -> Place:
        """Where that is."""
        return self.messages[0].place

    def open_answer(self, answer_id: int) -> None:
        """Note that an answer, or a further part of it, became visible: replies to it wait until
        the turn is over."""
        self._open_answers.open(answer_id)
        self._answer_ids.append(answer_id)

    async def commit(self, messages: Sequence[Message]) -> None:
        """Store what was said in this turn, all or nothing, unless the turn was forgotten
        meanwhile. Raises `HistoryError`."""

        async def append() -> None:
            self._is_committed = True
            await self._history.append([*map(self._as_it_is_now, messages)])

        await self._store(append)

    def _as_it_is_now(self, message: Message) -> Message:
        text = message.text
        if (words := self._rewordings.get(message.id)) is not None:
            text = with_new_words(text, words)
        for author_id in self._unsaid:
            text = without_quotes(text, partial(_begins, quote_mark(author_id)))
        return message if text == message.text else structs.replace(message, text=text)

    def reword(self, message_id: int, words: str) -> bool:
        """Let other words be stored of a message, which was edited meanwhile. False if its words
        are stored, or being stored, already."""
        self._rewordings[message_id] = words
        return not self._is_committed

    def unsay(self, author_id: str) -> None:
        """Let nothing be stored that is quoted of a person."""
        self._unsaid.add(author_id)

    async def renew(self, answer: Message) -> None:
        """Store an answer in the place of a former one, unless the turn was forgotten meanwhile.
        Raises `HistoryError`."""
        await self._store(lambda: self._history.replace(answer))

    async def record(self, answers: Answers, record: AnswerRecord) -> None:
        """Store what its answer was made of, unless the turn was forgotten meanwhile. Raises
        `HistoryError`."""
        await self._store(lambda: answers.put(self._record_as_it_is_now(record)))

    def _record_as_it_is_now(self, record: AnswerRecord) -> AnswerRecord:
        if not self._unsaid or record.question is None:
            return record
        left = without_words_of(record.question, self._unsaid.__contains__)
        return structs.replace(record, question=left)

    async def _store(self, write: Callable[[], Awaitable[object]]) -> None:
        async with self._storing:
            if not self._is_forgotten:
                await write()

    def forget(self) -> None:
        """Let nothing of this turn be stored from now on."""
        self._is_forgotten = True

    def withdraw(self) -> None:
        """Let nothing of this turn be stored, nor shown, for its question is gone."""
        self._is_forgotten = self.is_withdrawn = True

    async def stored(self) -> None:
        """Wait for what is being stored just now."""
        async with self._storing:
            pass

    def shows(self, answer_id: int) -> bool:
        """Tell whether a message is its answer, or a part of it."""
        return answer_id in self._answer_ids

    def close(self) -> None:
        """Let those who reply to the answer go on."""
        for answer_id in self._answer_ids:
            self._open_answers.close(answer_id)


class OpenAnswers:
    """The answers that are being written, and those who wait for them."""

    def __init__(self) -> None:
        self._finished: dict[int, asyncio.Event] = {}

    def open(self, answer_id: int) -> None:
        """Note that an answer became visible, which is not finished."""
        self._finished.setdefault(answer_id, asyncio.Event())

    def close(self, answer_id: int) -> None:
        """Let those who wait for an answer go on."""
        if (finished := self._finished.pop(answer_id, None)) is not None:
            finished.set()

    async def wait(self, answer_id: int) -> None:
        """Return when an answer is not being written, or not any more."""
        if (finished := self._finished.get(answer_id)) is not None:
            await finished.wait()


def _begins(mark: str, code: str) -> bool:
    return code.startswith(mark)
