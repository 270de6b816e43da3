"""The way of a message, from being heard to being answered. Read this first.

    policy         what holds here, for this person?
    attention      should I answer?
    conversation   take the turn, load what was said
    asking         read what came along, build the request, stream it
    reply          show it as it grows
    keeping        commit question and answer, and what it was made of
    (telemetry)    say what happened

This room stands above its neighbours, and they do not know each other.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from msgspec import structs

from acore_bot.chat import attention
from acore_bot.chat.answer import Answer
from acore_bot.chat.asking import Asker, Course, Plan
from acore_bot.chat.attention import Decision
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.happenings import what_happened
from acore_bot.chat.keeping import Keeper
from acore_bot.chat.loops import LoopGuard
from acore_bot.chat.open_turn import Turn
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policies, Policy, may_use
from acore_bot.chat.receipts import footnote, make_receipt
from acore_bot.chat.reply import Reply
from acore_bot.contracts import ReplyTarget
from acore_bot.errors import (
    AcoreError,
    HistoryError,
    ModelError,
    NotAllowed,
    TargetGone,
    Unexpected,
)
from acore_bot.messages import Control, IncomingMessage, Receipt
from acore_bot.telemetry import events

log = logging.getLogger(__name__)

PAUSED = "You asked me not to take in what you say, so I did not. `/privacy resume` changes that."
NOT_FOR_THEM = "Only people with certain roles may use me here."
NOT_HERE = "I may not speak here."
REFUSAL_SECONDS = 3600.0
MAX_REFUSED = 10_000
REASONS = {
    PAUSED: "its author asked me not to take in what they say",
    NOT_FOR_THEM: "its author has no role that may use me here",
}
KINDS = {PAUSED: "paused", NOT_FOR_THEM: "lacks_role"}


class Refusals:
    """Remembers who was told lately that they get no answer: once an hour is enough."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_due(self, author_id: str, now: float) -> bool:
        """Tell whether a person should be told, and remember it. `now` is monotonic seconds."""
        if now < self._told.get(author_id, -math.inf) + REFUSAL_SECONDS:
            return False
        if len(self._told) >= MAX_REFUSED:
            self._told.clear()
        self._told[author_id] = now
        return True


@dataclass(frozen=True, kw_only=True)
class TurnTaker:
    """One callable that does all that a message calls for.

    `tell` words an error for whoever reads along; `is_paused` tells who wants nothing of theirs to
    be taken in; `pseudonym` is what a conversation is called in events. Where the keeper keeps no
    records, answers have no buttons.
    """

    asker: Asker
    conversations: Conversations
    personas: PersonaLibrary
    policies: Policies
    keeper: Keeper = field(default_factory=Keeper)
    is_paused: Callable[[str], bool] = lambda _: False
    loops: LoopGuard = field(default_factory=LoopGuard)
    refusals: Refusals = field(default_factory=Refusals)
    tell: Callable[[AcoreError], str] = str
    emit: events.Emit = events.ignore
    pseudonym: Callable[[str], str] = lambda _: ""
    clock: Callable[[], float] = time.monotonic

    async def __call__(self, message: IncomingMessage, target: ReplyTarget) -> None:
        """Answer a message, if it deserves one; tell every error through `target`."""
        policy = self.policies.of(message.place, message.roles)
        self.loops.hear(message)
        own = of_person(message, policy)
        # Nearly all that anybody says ends here, so nothing more is done before.
        if self._decide(own, policy).answers or (
            attention.may_belong(own, policy.rules) and await self._belongs(own, policy)
        ):
            async with self.telling(target):
                if self.loops.allows(message):
                    await self._obey(own, policy, target)

    @asynccontextmanager
    async def telling(self, target: ReplyTarget) -> AsyncIterator[None]:
        """Tell every error of the block to the person, in words fit for them."""
        try:
            yield
        except TargetGone:
            raise
        except AcoreError as error:
            log.warning("a message could not be answered: %s", error)
            await target.post(self.tell(error), final=True)
        except Exception:
            # Whatever else it is, the person must not be left without a word.
            log.exception("a message could not be answered")
            await target.post(str(Unexpected()), final=True)

    async def _obey(self, message: IncomingMessage, policy: Policy, target: ReplyTarget) -> None:
        # From here on, whoever withdraws the message or its author's consent reaches this task.
        with self.conversations.hearing(message):
            if refusal := self._refusal(message.author.id, message.roles, policy):
                self.emit(events.TurnRefused(KINDS[refusal]))
                if self.refusals.is_due(message.author.id, self.clock()):
                    await target.whisper(refusal)
            else:
                await self._take_turn(message, policy, target)

    def check(
        self, author_id: str, roles: Sequence[str], policy: Policy, *, may_manage: bool = False
    ) -> None:
        """Raise `NotAllowed` if somebody who wants an answer gets none, whatever they say."""
        if refusal := self._refusal(author_id, roles, policy, may_manage=may_manage):
            raise NotAllowed(refusal)
        if policy.rules.nothing:
            raise NotAllowed(NOT_HERE)

    def _refusal(
        self, author_id: str, roles: Sequence[str], policy: Policy, *, may_manage: bool = False
    ) -> str:
        if self.is_paused(author_id):
            return PAUSED
        return "" if may_use(policy, roles, may_manage=may_manage) else NOT_FOR_THEM

    async def explain(self, message: IncomingMessage) -> Decision:
        """Say whether a message deserves an answer, and which rule says so."""
        policy = self.policies.of(message.place, message.roles)
        message = of_person(message, policy)
        decision = self._decide(message, policy)
        if not decision.answers and attention.may_belong(message, policy.rules):
            has_spoken = await self.conversations.has_spoken(message.conversation)
            decision = self._decide(message, policy, has_spoken=has_spoken)
        refusal = self._refusal(message.author.id, message.roles, policy)
        if decision.answers and refusal:
            return Decision(answers=False, reason=REASONS[refusal])
        return decision

    def _decide(
        self, message: IncomingMessage, policy: Policy, *, has_spoken: bool = False
    ) -> Decision:
        return attention.decide(
            message,
            policy.rules,
            has_spoken_here=has_spoken,
            is_going_on=self.conversations.is_gathering(message),
        )

    async def _belongs(self, message: IncomingMessage, policy: Policy) -> bool:
        """Tell whether a message is for the bot because of what it said there before."""
        if not self._decide(message, policy, has_spoken=True).answers:
            return False
        try:
            return await self.conversations.has_spoken(message.conversation)
        except HistoryError as error:
            # It may be for somebody else, who must not hear of our troubles.
            log.warning("a thread cannot be followed: %s", error)
            return False

    async def _take_turn(
        self, message: IncomingMessage, policy: Policy, target: ReplyTarget
    ) -> None:
        if message.is_late and await self.conversations.was_answered(message):
            return
        heard_at = self.clock()
        target = dressed(target, self.plan(policy))
        # Typing is shown from the start, also while the turn is waited for.
        async with Reply(target) as reply, self._turn(message) as turn:
            if turn is not None:
                # What holds may have changed since it was said: it may be local only by now.
                plan = self.plan(self.policies.of(message.place, message.roles))
                if message.is_stateless:
                    plan = structs.replace(plan, is_stateless=True, keeps="record")
                await self.answer(turn, plan, reply, target, heard_at=heard_at)

    def _turn(self, message: IncomingMessage) -> AbstractAsyncContextManager[Turn | None]:
        if message.is_stateless:
            return self.conversations.take_aside(message)
        return self.conversations.take_turn(message)

    def plan(self, policy: Policy) -> Plan:
        """Say how to answer where a policy holds. Raises `NotFound` or `ConfigurationError`."""
        persona = self.personas.load(policy.persona)
        return Plan(policy=policy, persona=persona, model=policy.model)

    async def answer(
        self,
        turn: Turn,
        plan: Plan,
        reply: Reply,
        target: ReplyTarget,
        *,
        heard_at: float | None = None,
    ) -> tuple[int, ...]:
        """Answer a turn, show it, and keep what the plan says. Return the answer's messages.

        `heard_at` is when it was asked for, on the clock, before the turn was waited for. Errors
        are told where the answer stands; of a blind answer, they are raised. Raises `TargetGone`,
        and `CancelledError` after what was said until then has been kept and marked.
        """
        reply.on_post = turn.open_answer
        answer = Answer(
            model=plan.model,
            heard_at=heard_at,
            asked_at=self.clock(),
            tell=self.tell,
            title=plan.title,
            is_blind=bool(plan.title),
        )
        course = Course(plan=plan)
        with _noting_faults(answer):
            await self.asker.ask(course, turn, answer, reply, target)
        ids: list[int] = []

        async def settle() -> None:
            try:
                shown = await self._settle(turn, course, answer, reply, target)
            finally:
                self._tell_what_happened(turn, course, answer)
            if turn.is_withdrawn:  # perhaps while it was shown
                await target.remove(shown)
            else:
                ids.extend(shown)

        await _seen_through(settle())
        if answer.is_stopped:
            raise asyncio.CancelledError
        if answer.is_blind and answer.fault:
            raise answer.fault
        return tuple(ids)

    async def _settle(
        self, turn: Turn, course: Course, answer: Answer, reply: Reply, target: ReplyTarget
    ) -> tuple[int, ...]:
        """Show how it ended, and keep it, unless the question is gone. Return its messages."""
        if turn.is_withdrawn:
            return await reply.finish("")
        has_text = bool(answer.text.strip())
        if not has_text and course.plan.renews:
            # What was there before is better than nothing.
            await target.whisper(answer.final_text)
            return await reply.finish("")
        receipt = self._receipt(course, answer)
        if course.plan.policy.shows_host and not answer.is_blind:
            answer.footnote = footnote(receipt.host, receipt.model)
        offered = self._offered(course.plan, can_go_on=answer.can_go_on) if has_text else ()
        try:
            ids = await reply.finish(answer.final_text, offered)
            answer.shown_at = self.clock()
        except TargetGone:
            if has_text and reply.ids:  # what people saw of it is not to be lost
                await self.keeper.keep(turn, course, answer, reply.ids, receipt, target)
            raise
        if has_text:
            await self.keeper.keep(turn, course, answer, ids, receipt, target)
            answer.kept_at = self.clock()
        if renewed := course.plan.renews:
            await target.remove([id_ for id_ in renewed.ids if id_ not in ids])
        if course.notice:
            await target.whisper(course.notice)
        return ids

    def _tell_what_happened(self, turn: Turn, course: Course, answer: Answer) -> None:
        happened = what_happened(
            answer,
            self.clock(),
            host=self.asker.host_of(answer.answered_by),
            prices=course.prices,
            place=self.pseudonym(turn.conversation),
        )
        self.emit(happened)

    def _offered(self, plan: Plan, *, can_go_on: bool) -> tuple[Control, ...]:
        if self.keeper.answers is None or plan.keeps == "nothing":
            return ()
        if can_go_on and plan.keeps != "record":
            return ("regenerate", "continue", "details")
        return ("regenerate", "details")

    def _receipt(self, course: Course, answer: Answer) -> Receipt:
        dropped = course.prompt.dropped_messages if course.prompt else 0
        said = len(course.question.said) if course.question else 0
        return make_receipt(
            answer,
            host=self.asker.host_of(answer.answered_by),
            persona=course.plan.persona.name,
            used=said - dropped,
            dropped=dropped,
            now=self.clock(),
        )


def of_person(message: IncomingMessage, policy: Policy) -> IncomingMessage:
    """Put a message into its author's own conversation, where everyone has one."""
    if policy.memory == "shared" or message.is_private:
        return message
    own = f"{message.conversation}/{message.author.id}"
    return structs.replace(message, conversation=own)


def dressed(target: ReplyTarget, plan: Plan) -> ReplyTarget:
    """Let a persona speak under its own name, where the owner wants it so."""
    if not plan.policy.shows_persona or plan.renews:
        return target
    return target.speaking_as(plan.persona.name, plan.persona.picture)


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
