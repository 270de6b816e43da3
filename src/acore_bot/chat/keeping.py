"""Keeping what was said: in the history, and in the record by which an answer's buttons work."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from acore_bot.chat.alarm import Alarm
from acore_bot.chat.answer import Answer
from acore_bot.chat.asking import Course, Plan, chained
from acore_bot.chat.open_turn import Turn
from acore_bot.chat.prompt import Question
from acore_bot.contracts import Answers, ReplyTarget
from acore_bot.errors import AcoreError, HistoryError
from acore_bot.messages import AnswerRecord, Author, Message, Receipt

log = logging.getLogger(__name__)

BOT_ID = "bot"
NOT_REMEMBERED = "What we say here is not remembered just now."


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Stores what came of turns. Without `answers`, no records are kept. `tell` words an error for
    whoever reads along; `now` is the time of day in UTC."""

    answers: Answers | None = None
    store_alarm: Alarm = field(default_factory=Alarm)
    tell: Callable[[AcoreError], str] = str
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def keep(
        self,
        turn: Turn,
        course: Course,
        answer: Answer,
        ids: Sequence[int],
        receipt: Receipt,
        target: ReplyTarget,
    ) -> None:
        """Store what a plan says of a question that was read and of its answer, whose messages are
        `ids`."""
        plan, question = course.plan, course.question
        if question is None or plan.keeps == "nothing":
            return
        if plan.keeps != "record":
            await self._commit(turn, self._said(turn, plan, question, answer, ids), target, plan)
        if self.answers is not None:
            record = _record(turn, course, question, ids, receipt, self.now())
            await self._record(self.answers, turn, record)

    def _said(
        self, turn: Turn, plan: Plan, question: Question, answer: Answer, ids: Sequence[int]
    ) -> list[Message]:
        asked = _asked(question, turn) if plan.keeps == "all" else []
        parent = question.said[-1].id if plan.continues else question.message.id
        said = Message(
            id=ids[0],
            conversation=question.message.conversation,
            role="assistant",
            author=Author(BOT_ID, plan.persona.name),
            text=answer.text.strip(),
            created_at=self.now(),
            parent_id=parent,
            finish_reason=answer.finish_reason,
            model=answer.answered_by,
            part_ids=tuple(ids[1:]),
        )
        return [*asked, said]

    async def _commit(
        self, turn: Turn, said: Sequence[Message], target: ReplyTarget, plan: Plan
    ) -> None:
        """Store what was said. If that fails, say so once: the answer itself was seen already."""
        try:
            await (turn.renew(said[-1]) if plan.renews else turn.commit(said))
        except HistoryError as error:
            if not self.store_alarm.is_on:
                log.error("answers are not stored: %s", error)
            if self.store_alarm.is_news(said[0].conversation):
                await target.post(f"{NOT_REMEMBERED} {self.tell(error)}", final=True)
        else:
            self.store_alarm.end()

    async def _record(self, answers: Answers, turn: Turn, record: AnswerRecord) -> None:
        """Keep what an answer was made of. Without it its buttons do not work, and no more."""
        try:
            await turn.record(answers, record)
        except HistoryError as error:
            log.error("what an answer was made of is not kept: %s", error)


def _asked(question: Question, turn: Turn) -> list[Message]:
    """What this turn adds to what was said, before its answer."""
    before = question.said[len(turn.context.said) :]
    return [*before, *chained([question.message], question.said)]


def _record(
    turn: Turn,
    course: Course,
    question: Question,
    ids: Sequence[int],
    receipt: Receipt,
    now: datetime,
) -> AnswerRecord:
    plan, message = course.plan, question.message
    about = plan.renews or plan.continues
    return AnswerRecord(
        id=ids[0],
        part_ids=tuple(ids[1:]),
        # Whoever has it said again need not be who asked.
        asker=about.record.asker if about else message.author.id,
        question_id=about.record.question_id if about else message.id,
        conversation=message.conversation,
        place=message.place,
        created_at=now,
        receipt=receipt,
        question=turn.messages[-1] if plan.keeps == "record" else None,
        is_local_only=plan.policy.is_local_only,
    )
