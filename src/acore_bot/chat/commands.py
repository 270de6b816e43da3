"""What a person can tell the bot to do, other than answer.

A command returns the text to show. Front ends add the commands that are theirs alone.
"""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from acore_bot.chat.conversation import Choices, Conversations
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.contracts import ChatModel, History
from acore_bot.errors import ConfigurationError, NotFound
from acore_bot.messages import IncomingCommand, Message

DEFAULT_SHOWN_MESSAGES = 10
MAX_SHOWN_MESSAGES = 100
MAX_LISTED_MODELS = 15


class Command(Struct, frozen=True):
    """A command's one-line description and what it does."""

    description: str
    run: Callable[[IncomingCommand], Awaitable[str]]


class Commands:
    """The commands of the core. `list_models` names what can be asked, by provider."""

    def __init__(
        self,
        *,
        history: History,
        conversations: Conversations,
        personas: PersonaLibrary,
        choices: Choices,
        model: ChatModel,
        list_models: Callable[[], Awaitable[Mapping[str, tuple[str, ...]]]],
    ) -> None:
        self._history = history
        self._conversations = conversations
        self._personas = personas
        self._choices = choices
        self._model = model
        self._list_models = list_models
        self._commands = {
            "reset": Command("forget this conversation and start afresh", self._reset),
            "persona": Command("show the personas, or change to another", self._persona),
            "model": Command("show the models, or change to another", self._choose_model),
            "history": Command("show the last messages, ten or as many as you say", self._show),
        }

    def described(self) -> tuple[tuple[str, str], ...]:
        """Name and describe each command."""
        return tuple((name, command.description) for name, command in self._commands.items())

    async def run(self, incoming: IncomingCommand) -> str:
        """Do what was told and return what to show. Raises `NotFound` and what the doing raises."""
        if (command := self._commands.get(incoming.name)) is None:
            msg = f"There is no command /{incoming.name[:40]}."
            raise NotFound(msg, remedy="/help lists them.")
        return await command.run(incoming)

    async def _reset(self, incoming: IncomingCommand) -> str:
        count = await self._conversations.forget(incoming.conversation)
        return f"Forgotten: {_counted(count, 'message')}. We start afresh."

    async def _persona(self, incoming: IncomingCommand) -> str:
        slug = incoming.argument
        if not slug:
            return self._list_personas(incoming.conversation)
        persona = self._personas.load(slug)
        self._choices.choose(incoming.conversation, persona=slug)
        return f"{persona.name} answers from now on."

    def _list_personas(self, conversation: str) -> str:
        current = self._choices.of(conversation).persona
        lines = (self._persona_line(slug, current) for slug in self._personas.names())
        return "\n".join((*lines, "", "Change with `/persona NAME`."))

    def _persona_line(self, slug: str, current: str) -> str:
        now = " (now)" if slug == current else ""
        try:
            persona = self._personas.load(slug)
        except ConfigurationError as error:  # the others can be chosen all the same
            return f"- **{slug}**{now}: {error.sentence}"
        return f"- **{slug}**{now}: {persona.description or persona.name}"

    async def _choose_model(self, incoming: IncomingCommand) -> str:
        name = incoming.argument
        if not name:
            return await self._show_models(incoming.conversation)
        info = await self._model.describe(name)
        self._choices.choose(incoming.conversation, model=name)
        window = f" It reads {info.context_tokens:,} tokens." if info.context_tokens else ""
        return f"{name} answers from now on.{window}"

    async def _show_models(self, conversation: str) -> str:
        current = self._choices.of(conversation).model
        lines = [f"Now answering: **{current}**", ""]
        for provider, models in (await self._list_models()).items():
            lines += [f"- {provider}/{model}" for model in models[:MAX_LISTED_MODELS]]
            if (more := len(models) - MAX_LISTED_MODELS) > 0:
                lines.append(f"- … and {more} more of {provider}")
        return "\n".join((*lines, "", "Change with `/model PROVIDER/MODEL`."))

    async def _show(self, incoming: IncomingCommand) -> str:
        wanted = incoming.argument or str(DEFAULT_SHOWN_MESSAGES)
        # Of endless digits Python makes no number.
        is_short = wanted.isdecimal() and len(wanted) <= len(str(MAX_SHOWN_MESSAGES))
        if not is_short or not 1 <= int(wanted) <= MAX_SHOWN_MESSAGES:
            msg = f"{wanted[:40]!r} is not a number of messages."
            raise NotFound(msg, remedy=f"Use a number from 1 to {MAX_SHOWN_MESSAGES}.")
        messages = await self._history.recent(incoming.conversation, int(wanted))
        if not messages:
            return "Nothing was said yet."
        return "\n\n".join(_shown(message) for message in messages)


def _shown(message: Message) -> str:
    time = message.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"**{message.author.name}** {time}\n{message.text}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
