"""The way of a message, from being heard to being answered. Read this first.

    attention      should I answer?
    conversation   take the turn, load what was said
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
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec import structs

from acore_bot.chat import attention
from acore_bot.chat.alarm import Alarm
from acore_bot.chat.answer import Answer, place_in_line
from acore_bot.chat.commands import Commands
from acore_bot.chat.conversation import Choices, Context, Conversations, Turn
from acore_bot.chat.persona import Persona, PersonaLibrary
from acore_bot.chat.prompt import Prompt, PromptBuilder, Question
from acore_bot.chat.reply import Reply
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
    well_formed,
)
from acore_bot.telemetry import events

log = logging.getLogger(__name__)

BOT_ID = "bot"
NOT_REMEMBERED = "What we say here is not remembered just now."


@dataclass(frozen=True, kw_only=True)
class TurnTaker:
    """The core as a front end sees it: one callable that does all that a message calls for."""

    model: ChatModel
    conversations: Conversations
    personas: PersonaLibrary
    prompts: PromptBuilder
    commands: Commands
    choices: Choices
    store_alarm: Alarm = field(default_factory=Alarm)
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
            elif attention.decide(incoming).answers:
                await self._take_turn(incoming, target)
        except TargetGone:
            raise
        except AcoreError as error:
            await target.post(str(error), final=True)
        except Exception:
            # Whatever else it is, the person must not be left without a word.
            log.exception("a message could not be answered")
            await target.post(str(Unexpected()), final=True)

    async def _take_turn(self, message: IncomingMessage, target: ReplyTarget) -> None:
        async with self.conversations.take_turn(message) as turn:
            choice = self.choices.of(message.conversation)
            persona = self.personas.load(choice.persona)
            question = _question(message, turn.context, persona, choice.model)
            async with Reply(target, turn.open_answer) as reply:
                answer = await self._ask(question, reply)

                async def settle() -> None:
                    answer_id = await reply.finish(answer.final_text)
                    if answer.text.strip():
                        said = self._said(question, answer, answer_id, persona)
                        await self._commit(turn, said, target)
                    self.emit(_what_happened(answer, self.clock()))

                await _seen_through(settle())
        if answer.is_stopped:
            raise asyncio.CancelledError

    async def _ask(self, question: Question, reply: Reply) -> Answer:
        """Stream an answer into the reply. A fault, or being stopped, is noted in the answer: what
        was said before is kept."""
        answer = Answer(model=question.model, asked_at=self.clock())
        try:
            info = await self.model.describe(question.model)
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
        except asyncio.CancelledError:
            answer.is_stopped = True
        except TargetGone:
            raise
        except AcoreError as error:
            answer.fault = error
            detail = error.detail if isinstance(error, ModelError) else ""
            log.warning("%s failed: %s %s", question.model, error, detail)
        except Exception:
            # Whatever it is, what was said before it is kept and the person is told.
            log.exception("%s failed", question.model)
            answer.fault = Unexpected()
        return answer

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
                        reply.show(answer.text)
                    case Waiting():
                        reply.show(place_in_line(piece))
                    case End():
                        answer.end = piece
        # Another model counts in other tokens.
        if answer.end and answer.end.usage and not answer.end.fell_back_from:
            self.prompts.learn_from_usage(request, answer.end.usage)

    def _said(
        self, question: Question, answer: Answer, answer_id: int, persona: Persona
    ) -> tuple[Message, Message]:
        message = question.message
        asked = Message(
            id=message.id,
            conversation=message.conversation,
            role="user",
            author=message.author,
            text=message.text,
            created_at=message.created_at,
            parent_id=question.said[-1].id if question.said else None,
        )
        answered = Message(
            id=answer_id,
            conversation=message.conversation,
            role="assistant",
            author=Author(BOT_ID, persona.name),
            text=answer.text.strip(),
            created_at=self.now(),
            parent_id=message.id,
            finish_reason=answer.finish_reason,
            model=answer.answered_by,
        )
        return asked, answered

    async def _commit(self, turn: Turn, said: tuple[Message, Message], target: ReplyTarget) -> None:
        """Store what was said. If that fails, say so once: the answer itself was seen already."""
        try:
            await turn.commit(said)
        except HistoryError as error:
            if not self.store_alarm.is_on:
                log.error("answers are not stored: %s", error)
            if self.store_alarm.is_news(said[0].conversation):
                await target.post(f"{NOT_REMEMBERED} {error}", final=True)
        else:
            self.store_alarm.end()


def _question(message: IncomingMessage, context: Context, persona: Persona, model: str) -> Question:
    return Question(
        message=structs.replace(message, text=well_formed(message.text)),
        model=model,
        system=persona.text,
        temperature=persona.temperature,
        said=context.said,
        is_branch=context.is_branch,
    )


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
