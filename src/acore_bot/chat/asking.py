"""Asking a model: from the messages of a turn to an answer that grows.

    material       read what the messages brought along
    prompt         build the request
    budgets        take the most that it may use
    (the model)    stream it

Who is asked may change on the way: a place may be kept from clouds, and a budget may be used up.
The answer says so then.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct, structs

from acore_bot.chat.answer import Answer, place_in_line
from acore_bot.chat.budgets import Budgets, Spending
from acore_bot.chat.material import MaterialReader
from acore_bot.chat.open_turn import Turn
from acore_bot.chat.paused import visible, without_words_of
from acore_bot.chat.persona import Persona
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.prompt import Prompt, PromptBuilder, Question
from acore_bot.chat.reply import Reply
from acore_bot.chat.sights import Sights
from acore_bot.contracts import ChatModel, ReplyTarget
from acore_bot.errors import CloudForbidden, OverBudget, TooLong, Unavailable
from acore_bot.messages import (
    AnswerRecord,
    Author,
    ChatRequest,
    Delta,
    End,
    Host,
    IncomingMessage,
    Message,
    ModelInfo,
    Piece,
    Prices,
    Waiting,
)
from acore_bot.telemetry import events

KEPT_FROM_CLOUDS = "answered by {model}, because this place is kept from clouds"
BUDGET_USED_UP = "answered by {model}, because today's budget is used up"


Keeps: TypeAlias = Literal[
    "all",  # question and answer in the history, and a record of what it was made of
    "answer",  # the answer and its record: the question is there
    "record",  # the record, with the question: it belongs to no conversation
    "nothing",
]


class Former(Struct, frozen=True):
    """An answer that another one replaces or continues."""

    record: AnswerRecord
    is_unfinished: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """Its messages, in order."""
        return (self.record.id, *self.record.part_ids)


class Plan(Struct, frozen=True, kw_only=True):
    """How a turn is to be answered, and what is kept of it.

    `renews` is an answer in whose place another is wanted, which nobody had before; `continues` one
    that goes on. With `is_stateless`, nothing that was said before counts. `payer` is whose budget
    is used, if not the asker's. A `title` stands above the answer, and then nothing in it says who
    gave it.
    """

    policy: Policy
    persona: Persona
    model: str
    keeps: Keeps = "all"
    is_stateless: bool = False
    renews: Former | None = None
    continues: Former | None = None
    payer: Author | None = None
    title: str = ""


@dataclass(kw_only=True)
class Course:
    """How far an answer has come: the plan as it is now, the question once it was read, the prompt
    once it was built, what the model costs, and what the person should know about their budget."""

    plan: Plan
    question: Question | None = None
    prompt: Prompt | None = None
    prices: Prices | None = None
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks models. `host_of` tells where a model computes; `local_models` may answer where
    clouds may not, the first that there is; `last_resort` is the model inside the package, if it is
    there; `is_paused` tells who wants nothing of theirs to be sent."""

    model: ChatModel
    prompts: PromptBuilder
    budgets: Budgets
    host_of: Callable[[str], Host]
    local_models: Sequence[str] = ()
    last_resort: str | None = None
    materials: MaterialReader = field(default_factory=MaterialReader)
    sights: Sights = field(default_factory=Sights)
    is_paused: Callable[[str], bool] = lambda _: False
    emit: events.Emit = events.ignore
    clock: Callable[[], float] = time.monotonic

    async def ask(
        self, course: Course, turn: Turn, answer: Answer, reply: Reply, target: ReplyTarget
    ) -> None:
        """Stream an answer into the reply. What became of it stands in `course` and `answer`, also
        if this raises."""
        self._keep_local(course, answer)
        while True:
            info = await self.model.describe(
                course.plan.model, local_only=course.plan.policy.is_local_only
            )
            question = await self._read(course, turn, info, answer, target)
            try:
                return await self._spend(course, question, info, answer, reply)
            except OverBudget as error:
                self._go_cheaper(course, answer, error)

    def _keep_local(self, course: Course, answer: Answer) -> None:
        plan = course.plan
        if not plan.policy.is_local_only or self.host_of(plan.model).is_local:
            return
        # Of two that are compared, nobody may stand in for one.
        if not self.local_models or plan.title:
            provider, _, model = plan.model.partition("/")
            raise CloudForbidden(provider=provider, model=model)
        self._change_model(course, answer, self.local_models[0], KEPT_FROM_CLOUDS)

    def _go_cheaper(self, course: Course, answer: Answer, error: OverBudget) -> None:
        """Let the model inside the package answer, for nothing, where the owner wants it so."""
        plan, policy = course.plan, course.plan.policy
        if policy.limits.when_spent != "embedded" or self.last_resort is None or plan.title:
            raise error
        # Nor may it fall over to a cloud, which nobody would be charged for.
        free = structs.replace(policy, limits=Limits(), is_local_only=True)
        course.plan = structs.replace(course.plan, policy=free)
        self._change_model(course, answer, self.last_resort, BUDGET_USED_UP)

    def _change_model(self, course: Course, answer: Answer, model: str, why: str) -> None:
        course.plan = structs.replace(course.plan, model=model)
        answer.model = model
        if not answer.is_blind:
            answer.changes += (why.format(model=model),)

    async def _read(
        self, course: Course, turn: Turn, info: ModelInfo, answer: Answer, target: ReplyTarget
    ) -> Question:
        """Read what is asked with all that came with it; of several messages the last is the
        question, and the others are what was said before it."""
        plan, context = course.plan, turn.context
        sees = "vision" in info.abilities
        known = frozenset(id_ for said in context.said for id_ in (said.id, *said.part_ids))
        room = self.prompts.room_for_material(plan.model, info) // len(turn.messages)
        heard: list[IncomingMessage] = []
        answer.files, answer.remarks = (), ()
        for message in turn.messages:
            quoted = without_words_of(message, self.is_paused)
            material = await self.materials.read(quoted, target, sees=sees, known=known, room=room)
            self.sights.remember(message.id, material.images)
            answer.files += material.files
            answer.remarks += material.remarks
            heard.append(structs.replace(message, text=material.text))
        said = (*context.said, *chained(heard[:-1], context.said))
        ids = (*(message.id for message in said), heard[-1].id)
        course.question = Question(
            message=heard[-1],
            model=plan.model,
            system=plan.persona.text,
            temperature=plan.persona.temperature,
            said=said,
            is_branch=context.is_branch,
            is_stateless=plan.is_stateless,
            is_fresh=plan.renews is not None,
            is_local_only=plan.policy.is_local_only,
            images=self.sights.of(ids) if sees else {},
        )
        return course.question

    async def _spend(
        self, course: Course, question: Question, info: ModelInfo, answer: Answer, reply: Reply
    ) -> None:
        """Stream within the budget of whoever asks. Raises `OverBudget` before a model is asked."""
        policy, message = course.plan.policy, question.message
        course.prompt, course.prices = self._build(question, info), info.prices
        request = course.prompt.request
        async with self.budgets.spend(
            policy, message.place, course.plan.payer or message.author, request, info
        ) as spending:
            course.notice = spending.notice
            # An answer that is being renewed stands until there is something better.
            in_sight = course.plan.renews is None
            hearing = _Hearing(answer, reply, spending, self.clock, in_sight)
            answer.sent_at = self.clock()
            try:
                await self._stream_or_shorten(course, question, info, hearing)
            finally:
                answer.ended_at = self.clock()

    async def _stream_or_shorten(
        self, course: Course, question: Question, info: ModelInfo, hearing: "_Hearing"
    ) -> None:
        """Stream an answer; once more, with less, if the prompt was too long."""
        prompt = course.prompt
        assert prompt is not None
        try:
            await self._stream(prompt.request, hearing)
        except TooLong as refusal:
            if hearing.answer.text:
                raise
            if f"{refusal.provider}/{refusal.model}" == question.model:
                self.prompts.learn_from_refusal(prompt, refusal)
            else:  # a smaller model would answer instead
                info = ModelInfo(context_tokens=refusal.context_tokens)
            course.prompt = self._build(question, info, harder_than=prompt)
            await self._stream(course.prompt.request, hearing)

    async def _stream(self, request: ChatRequest, hearing: "_Hearing") -> None:
        async with self.model.stream(request) as pieces:
            async for piece in pieces:
                hearing.take(piece)
        end = hearing.answer.end
        if hearing.answer.is_blind and end and end.fell_back_from:
            provider, _, model = request.model.partition("/")
            raise Unavailable(provider=provider, model=model)
        # Another model counts in other tokens.
        if end and end.usage and not end.fell_back_from:
            self.prompts.learn_from_usage(request, end.usage)

    def _build(
        self, question: Question, info: ModelInfo, harder_than: Prompt | None = None
    ) -> Prompt:
        # Who does not want to be heard may have said something that another's turn has loaded.
        seen = structs.replace(question, said=visible(question.said, self.is_paused))
        prompt = self.prompts.build(seen, info, harder_than)
        if prompt.was_trimmed:
            dropped, kept = prompt.dropped_messages, len(seen.said) - prompt.dropped_messages
            self.emit(events.PromptTrimmed(dropped_messages=dropped, kept_messages=kept))
        return prompt


class _Hearing(NamedTuple):
    """Who wants to know of each piece of an answer."""

    answer: Answer
    reply: Reply
    spending: Spending
    clock: Callable[[], float]
    waits_in_sight: bool = True

    def take(self, piece: Piece) -> None:
        """Let the answer grow by a piece, and show it."""
        self.spending.hear(piece)
        match piece:
            case Delta():
                self.answer.grow(piece, self.clock())
                self.reply.show(lambda: self.answer.shown_text)
            case Waiting() if self.waits_in_sight:
                self.reply.wait(place_in_line(piece))
            case End():
                self.answer.end = piece


def chained(heard: Sequence[IncomingMessage], said: Sequence[Message]) -> list[Message]:
    """Make messages that can be stored, each continuing the one before it."""
    chain = list(said[-1:])
    for message in heard:
        parent_id = chain[-1].id if chain else None
        chain.append(
            Message(
                id=message.id,
                conversation=message.conversation,
                role="user",
                author=message.author,
                text=message.text,
                created_at=message.created_at,
                parent_id=parent_id,
            )
        )
    return chain[len(said[-1:]) :]
