"""The core as a front end sees it: messages and commands come in, and so do buttons, edits,
deletions and departures."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import msgspec
from msgspec import structs

from acore_bot.chat.changes import Changes
from acore_bot.chat.commands import Commands, ListModels, Report
from acore_bot.chat.compare import Comparisons
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.open_turn import Context
from acore_bot.chat.policy import Policies, Policy, may_choose
from acore_bot.chat.presses import Presses, told
from acore_bot.chat.reply import Reply
from acore_bot.chat.turn import TurnTaker, of_person
from acore_bot.contracts import History, Knob, ReplyTarget, Scope
from acore_bot.errors import AcoreError, NotAllowed, NotFound
from acore_bot.messages import (
    Control,
    IncomingCommand,
    IncomingMessage,
    Place,
    Press,
    SnowflakeSequence,
)
from acore_bot.telemetry.events import CommandUsed

SUMMARIZE = (
    "Summarize the conversation above for somebody who was away: what was talked about, what was "
    "decided, and what is still open. Use a few short points, and name who said what where that "
    "matters."
)
NOTHING_TO_SUMMARIZE = "Nothing was said to me here yet, so there is nothing to summarize."
OWN_COMMANDS = ("summary", "compare")
NO_QUESTION = "There is nothing to compare."


class _Wish(msgspec.Struct):
    """What somebody wants to have compared."""

    question: str
    first: str = ""
    second: str = ""


@dataclass(frozen=True, kw_only=True)
class ChatCore:
    """Keeps the promises `Handler` and `Core`. `offered_models` may be compared by everyone,
    besides the model that answers; `now` is the time of day in UTC."""

    turns: TurnTaker
    presses: Presses
    changes: Changes
    conversations: Conversations
    history: History
    policies: Policies
    commands: Commands
    comparisons: Comparisons
    list_models: ListModels
    context_messages: int
    offered_models: Sequence[str] = ()
    snowflakes: SnowflakeSequence = field(default_factory=lambda: SnowflakeSequence(time.time))
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer a message or run a command; tell every error through `target`."""
        if isinstance(incoming, IncomingMessage):
            await self.turns(incoming, target)
            return
        async with self.turns.telling(target):
            with self._telling_of(incoming):
                await self._obey(incoming, target)

    async def _obey(self, command: IncomingCommand, target: ReplyTarget) -> None:
        match command.name:
            case "summary":
                await self._summarize(command, target)
            case "compare":
                await self._compare(command, target)
            case _:
                await self._run(command, target)

    @property
    def open_answers(self) -> int:
        """How many turns are being answered."""
        return self.conversations.count_open()

    @contextmanager
    def _telling_of(self, command: IncomingCommand) -> Iterator[None]:
        """Say that a command was used, and how it ended."""
        began_at, kind = self.turns.clock(), "unexpected"
        try:
            yield
            kind = ""
        except AcoreError as error:
            kind = error.kind
            raise
        finally:
            is_ours = command.name in OWN_COMMANDS or self.commands.knows(command.name)
            name = command.name if is_ours else "unknown"
            self.turns.emit(CommandUsed(name, self.turns.clock() - began_at, kind))

    async def _run(self, command: IncomingCommand, target: ReplyTarget) -> None:
        result = await self.commands.run(command)
        if isinstance(result, Report):
            await target.attach(result.text, result.file_name, result.content)
            return
        async with Reply(target) as reply:  # it may be longer than a message
            await reply.finish(result)

    async def _summarize(self, command: IncomingCommand, target: ReplyTarget) -> None:
        policy = self._allowed(command)
        message = of_person(self._told(SUMMARIZE, command), policy)

        async def load() -> tuple[tuple[IncomingMessage, ...], Context]:
            said = await self.history.recent(message.conversation, self.context_messages)
            if not said:
                raise NotFound(NOTHING_TO_SUMMARIZE)
            return (message,), Context(said)

        place = (message.conversation, message.author.id)
        async with Reply(target) as reply, self.conversations.take_up(place, load) as turn:
            # What holds may have changed while it waited: it may be local only by now.
            plan = structs.replace(self.turns.plan(self._allowed(command)), keeps="nothing")
            await self.turns.answer(turn, plan, reply, target)

    async def _compare(self, command: IncomingCommand, target: ReplyTarget) -> None:
        if command.argument == "results":
            await target.post(await self.comparisons.results(command.place.guild), final=True)
            return
        policy, wish = self._allowed(command), _wish(command.argument)
        models = await self._comparable(command, policy)
        named = [name for name in (wish.first, wish.second) if name]
        if refused := [name for name in named if models is not None and name not in models]:
            msg = f"Only those who may choose the model here may compare {refused[0][:80]}."
            raise NotAllowed(msg, remedy=f"You can compare: {', '.join(models or ())}.")
        if len(named) < 2:
            if models is None:
                models = await self._all_models(policy)
            current = [policy.model] if self._may_answer(policy.model, policy) else models[:1]
            named = [*self.comparisons.pick(models, *(named or current or [policy.model]))]
        question = self._told(wish.question, command)
        answer = partial(self._answer_blindly, command)
        await self.comparisons.run(question, named[0], named[1], target, answer)

    async def _comparable(self, command: IncomingCommand, policy: Policy) -> tuple[str, ...] | None:
        """Name what somebody may compare; None for all there is. Models cost their owner money."""
        if may_choose(policy, command.roles, may_manage=command.may_manage):
            return None
        offered = dict.fromkeys((policy.model, *self.offered_models))
        return tuple(model for model in offered if self._may_answer(model, policy))

    def _may_answer(self, model: str, policy: Policy) -> bool:
        """Tell whether a model may be sent what is said where a policy holds."""
        return not policy.is_local_only or self.turns.asker.host_of(model).is_local

    async def _all_models(self, policy: Policy) -> tuple[str, ...]:
        found = await self.list_models(local_only=policy.is_local_only)
        return tuple(f"{provider}/{name}" for provider, names in found.items() for name in names)

    async def _answer_blindly(
        self,
        command: IncomingCommand,
        question: IncomingMessage,
        model: str,
        target: ReplyTarget,
        title: str,
        its_turn: Callable[[], Awaitable[object]],
    ) -> None:
        """Let a model answer without its name. Raises `AcoreError`."""
        plan = structs.replace(
            self.turns.plan(self._allowed(command)),
            model=model,
            is_stateless=True,
            keeps="nothing",
            title=title,
        )
        showing = Reply(target, its_turn=its_turn)
        async with showing as reply, self.conversations.take_aside(question) as turn:
            await self.turns.answer(turn, plan, reply, target)

    def _allowed(self, command: IncomingCommand) -> Policy:
        """Return what holds for whoever commands. Raises `NotAllowed`."""
        policy = self.policies.of(command.place, command.roles)
        self.turns.check(command.author.id, command.roles, policy, may_manage=command.may_manage)
        return policy

    def _told(self, text: str, command: IncomingCommand) -> IncomingMessage:
        return told(
            text,
            self.snowflakes.next(),
            self.now(),
            command.author,
            command.place,
            command.conversation,
        )

    async def press(self, press: Press, target: ReplyTarget) -> None:
        """Do what a button says, if this person may use it; tell them by a whisper if not."""
        async with self.turns.telling(target):
            await self.presses.obey(press, target)

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Take note that a message was edited; return where its answer could be given anew."""
        return await self.changes.edited(message_id, text)

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Take note that messages are gone, and forget them and what was answered to them."""
        return await self.changes.deleted(message_ids)

    async def left(self, place: Place) -> None:
        """Take note that a guild or a channel is gone, and forget all that was said there."""
        await self.changes.left(place)

    async def explain(self, message: IncomingMessage) -> str:
        """Say which rule makes the bot answer a message, or stay silent."""
        decision = await self.turns.explain(message)
        did = "I answer this" if decision.answers else "I stay silent here"
        return f"{did}: {decision.reason}."

    async def suggest(self, command: str, typed: str, place: Place) -> tuple[str, ...]:
        """Name at most 25 arguments that a command could take and that fit what was typed."""
        return await self.commands.suggest(command, typed, place)

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Return the settings of a guild, a channel or a role, as they stand."""
        return self.policies.knobs(place, scope, target)

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Change a setting, or let it follow the wider ones again. Raises `NotFound`."""
        await self.policies.turn_knob(guild, scope, target, name, value)


def _wish(argument: str) -> _Wish:
    """Read what is to be compared: fields of a front end, or a question as it was typed."""
    try:
        return msgspec.json.decode(argument, type=_Wish)
    except msgspec.DecodeError:
        if not argument.strip():
            raise NotFound(NO_QUESTION, remedy="Write a question after the command.") from None
        return _Wish(argument)
