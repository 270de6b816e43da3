"""What the buttons under an answer do.

Whoever presses one says only what they want. What it is about, and whether they may, is decided
from what is stored about the message under which the button stands; it is read once it is the
answer's turn, so that of two who press, the second finds what the first has done.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec import structs

from acore_bot.chat.answer import UNFINISHED
from acore_bot.chat.asking import Former, Plan
from acore_bot.chat.compare import Comparisons
from acore_bot.chat.conversation import Conversations, Load
from acore_bot.chat.open_turn import Context
from acore_bot.chat.policy import Policies, Policy
from acore_bot.chat.receipts import describe_receipt
from acore_bot.chat.reply import Reply
from acore_bot.chat.turn import TurnTaker
from acore_bot.contracts import Answers, History, ReplyTarget
from acore_bot.errors import NotAllowed, NotFound
from acore_bot.messages import (
    AnswerRecord,
    Author,
    IncomingMessage,
    Message,
    Place,
    Press,
    SnowflakeSequence,
)

NOT_THEIRS = "Only the person who asked, or a moderator, can do that."
UNKNOWN_ANSWER = "I do not remember this answer any more, so I cannot do that."
IS_OVER = "That answer is finished already."
AT_IT = "I am at it already."
WENT_ON = "That answer went on already; the rest is below."
WITHDRAWN = "Whoever asked this wants me not to take in what they say any more."
GO_ON = (
    "Your last answer broke off before its end. Go on exactly where it stopped. Repeat nothing of "
    "it, and do not mention that it broke off."
)


@dataclass(frozen=True, kw_only=True)
class Presses:
    """Obeys buttons. `context_messages` is how much of the past an answer may need at most; `now`
    is the time of day in UTC."""

    turns: TurnTaker
    conversations: Conversations
    history: History
    answers: Answers
    policies: Policies
    comparisons: Comparisons
    context_messages: int
    snowflakes: SnowflakeSequence = field(default_factory=lambda: SnowflakeSequence(time.time))
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _at_work: set[int] = field(default_factory=set, init=False)

    async def obey(self, press: Press, target: ReplyTarget) -> None:
        """Do what a button says. Raises `NotFound`, and `NotAllowed` if they may not."""
        match press.control:
            case "stop":
                self._stop(press)
            case "details":
                record = await self._record(press)
                await target.whisper(describe_receipt(record.receipt))
            case "regenerate" | "continue":
                await self._answer_again(press, target)
            case "a" | "b" | "tie":
                if self.turns.is_paused(press.author.id):
                    raise NotAllowed(WITHDRAWN)
                await self.comparisons.vote(press, target)

    def _stop(self, press: Press) -> None:
        if not (askers := self.conversations.askers_of(press.message_id)):
            raise NotFound(IS_OVER)
        if press.author.id not in askers and not press.is_moderator:
            raise NotAllowed(NOT_THEIRS)
        self.conversations.stop(press.message_id)

    async def _record(self, press: Press) -> AnswerRecord:
        """Return what is known of an answer. Raises `NotFound`, or `NotAllowed` for others."""
        record = await self.answers.find(press.message_id)
        if record is None or not _is_there(record, press):
            raise NotFound(UNKNOWN_ANSWER)
        if press.author.id != record.asker and not press.is_moderator:
            raise NotAllowed(NOT_THEIRS)
        return record

    async def _answer_again(self, press: Press, target: ReplyTarget) -> None:
        with self._alone_at((await self._record(press)).id):
            record = await self._record(press)  # as it is now that nobody else is at it
            policy = self._policy(press, record)
            if press.control == "continue":
                await self._go_on(press, record, policy, target)
            elif record.question is not None:
                await self._renew_aside(press, record, record.question, policy, target)
            else:
                await self._renew(press, record, policy, target)

    @contextmanager
    def _alone_at(self, answer_id: int) -> Iterator[None]:
        if answer_id in self._at_work:
            raise NotAllowed(AT_IT)
        self._at_work.add(answer_id)
        try:
            yield
        finally:
            self._at_work.discard(answer_id)

    def _policy(self, press: Press, record: AnswerRecord) -> Policy:
        """Return what holds for whoever presses, and for the words that were said."""
        if self.turns.is_paused(record.asker):
            raise NotAllowed(WITHDRAWN)
        policy = self.policies.of(record.place, press.roles)
        may_manage = press.is_moderator
        self.turns.check(press.author.id, press.roles, policy, may_manage=may_manage)
        is_local_only = policy.is_local_only or record.is_local_only
        return structs.replace(policy, is_local_only=is_local_only)

    async def _renew_aside(
        self,
        press: Press,
        record: AnswerRecord,
        question: IncomingMessage,
        policy: Policy,
        target: ReplyTarget,
    ) -> None:
        """Answer a stateless question once more, in the place of the former answer."""
        plan = structs.replace(
            self.turns.plan(policy),
            keeps="record",
            is_stateless=True,
            renews=Former(record),
            payer=press.author,
        )
        below = target.in_place_of((record.id, *record.part_ids))
        async with Reply(below) as reply, self.conversations.take_aside(question, record) as turn:
            await self.turns.answer(turn, await self._renewed(plan, press), reply, below)

    async def _renew(
        self, press: Press, record: AnswerRecord, policy: Policy, target: ReplyTarget
    ) -> None:
        """Answer the same question once more, in the place of the former answer."""
        chain = await self._chain(record)
        is_rest = chain[-2].role == "assistant"
        is_unfinished = chain[-1].finish_reason in UNFINISHED
        plan = structs.replace(
            self.turns.plan(policy),
            keeps="answer",
            renews=Former(record, is_unfinished),
            continues=Former(record) if is_rest else None,
            payer=press.author,
        )

        async def load() -> tuple[tuple[IncomingMessage, ...], Context]:
            *said, asked, answered = await self._chain(record)
            if is_rest:
                return (self._go_on_message(press, record),), Context(
                    (*said, asked), is_branch=True
                )
            return (_heard(asked, record.place),), await self._context(said, asked, answered)

        below = target.in_place_of((record.id, *record.part_ids))
        await self._take_up(press, record, load, plan, below)

    async def _go_on(
        self, press: Press, record: AnswerRecord, policy: Policy, target: ReplyTarget
    ) -> None:
        """Let the model say the rest of an answer that broke off, below it."""
        plan = structs.replace(
            self.turns.plan(policy), keeps="answer", continues=Former(record), payer=press.author
        )

        async def load() -> tuple[tuple[IncomingMessage, ...], Context]:
            said = await self._chain(record)
            recent = await self.history.recent(record.conversation, self.context_messages)
            if any(one.parent_id == record.id and one.role == "assistant" for one in recent):
                raise NotAllowed(WENT_ON)
            return (self._go_on_message(press, record),), Context(said, is_branch=True)

        await self._take_up(press, record, load, plan, target.in_place_of(()))

    async def _take_up(
        self, press: Press, record: AnswerRecord, load: Load, plan: Plan, target: ReplyTarget
    ) -> None:
        place = (record.conversation, record.asker)
        async with (
            Reply(target) as reply,
            self.conversations.take_up(place, load, record) as turn,
        ):
            await self.turns.answer(turn, await self._renewed(plan, press), reply, target)

    async def _renewed(self, plan: Plan, press: Press) -> Plan:
        """Look again, now that the turn is open: until then, whoever withdrew what was said did not
        find it, and the place may be kept from clouds by now."""
        now = self.turns.plan(self._policy(press, await self._record(press)))
        return structs.replace(plan, policy=now.policy, persona=now.persona, model=now.model)

    async def _chain(self, record: AnswerRecord) -> tuple[Message, ...]:
        """Return a stored answer with its question and what was before. Raises `NotFound`."""
        chain = await self.history.chain(record.id, self.context_messages)
        if len(chain) < 2 or chain[-1].role != "assistant":
            raise NotFound(UNKNOWN_ANSWER)
        return chain

    async def _context(self, said: list[Message], asked: Message, answered: Message) -> Context:
        """Return what a question continues from: as before, so that model caches hit."""
        recent = await self.history.recent(asked.conversation, self.context_messages)
        if recent[-2:] == (asked, answered):
            return Context(recent[:-2])
        return Context(tuple(said), is_branch=True)

    def _go_on_message(self, press: Press, record: AnswerRecord) -> IncomingMessage:
        return told(
            GO_ON,
            self.snowflakes.next(),
            self.now(),
            press.author,
            record.place,
            record.conversation,
        )


def _is_there(record: AnswerRecord, press: Press) -> bool:
    """Tell whether an answer stands where the button was used: who may read one channel, or manage
    its messages, need not may do so in another."""
    is_there = _shared_name(record.conversation) == _shared_name(press.conversation)
    return is_there and record.place.guild == press.place.guild


def _shared_name(conversation: str) -> str:
    """Name the conversation of all who are there, of which one person's is a part."""
    return conversation.partition("/")[0]


def told(
    text: str, id_: int, now: datetime, author: Author, place: Place, conversation: str
) -> IncomingMessage:
    """Word what the bot itself wants of the model, on behalf of a person."""
    return IncomingMessage(
        id=id_,
        conversation=conversation,
        author=author,
        text=text,
        created_at=now,
        place=place,
        is_asked=True,
        is_private=not place.guild,
    )


def _heard(message: Message, place: Place) -> IncomingMessage:
    """Return a stored question as it was heard, with its quotes and files in its text already."""
    return told(
        message.text, message.id, message.created_at, message.author, place, message.conversation
    )
