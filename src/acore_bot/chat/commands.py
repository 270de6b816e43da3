"""What a person can tell the bot to do, other than answer.

A command returns the text to show, or a report to be attached as a file. Front ends, and who asks
models, add the commands that are theirs alone.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from acore_bot.chat.conversation import Conversations
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policies, Policy, may_choose
from acore_bot.chat.privacy import Privacy, counted
from acore_bot.contracts import ChatModel, History, PerformanceStats
from acore_bot.errors import AcoreError, ConfigurationError, NotAllowed, NotFound
from acore_bot.messages import NOWHERE, Finding, IncomingCommand, Message, Place

log = logging.getLogger(__name__)

DEFAULT_SHOWN_MESSAGES = 10
MAX_SHOWN_MESSAGES = 100
MAX_COUNTED_MESSAGES = 100
MAX_LISTED_MODELS = 15
MAX_SUGGESTIONS = 25
MAX_SUGGESTED_CHARACTERS = 100
REMEMBERED_SECONDS = 60.0
EXPORT_FILE = "my-data.json"
MARKS = {"ok": "✓", "note": "!", "fault": "✗"}
# By cache: what it saves, in words, and the names of the figures that say how often.
SAVED = {
    "deduplication": ("the same at the same time", "joined", "saved_percent"),
    "responses": ("the same once more", "hits", "hit_rate_percent"),
    "history": ("what was said before", "hits", "hit_rate"),
}

FOR_CHOOSERS = "Only those who manage this server, or whom they let, may change that here."
FOR_MANAGERS = "Only those who manage this server may look into that."
HOW_TO_TALK = "Mention me, reply to me or write to me in private, and I answer. I can also do this:"

Rows: TypeAlias = list[tuple[str, ...]]
ModelsByProvider: TypeAlias = Mapping[str, tuple[str, ...]]
CacheStats: TypeAlias = Mapping[str, Mapping[str, object]]


class Report(Struct, frozen=True):
    """A text to show, and a text file that goes with it."""

    text: str
    file_name: str
    content: str


class Command(Struct, frozen=True):
    """A command's one-line description and what it does. Some are for those only who may look into
    the machine."""

    description: str
    run: Callable[[IncomingCommand], Awaitable[str | Report]]
    for_managers: bool = False


class ListModels(Protocol):
    """Names what can be asked, by provider."""

    async def __call__(self, *, local_only: bool = False) -> ModelsByProvider:
        """Name the models of all providers, or of the local ones only."""
        ...


class Figures(Struct, frozen=True):
    """Where the figures come from: what was saved, by cache; how each provider does, by name; and
    in words, what somebody used of their budget, and how the bot did lately."""

    cache_stats: Callable[[], CacheStats]
    performance_stats: Callable[[], Mapping[str, PerformanceStats]]
    budget_lines: Callable[[IncomingCommand], Awaitable[str]]
    lately: Callable[[], str] = str


class Commands:
    """The commands of the core. `examine` looks at all that the bot needs; `also` names and
    describes the commands of others, for `/help`; `tell` words an error for whoever reads along;
    `clock` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        history: History,
        conversations: Conversations,
        personas: PersonaLibrary,
        policies: Policies,
        privacy: Privacy,
        model: ChatModel,
        list_models: ListModels,
        examine: Callable[[], Awaitable[Sequence[Finding]]],
        figures: Figures,
        also: Sequence[tuple[str, str]] = (),
        tell: Callable[[AcoreError], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._conversations = conversations
        self._personas = personas
        self._policies = policies
        self._privacy = privacy
        self._model = model
        self._list_models = list_models
        self._examine = examine
        self._figures = figures
        self._also = tuple(also)
        self._tell = tell
        self._clock = clock
        self._listed: dict[bool, tuple[float, ModelsByProvider]] = {}
        self._commands = {
            "reset": Command("forget this conversation and start afresh", self._reset),
            "persona": Command("show the personas, or change to another", self._persona),
            "model": Command("show the models, or change to another", self._choose_model),
            "history": Command("show the last messages, ten or as many as you say", self._show),
            "privacy": Command(
                "what I know of you: show, export, forget, pause, resume", self._see_to_privacy
            ),
            "stats": Command("show how I have been doing, and what you used", self._stats),
            "doctor": Command("look whether all is well with me", self._doctor, for_managers=True),
        }

    def knows(self, name: str) -> bool:
        """Tell whether there is a command of that name."""
        return name in self._commands

    def described(self) -> tuple[tuple[str, str], ...]:
        """Name and describe each command but `/help`, which whoever asks this has of their own."""
        return tuple((name, command.description) for name, command in self._commands.items())

    async def run(self, incoming: IncomingCommand) -> str | Report:
        """Do what was told and return what to show. Raises `NotFound`, `NotAllowed` and what the
        doing raises."""
        if incoming.name == "help":
            return self._help(incoming)
        if (command := self._commands.get(incoming.name)) is None:
            msg = f"There is no command /{incoming.name[:40]}."
            raise NotFound(msg, remedy="/help lists them.")
        if command.for_managers and not _may_look_inside(incoming):
            raise NotAllowed(FOR_MANAGERS)
        return await command.run(incoming)

    async def suggest(self, command: str, typed: str, place: Place) -> tuple[str, ...]:
        """Name at most 25 arguments of a command that fit what was typed, the best first."""
        match command:
            case "persona":
                return _fitting(self._personas.names(), typed)
            case "model":
                is_local_only = self._policies.of(place).is_local_only
                return _fitting(_named(await self._models_lately(is_local_only)), typed)
        return ()

    def _help(self, incoming: IncomingCommand) -> str:
        own = (
            (name, command.description)
            for name, command in self._commands.items()
            if _may_look_inside(incoming) or not command.for_managers
        )
        lines = (f"- `/{name}`: {description}" for name, description in (*self._also, *own))
        return "\n".join((HOW_TO_TALK, *lines))

    async def _reset(self, incoming: IncomingCommand) -> str:
        policy = self._policy(incoming)
        conversation = _conversation(incoming, policy)
        if conversation == incoming.conversation:  # which others may share
            _check_may_choose(incoming, policy)
        count = await self._conversations.forget(conversation)
        return f"Forgotten: {counted(count, 'message')}. We start afresh."

    async def _persona(self, incoming: IncomingCommand) -> str:
        policy, slug = self._policy(incoming), incoming.argument
        if slug in {"", "list"}:
            return self._list_personas(policy.persona)
        if slug == "show":
            return self._persona_line(policy.persona, policy.persona)
        _check_may_choose(incoming, policy)
        persona = self._personas.load(slug)
        await self._policies.choose(_place(incoming), "persona", slug)
        told = f"{persona.name} answers from now on."
        return f"{told}\n\n{persona.greeting}" if persona.greeting else told

    def _list_personas(self, current: str) -> str:
        lines = (self._persona_line(slug, current) for slug in self._personas.names())
        return "\n".join((*lines, "", "Change with `/persona NAME`."))

    def _persona_line(self, slug: str, current: str) -> str:
        now = " (now)" if slug == current else ""
        try:
            persona = self._personas.load(slug)
        except ConfigurationError as error:  # the others can be chosen all the same
            log.warning("a persona cannot be listed: %s", error)
            return f"- **{slug}**{now}: {self._tell(error)}"
        return f"- **{slug}**{now}: {persona.description or persona.name}"

    async def _choose_model(self, incoming: IncomingCommand) -> str:
        policy, name = self._policy(incoming), incoming.argument
        if name in {"", "list"}:
            return await self._show_models(policy)
        if name == "show":
            return _answering(policy)
        _check_may_choose(incoming, policy)
        info = await self._model.describe(name, local_only=policy.is_local_only)
        await self._policies.choose(_place(incoming), "model", name)
        window = f" It reads {info.context_tokens:,} tokens." if info.context_tokens else ""
        return f"{name} answers from now on.{window}"

    async def _show_models(self, policy: Policy) -> str:
        lines = [_answering(policy), ""]
        for provider, models in (await self._models(policy.is_local_only)).items():
            lines += [f"- {provider}/{model}" for model in models[:MAX_LISTED_MODELS]]
            if (more := len(models) - MAX_LISTED_MODELS) > 0:
                lines.append(f"- … and {more} more of {provider}")
        return "\n".join((*lines, "", "Change with `/model PROVIDER/MODEL`."))

    async def _models(self, is_local_only: bool) -> ModelsByProvider:
        models = await self._list_models(local_only=is_local_only)
        self._listed[is_local_only] = (self._clock() + REMEMBERED_SECONDS, models)
        return models

    async def _models_lately(self, is_local_only: bool) -> ModelsByProvider:
        """Return what can be asked, as it was a minute ago at most: people type fast."""
        until, models = self._listed.get(is_local_only, (-math.inf, {}))
        return models if self._clock() < until else await self._models(is_local_only)

    async def _show(self, incoming: IncomingCommand) -> str:
        wanted = incoming.argument or str(DEFAULT_SHOWN_MESSAGES)
        # Of endless digits Python makes no number.
        is_short = wanted.isdecimal() and len(wanted) <= len(str(MAX_SHOWN_MESSAGES))
        if not is_short or not 1 <= int(wanted) <= MAX_SHOWN_MESSAGES:
            msg = f"{wanted[:40]!r} is not a number of messages."
            raise NotFound(msg, remedy=f"Use a number from 1 to {MAX_SHOWN_MESSAGES}.")
        conversation = _conversation(incoming, self._policy(incoming))
        messages = await self._history.recent(conversation, int(wanted))
        if not messages:
            return "Nothing was said yet."
        return "\n\n".join(_shown(message) for message in messages)

    async def _see_to_privacy(self, incoming: IncomingCommand) -> str | Report:
        match incoming.argument:
            case "" | "show":
                policy = self._policy(incoming)
                return self._privacy.show(policy, incoming.place, incoming.author)
            case "export":
                text, content = await self._privacy.export(incoming.author)
                return Report(text, EXPORT_FILE, content)
            case "forget":
                return await self._privacy.forget(incoming.author)
            case "pause":
                return await self._privacy.pause(incoming.author)
            case "resume":
                return await self._privacy.resume(incoming.author)
        msg = f"I do not know what to do about {incoming.argument[:40]!r}."
        raise NotFound(msg, remedy="It could be: show, export, forget, pause, resume.")

    async def _stats(self, incoming: IncomingCommand) -> str:
        own = await self._own_figures(incoming)
        if not _may_look_inside(incoming):
            return own
        providers = _provider_rows(self._figures.performance_stats())
        caches = _cache_rows(self._figures.cache_stats())
        if lately := self._figures.lately():
            own = f"{own}\n{lately}"
        return "\n".join((own, "```", *_table(providers), "", *_table(caches), "```"))

    async def _own_figures(self, incoming: IncomingCommand) -> str:
        """Say what concerns whoever asks: who answers them, what that draws on, what they used."""
        policy = self._policy(incoming)
        conversation = _conversation(incoming, policy)
        count = len(await self._history.recent(conversation, MAX_COUNTED_MESSAGES))
        more = "at least " if count == MAX_COUNTED_MESSAGES else ""
        return "\n".join(
            (
                f"{_answering(policy)}, as {policy.persona}",
                f"Remembered of this conversation: {more}{counted(count, 'message')}",
                await self._figures.budget_lines(incoming),
            )
        )

    async def _doctor(self, _: IncomingCommand) -> str:
        return "\n".join(map(_found, await self._examine()))

    def _policy(self, incoming: IncomingCommand) -> Policy:
        return self._policies.of(_place(incoming), incoming.roles)


def _place(incoming: IncomingCommand) -> Place:
    """Tell where a command was given: each conversation without a place is a place of its own."""
    return Place("", incoming.conversation) if incoming.place == NOWHERE else incoming.place


def _conversation(incoming: IncomingCommand, policy: Policy) -> str:
    """Name the conversation that a command is about: one's own, where everyone has one."""
    if policy.memory == "shared" or incoming.is_private:
        return incoming.conversation
    return f"{incoming.conversation}/{incoming.author.id}"


def _may_look_inside(incoming: IncomingCommand) -> bool:
    """Tell whether somebody may see how the machine does: who manages a server, or sits at it. In
    a private chat everyone has the say, but only over that."""
    # At the terminal, a place is a conversation by its name; those of others have ids of their own.
    at_machine = incoming.place in {NOWHERE, Place("", incoming.conversation)}
    return incoming.may_manage and (bool(incoming.place.guild) or at_machine)


def _check_may_choose(incoming: IncomingCommand, policy: Policy) -> None:
    if not may_choose(policy, incoming.roles, incoming.may_manage):
        raise NotAllowed(FOR_CHOOSERS)


def _answering(policy: Policy) -> str:
    return f"Now answering: **{policy.model}**"


def _named(models: ModelsByProvider) -> Iterator[str]:
    for provider, names in models.items():
        yield from (f"{provider}/{name}" for name in names)


def _fitting(names: Iterable[str], typed: str) -> tuple[str, ...]:
    """Choose the names that hold what was typed; those that begin with it come first."""
    wanted = typed.casefold().strip()
    fitting = [
        name
        for name in names
        if wanted in name.casefold() and len(name) <= MAX_SUGGESTED_CHARACTERS
    ]
    fitting.sort(key=lambda name: not name.casefold().startswith(wanted))
    return tuple(fitting[:MAX_SUGGESTIONS])


def _found(finding: Finding) -> str:
    line = f"{MARKS[finding.state]} **{finding.subject}**: {finding.sentence}"
    return f"{line} {finding.remedy}".rstrip()


def _provider_rows(stats: Mapping[str, PerformanceStats]) -> Rows:
    rows: Rows = [("model server", "answers", "failed", "first word", "tokens/s")]
    for name, figures in stats.items():
        answers, failed = figures["total_requests"], sum(figures["errors"].values())
        first = _figure(figures["first_delta_seconds"]["p50"], " s")
        speed = _figure(figures["tokens_per_second"]["p50"])
        rows.append((name, f"{answers:,}", f"{failed:,}", first, speed))
    return rows


def _cache_rows(stats: CacheStats) -> Rows:
    rows: Rows = [("did not have to be asked", "times", "of all")]
    for name, (label, times, percent) in SAVED.items():
        figures = stats.get(name, {})
        rows.append((label, str(figures.get(times, 0)), f"{figures.get(percent, 0.0)} %"))
    return rows


def _figure(number: float | None, unit: str = "") -> str:
    return "-" if number is None else f"{number:.2f}{unit}"


def _table(rows: Rows) -> Iterator[str]:
    """Align columns by spaces: the first to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells))


def _shown(message: Message) -> str:
    time = message.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"**{message.author.name}** {time}\n{message.text}"
