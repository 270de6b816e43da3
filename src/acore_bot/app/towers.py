"""The two towers, built in the open: whoever reads `open_app` knows the order of everything.

    ChatModel:  Deduplicated( CachedResponses( Failover( Routed( Limited( provider ), … ) ) ) )
    History:    CachedHistory( SQLiteHistory )

A line stands before each provider, inside of fail-over: whoever cannot be served in time goes on to
the next model. What is opened is closed in reverse order, also when something fails half-way.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from acore_bot.app.opening import open_limited_provider
from acore_bot.chat.attention import DEFAULT_RULES, Rules
from acore_bot.chat.commands import Commands
from acore_bot.chat.conversation import Choice, Choices, Conversations
from acore_bot.chat.gathering import NO_PATIENCE, Patience
from acore_bot.chat.material import MaterialReader
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.prompt import PromptBuilder, PromptOptions
from acore_bot.chat.sights import Sights
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.chat.turn import TurnTaker
from acore_bot.config import EmbeddedSettings, Settings, lacks_key
from acore_bot.contracts import FileReader
from acore_bot.errors import AcoreError
from acore_bot.history import cache as history_cache
from acore_bot.history.cache import CachedHistory
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm import respond_from_cache
from acore_bot.llm.deduplicate import DeduplicatedModel, DeduplicationOptions
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.llm.route import RoutedModel
from acore_bot.telemetry.events import Emit, ignore

SHIPPED_PERSONAS = Path(__file__).parent.with_name("personas")
HISTORY_FILE = "history.sqlite3"
EMBEDDED = "embedded"
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class App:
    """A bot that is open: all that a front end asks for, and what an operator wants to know."""

    routed: RoutedModel
    responses: CachedResponses
    model: DeduplicatedModel
    history: CachedHistory
    personas: PersonaLibrary
    choices: Choices
    commands: Commands
    handler: TurnTaker

    def get_cache_stats(self) -> dict[str, Mapping[str, object]]:
        """Tell what was saved: under `deduplication`, `responses` and `history`."""
        parts = (self.model, self.responses, self.history)
        return {name: stats for part in parts for name, stats in part.get_cache_stats().items()}

    def get_performance_stats(self) -> dict[str, Mapping[str, object]]:
        """Tell how fast each provider was that was asked, by its name."""
        opened = self.routed.opened()
        return {name: provider.get_performance_stats() for name, provider in opened.items()}

    def reset_metrics(self) -> None:
        """Let every provider's figures begin anew."""
        for provider in self.routed.opened().values():
            provider.reset_metrics()


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a front end wants the core to behave: what deserves an answer, how long a message waits
    for the next one of the same person, who reads the files that people send along, and how errors
    are worded for those who read along."""

    rules: Rules = DEFAULT_RULES
    patience: Patience = NO_PATIENCE
    files: FileReader | None = None
    tell: Callable[[AcoreError], str] = str


@asynccontextmanager
async def open_app(
    settings: Settings,
    emit: Emit = ignore,
    manners: Manners = Manners(),
) -> AsyncIterator[App]:
    """Open all that answering in conversations takes. Raises `AcoreError`."""
    personas = open_personas(settings)
    personas.load(settings.chat.persona)  # a wrong name is better told now than at each message
    choices = Choices(Choice(settings.chat.persona, settings.chat.model))
    async with open_model(settings, emit) as routed, open_history(settings) as store:
        failover = Failover(routed, await _failover_options(settings, routed), emit=emit)
        responses = CachedResponses(failover, _response_options(settings))
        async with aclosing(DeduplicatedModel(responses, options=_sharing(settings))) as model:
            history = CachedHistory(
                store, _history_options(settings), foreign_changes=store.foreign_changes
            )
            sights = Sights()

            def forget_copies() -> None:
                responses.clear()
                sights.clear()

            conversations = Conversations(
                history,
                history_messages=settings.chat.history_messages,
                on_forget=forget_copies,
                patience=manners.patience,
            )
            commands = Commands(
                history=history,
                conversations=conversations,
                personas=personas,
                choices=choices,
                model=routed,
                list_models=routed.list_models,
            )
            handler = TurnTaker(
                model=model,
                conversations=conversations,
                personas=personas,
                prompts=open_prompts(settings),
                commands=commands,
                choices=choices,
                rules=manners.rules,
                materials=MaterialReader(manners.files, max_files=settings.files.max_files),
                sights=sights,
                tell=manners.tell,
                emit=emit,
            )
            yield App(
                routed=routed,
                responses=responses,
                model=model,
                history=history,
                personas=personas,
                choices=choices,
                commands=commands,
                handler=handler,
            )


@asynccontextmanager
async def open_model(settings: Settings, emit: Emit = ignore) -> AsyncIterator[RoutedModel]:
    """Open the foot of the tower: all providers, each with its line. Nothing is shared, cached or
    asked in another's place. A provider is opened when it is first named."""
    tables = settings.providers
    model = RoutedModel(
        tuple(tables),
        lambda name: open_limited_provider(settings, name, emit),
        listed=tuple(name for name in tables if not lacks_key(tables[name])),
    )
    async with aclosing(model):
        yield model


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


async def _failover_options(settings: Settings, routed: RoutedModel) -> FailoverOptions:
    is_ours = isinstance(settings.providers.get(EMBEDDED), EmbeddedSettings)
    wanted = settings.failover.embedded and is_ours
    return FailoverOptions(
        fallbacks=settings.failover.models,
        last_resort=await _embedded_model(routed) if wanted else None,
        total_seconds=settings.failover.total_seconds,
    )


async def _embedded_model(routed: RoutedModel) -> str | None:
    """Name the model inside the package, which is not loaded for it; None if it is not there."""
    try:
        (name,) = await routed.provider(EMBEDDED).list_models()
    except AcoreError:
        return None
    return f"{EMBEDDED}/{name}"


def _response_options(settings: Settings) -> respond_from_cache.CacheOptions:
    knobs = settings.response_cache
    return respond_from_cache.CacheOptions(
        is_enabled=knobs.enabled,
        max_entries=knobs.max_entries,
        max_bytes=knobs.max_mib * MIB,
        ttl_seconds=knobs.ttl_seconds,
    )


def _history_options(settings: Settings) -> history_cache.CacheOptions:
    knobs = settings.history_cache
    return history_cache.CacheOptions(
        max_entries=knobs.max_conversations,
        max_bytes=knobs.max_mib * MIB,
        # One more than a prompt ever takes, as `Conversations` asks for it.
        messages_per_conversation=settings.chat.history_messages + 1,
    )


def _sharing(settings: Settings) -> DeduplicationOptions:
    knobs = settings.deduplication
    return DeduplicationOptions(public=knobs.public, guilds=knobs.guilds, private=knobs.private)
