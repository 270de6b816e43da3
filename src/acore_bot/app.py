"""The only place that knows all rooms: builds the towers, opens everything and closes it again.

    ChatModel:  RoutedModel( provider, provider, … )
    History:    SQLiteHistory

Whoever reads `open_app` knows the order of everything. What is opened is closed in reverse order,
also when something fails half-way.
"""

import getpass
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pydantic import SecretStr

from acore_bot import plugins
from acore_bot.chat.commands import Commands
from acore_bot.chat.conversation import Choice, Choices, Conversations
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.prompt import PromptBuilder, PromptOptions, Question
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.chat.turn import TurnTaker
from acore_bot.config import PluginSettings, ProviderSettings, Settings, TimeLimits
from acore_bot.contracts import Provider
from acore_bot.errors import AcoreError, ConfigurationError
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import (
    Author,
    ChatRequest,
    IncomingMessage,
    SnowflakeSequence,
    StreamLimits,
)
from acore_bot.ops import health
from acore_bot.telemetry.events import Emit, Event, ignore

SHIPPED_PERSONAS = Path(__file__).with_name("personas")
HISTORY_FILE = "history.sqlite3"
TYPED_LINES_FILE = "typed_lines"
KEYS_OF_CLOUDS = {"openrouter": "OPENROUTER_API_KEY", "openai": "OPENAI_API_KEY"}


@dataclass(frozen=True)
class App:
    """A bot that is open: all that a front end asks for."""

    history: SQLiteHistory
    personas: PersonaLibrary
    choices: Choices
    commands: Commands
    handler: TurnTaker


@asynccontextmanager
async def open_app(settings: Settings, emit: Emit = ignore) -> AsyncIterator[App]:
    """Open all that answering in conversations takes. Raises `AcoreError`."""
    personas = open_personas(settings)
    personas.load(settings.chat.persona)  # a wrong name is better told now than at each message
    choices = Choices(Choice(settings.chat.persona, settings.chat.model))
    async with open_model(settings, emit) as model, open_history(settings) as history:
        conversations = Conversations(history, history_messages=settings.chat.history_messages)
        commands = Commands(
            history=history,
            conversations=conversations,
            personas=personas,
            choices=choices,
            model=model,
            list_models=model.list_models,
        )
        handler = TurnTaker(
            model=model,
            conversations=conversations,
            personas=personas,
            prompts=open_prompts(settings),
            commands=commands,
            choices=choices,
            emit=emit,
        )
        yield App(history, personas, choices, commands, handler)


@asynccontextmanager
async def open_model(settings: Settings, emit: Emit = ignore) -> AsyncIterator[RoutedModel]:
    """Open the tower of chat models. A provider is opened when it is first named."""
    model = RoutedModel(tuple(settings.providers), lambda name: open_provider(settings, name, emit))
    try:
        yield model
    finally:
        await model.aclose()


def open_history(settings: Settings) -> AbstractAsyncContextManager[SQLiteHistory]:
    """Open the store of conversations. Raises `HistoryUnusable`."""
    return SQLiteHistory.open(settings.data.directory / HISTORY_FILE)


def open_personas(settings: Settings) -> PersonaLibrary:
    """Open the folders of personas: the owner's own comes first."""
    return PersonaLibrary((settings.chat.personas_directory, SHIPPED_PERSONAS))


def open_prompts(settings: Settings) -> PromptBuilder:
    """Make the builder of prompts."""
    chat = settings.chat
    options = PromptOptions(
        context_tokens=chat.context_tokens,
        max_tokens=chat.max_tokens,
        history_messages=chat.history_messages,
        temperature=chat.temperature,
        labels=chat.message_labels,
    )
    return PromptBuilder(options, TokenEstimator())


def open_provider(settings: Settings, name: str, emit: Emit = ignore) -> Provider:
    """Make a provider of its table in the settings. Raises `ConfigurationError`.

    One that has a parameter `emit` is given the place to which events go, one that has `limits` its
    time limits.
    """
    table = settings.providers[name]
    factory = plugins.load_provider(table.kind)
    signature = inspect.signature(factory)
    offered = {"emit": emit, **_limits(table)}
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    arguments = {"name": name, **_arguments(table), **taken}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        msg = f"The table providers.{name} does not suit its kind {table.kind!r}: {error}."
        raise ConfigurationError(msg, remedy="See the documents of that provider.") from None
    return factory(**arguments)


def _arguments(table: ProviderSettings) -> dict[str, object]:
    """Turn a table of the settings into plain arguments: no settings type goes further down."""
    if isinstance(table, PluginSettings):
        return dict(table.table)
    ours = {"kind", "max_streams", *StreamLimits.__struct_fields__}
    names = type(table).model_fields.keys() - ours
    return {name: _revealed(getattr(table, name)) for name in names}


def _limits(table: ProviderSettings) -> dict[str, StreamLimits]:
    if not isinstance(table, TimeLimits):
        return {}
    names = type(table).model_fields.keys() & {*StreamLimits.__struct_fields__}
    seconds = {name: getattr(table, name) for name in names}
    seconds["first_byte_seconds"] = table.first_byte_limit_seconds
    return {"limits": msgspec.convert(seconds, StreamLimits)}


def _revealed(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {key: _revealed(item) for key, item in value.items()}
        case _:
            return value


async def chat_in_terminal(settings: Settings, conversation: str) -> None:
    """Talk with a person at the terminal until they leave. Raises `AcoreError`."""
    listeners: list[Callable[[Event], None]] = []

    def emit(event: Event) -> None:
        for listen in listeners:
            listen(event)

    async with open_app(settings, emit) as bot:

        def persona_name() -> str:
            return bot.personas.load(bot.choices.of(conversation).persona).name

        terminal = plugins.load_frontend("terminal")(
            conversation=conversation,
            author=person_at_terminal(),
            snowflakes=SnowflakeSequence(time.time),
            persona_name=persona_name,
            commands=bot.commands.described(),
            greeting=await _greeting(settings, bot, conversation),
            history_file=settings.data.directory / TYPED_LINES_FILE,
        )
        listeners.append(terminal.on_event)
        await terminal.run(bot.handler)


async def _greeting(settings: Settings, bot: App, conversation: str) -> str:
    goes_on = await bot.history.recent(conversation, 1)
    begins = f"The conversation {conversation!r} goes on" if goes_on else "A new conversation"
    return f"{begins} with {settings.chat.model}. /help shows what there is."


def person_at_terminal() -> Author:
    """Name who types, by the account of the machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a number without a name
        name = "you"
    return Author(name, name)


async def stateless_request(settings: Settings, model: RoutedModel, text: str) -> ChatRequest:
    """Build the request for a question that nothing was said before. Raises `AcoreError`."""
    persona = open_personas(settings).load(settings.chat.persona)
    question = Question(
        message=IncomingMessage(
            id=SnowflakeSequence(time.time).next(),
            conversation="",
            author=person_at_terminal(),
            text=text,
            created_at=datetime.now(UTC),
            is_private=True,
        ),
        model=settings.chat.model,
        is_stateless=True,
        system=persona.text,
        temperature=persona.temperature,
    )
    info = await model.describe(question.model)
    return open_prompts(settings).build(question, info).request


async def examine(settings: Settings, emit: Emit = ignore) -> health.Report:
    """Look at everything that the main job needs, and say what is wrong with it."""
    findings = [_examine_settings(settings), *_warnings(settings)]
    models: list[health.ModelFinding] = []
    findings += [await _examine_data(settings), _examine_persona(settings)]
    async with open_model(settings, emit) as model:
        findings.append(await health.probe(model, settings.chat.model))
        for name in model.names:
            finding, described = await _examine_provider(settings, model, name)
            findings.append(finding)
            models += described
    return health.report(findings, models)


def _examine_settings(settings: Settings) -> health.Finding:
    where = str(settings.file) if settings.file else "no file, so all defaults are in force"
    return health.Finding("settings", "ok", where)


def _warnings(settings: Settings) -> list[health.Finding]:
    return [health.Finding("settings", "note", warning) for warning in settings.warnings]


async def _examine_data(settings: Settings) -> health.Finding:
    try:
        async with open_history(settings) as history:
            await history.check()
            count = len(await history.conversations())
    except AcoreError as error:
        return health.Finding("data", "fault", error.sentence, error.remedy)
    noun = "conversation" if count == 1 else "conversations"
    return health.Finding("data", "ok", f"{settings.data.directory}: {count} {noun}, intact")


def _examine_persona(settings: Settings) -> health.Finding:
    try:
        persona = open_personas(settings).load(settings.chat.persona)
    except AcoreError as error:
        return health.Finding("persona", "fault", error.sentence, error.remedy)
    return health.Finding("persona", "ok", f"{persona.slug}: {persona.description}")


async def _examine_provider(
    settings: Settings, model: RoutedModel, name: str
) -> tuple[health.Finding, tuple[health.ModelFinding, ...]]:
    needed_provider, _, needed_model = settings.chat.model.partition("/")
    is_needed = name == needed_provider
    key = KEYS_OF_CLOUDS.get(name)
    if key and not is_needed and getattr(settings.providers[name], "api_key", None) is None:
        remedy = f"Set {key} or providers.{name}.api_key to use it."
        return health.Finding(name, "note", "no key, so not asked", remedy), ()
    try:
        provider = model.provider(name)
    except AcoreError as error:
        state: health.State = "fault" if is_needed else "note"
        return health.Finding(name, state, error.sentence, error.remedy), ()
    return await health.examine_provider(
        name, provider, needed_model=needed_model if is_needed else None
    )
