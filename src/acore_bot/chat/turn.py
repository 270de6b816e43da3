"""The way of a message, from being heard to being answered. Read this first.

    attention      should I answer?
    conversation   take the turn, load what was said
    material       read what the message brought along
    prompt         build the request
    (the model)    stream it
    reply          show it as it grows
    conversation   commit question and answer
    (telemetry)    say what happened

This room stands above its neighbours, and they do not know each other.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec import structs

from acore_bot.chat import attention
from acore_bot.chat.alarm import Alarm
from acore_bot.chat.answer import Answer, place_in_line
from acore_bot.chat.attention import DEFAULT_RULES, Decision, Rules
from acore_bot.chat.commands import Commands
from acore_bot.chat.conversation import Choices, Conversations, Turn
from acore_bot.chat.loops import LoopGuard
from acore_bot.chat.material import MaterialReader
from acore_bot.chat.persona import Persona, PersonaLibrary
from acore_bot.chat.prompt import Prompt, PromptBuilder, Question
from acore_bot.chat.reply import Reply
from acore_bot.chat.sights import Sights
from acore_bot.contracts import ChatModel, ReplyTarget
from acore_bot.errors import AcoreError, HistoryError, ModelError, TargetGone, TooLong, Unexpected
from acore_bot.messages import (
    Author,
    ChatRequest,
    Delta,
    End,
    IncomingCommand,
    IncomingMessage,
    Message,
    ModelInfo,
    Waiting,
)
from acore_bot.telemetry import events

log = logging.getLogger(__name__)

BOT_ID = "bot"
NOT_REMEMBERED = "What we say here is not remembered just now."


@dataclass(frozen=True, kw_only=True)
class TurnTaker:
    """The core as a front end sees it: one callable that does all that a message calls for.

    `tell` words an error for whoever reads along.
    """

    model: ChatModel
    conversations: Conversations
    personas: PersonaLibrary
    prompts: PromptBuilder
    commands: Commands
    choices: Choices
    rules: Rules = DEFAULT_RULES
    materials: MaterialReader = field(default_factory=MaterialReader)
    sights: Sights = field(default_factory=Sights)
    loops: LoopGuard = field(default_factory=LoopGuard)
    store_alarm: Alarm = field(default_factory=Alarm)
    tell: Callable[[AcoreError], str] = str
    emit: events.Emit = events.ignore
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer a message or run a command; tell every error through `target`."""
        try:
            if isinstance(incoming, IncomingCommand):
                await target.post(await self.commands.run(incoming), final=True)
                return
            self.loops.hear(incoming)
            if self._decide(incoming).answers or (
                attention.may_belong(incoming, self.rules) and await self._belongs(incoming)
            ):
                await self._take_turn(incoming, target)
        except TargetGone:
            raise
        except AcoreError as error:
            log.warning("a message could not be answered: %s", error)
            await target.post(self.tell(error), final=True)
        except Exception:
            # Whatever else it is, the person must not be left without a word.
            log.exception("a message could not be answered")
            await target.post(str(Unexpected()), final=True)

    def _decide(self, message: IncomingMessage, *, has_spoken: bool = False) -> Decision:
        return attention.decide(
            message,
            self.rules,
            has_spoken_here=has_spoken,
            is_going_on=self.conversations.is_gathering(message),
        )

    async def _belongs(self, message: IncomingMessage) -> bool:
        """Tell whether a message is for the bot because of what it said there before."""
        if not self._decide(message, has_spoken=True).answers:
            return False
        try:
            return await self.conversations.has_spoken(message.conversation)
        except HistoryError as error:
            # It may be for somebody else, who must not hear of our troubles.
            log.warning("a thread cannot be followed: %s", error)
            return False

    async def _take_turn(self, message: IncomingMessage, target: ReplyTarget) -> None:
        if not self.loops.allows(message):
            return
        if message.is_late and await self.conversations.was_answered(message):
            return
        # Typing is shown from the start, also while the turn is waited for.
        async with Reply(target) as reply, self.conversations.take_turn(message) as turn:
            if turn is not None:
                reply.on_post = turn.open_answer
                await self._answer(turn, reply, target)

    async def _answer(self, turn: Turn, reply: Reply, target: ReplyTarget) -> None:
        choice = self.choices.of(turn.conversation)
        persona = self.personas.load(choice.persona)
        answer = Answer(model=choice.model, asked_at=self.clock(), tell=self.tell)
        asked: list[Message] = []
        with _noting_faults(answer):
            info = await self.model.describe(choice.model)
            question = await self._read(turn, choice.model, persona, info, answer, target)
            asked += _asked(question, turn)
            await self._ask(question, info, answer, reply)

        async def settle() -> None:
            answer_ids = await reply.finish(answer.final_text)
            if answer.text.strip():
                said = (*asked, self._answered(asked[-1], answer, answer_ids, persona))
                await self._commit(turn, said, target)
            self.emit(_what_happened(answer, self.clock()))

        await _seen_through(settle())
        if answer.is_stopped:
            raise asyncio.CancelledError

    async def _read(
        self,
        turn: Turn,
        model: str,
        persona: Persona,
        info: ModelInfo,
        answer: Answer,
        target: ReplyTarget,
    ) -> Question:
        """Read what is asked with all that came with it; of several messages the last is the
        question, and the others are what was said before it."""
        sees = "vision" in info.abilities
        known = frozenset(id_ for said in turn.context.said for id_ in (said.id, *said.part_ids))
        room = self.prompts.room_for_material(model, info) // len(turn.messages)
        heard: list[IncomingMessage] = []
        for message in turn.messages:
            material = await self.materials.read(message, target, sees=sees, known=known, room=room)
            self.sights.remember(message.id, material.images)
            answer.remarks += material.remarks
            heard.append(structs.replace(message, text=material.text))
        said = (*turn.context.said, *_chained(heard[:-1], turn.context.said))
        ids = (*(message.id for message in said), heard[-1].id)
        return Question(
            message=heard[-1],
            model=model,
            system=persona.text,
            temperature=persona.temperature,
            said=said,
            is_branch=turn.context.is_branch,
            images=self.sights.of(ids) if sees else {},
        )

    async def _ask(self, question: Question, info: ModelInfo, answer: Answer, reply: Reply) -> None:
        """Stream an answer into the reply; once more, with less, if the prompt was too long."""
        prompt = self._build(question, info)
        try:
            await self._stream(prompt.request, answer, reply)
        except TooLong as refusal:
            if answer.text:
                raise
            if f"{refusal.provider}/{refusal.model}" == question.model:
                self.prompts.learn_from_refusal(prompt, refusal)
            else:  # a smaller model would answer instead
                info = ModelInfo(context_tokens=refusal.context_tokens)
            harder = self._build(question, info, harder_than=prompt)
            await self._stream(harder.request, answer, reply)

    def _build(
        self, question: Question, info: ModelInfo, harder_than: Prompt | None = None
    ) -> Prompt:
        prompt = self.prompts.build(question, info, harder_than)
        if prompt.was_trimmed:
            dropped, kept = prompt.dropped_messages, len(question.said) - prompt.dropped_messages
            self.emit(events.PromptTrimmed(dropped_messages=dropped, kept_messages=kept))
        return prompt

    async def _stream(self, request: ChatRequest, answer: Answer, reply: Reply) -> None:
        async with self.model.stream(request) as pieces:
            async for piece in pieces:
                match piece:
                    case Delta():
                        answer.grow(piece, self.clock())
                        reply.show(lambda: answer.text)
                    case Waiting():
                        reply.wait(place_in_line(piece))
                    case End():
                        answer.end = piece
        # Another model counts in other tokens.
        if answer.end and answer.end.usage and not answer.end.fell_back_from:
            self.prompts.learn_from_usage(request, answer.end.usage)

    def _answered(
        self, asked: Message, answer: Answer, answer_ids: Sequence[int], persona: Persona
    ) -> Message:
        return Message(
            id=answer_ids[0],
            conversation=asked.conversation,
            role="assistant",
            author=Author(BOT_ID, persona.name),
            text=answer.text.strip(),
            created_at=self.now(),
            parent_id=asked.id,
            finish_reason=answer.finish_reason,
            model=answer.answered_by,
            part_ids=tuple(answer_ids[1:]),
        )

    async def _commit(self, turn: Turn, said: Sequence[Message], target: ReplyTarget) -> None:
        """Store what was said. If that fails, say so once: the answer itself was seen already."""
        try:
            await turn.commit(said)
        except HistoryError as error:
            if not self.store_alarm.is_on:
                log.error("answers are not stored: %s", error)
            if self.store_alarm.is_news(said[0].conversation):
                await target.post(f"{NOT_REMEMBERED} {self.tell(error)}", final=True)
        else:
            self.store_alarm.end()


def _asked(question: Question, turn: Turn) -> tuple[Message, ...]:
    """What this turn adds to what was said, before its answer."""
    before = question.said[len(turn.context.said) :]
    return (*before, *_chained([question.message], question.said))


def _chained(heard: Sequence[IncomingMessage], said: Sequence[Message]) -> list[Message]:
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


@contextmanager
def _noting_faults(answer: Answer) -> Iterator[None]:
    """Note in the answer what went wrong, or that it was stopped: what was said before is kept."""
    try:
        yield
    except asyncio.CancelledError:
        answer.is_stopped = True
    except TargetGone:
        raise
    except AcoreError as error:
        answer.fault = error
        log.warning("%s failed: %s", answer.model, error)
        if isinstance(error, ModelError) and error.detail:
            log.debug("the server said: %s", error.detail)  # it may repeat what people said
    except Exception:
        # Whatever it is, what was said before it is kept and the person is told.
        log.exception("%s failed", answer.model)
        answer.fault = Unexpected()


async def _seen_through(work: Coroutine[None, None, None]) -> None:
    """Finish some work before obeying a cancellation; a second one is obeyed at once."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _what_happened(answer: Answer, now: float) -> events.Event:
    seconds = now - answer.asked_at
    if answer.fault and not answer.text:
        kind = answer.fault.kind
        return events.TurnFailed(model=answer.model, kind=kind, total_seconds=seconds)
    first = answer.first_delta_at
    usage = answer.end.usage if answer.end else None
    return events.TurnFinished(
        model=answer.answered_by,
        finish_reason=answer.finish_reason,
        first_delta_seconds=None if first is None else first - answer.asked_at,
        total_seconds=seconds,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=usage.cached_tokens if usage else None,
    )
