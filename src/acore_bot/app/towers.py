"""The two towers, built in the open: whoever reads `open_app` knows the order of everything.

    ChatModel:  Deduplicated( CachedResponses( Failover( Routed( Limited( provider ), … ) ) ) )
    History:    CachedHistory( SQLiteHistory )

A line stands before each provider, inside of fail-over: whoever cannot be served in time goes on to
the next model. What is opened is closed in reverse order, also when something fails half-way.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from acore_bot.app import options
from acore_bot.app.assembly import PLAIN_MANNERS, Manners, Towers, make_core
from acore_bot.app.opening import open_limited_provider
from acore_bot.chat.core import ChatCore
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.retention import Retention
from acore_bot.config import Settings, lacks_key
from acore_bot.history.cache import CachedHistory
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.llm.failover import Failover
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.llm.route import RoutedModel
from acore_bot.records.sqlite import SQLiteRecords
from acore_bot.telemetry.events import Emit, ignore

SHIPPED_PERSONAS = Path(__file__).parent.with_name("personas")
HISTORY_FILE = "history.sqlite3"
RECORDS_FILE = "records.sqlite3"


@dataclass(frozen=True, kw_only=True)
class App(Towers):
    """A bot that is open: all that a front end asks for, and what an operator wants to know."""

    core: ChatCore


@asynccontextmanager
async def open_app(
    settings: Settings,
    emit: Emit = ignore,
    manners: Manners = PLAIN_MANNERS,
) -> AsyncIterator[App]:
    """Open all that answering in conversations takes. Raises `AcoreError`."""
    personas = open_personas(settings)
    personas.load(settings.chat.persona)  # a wrong name is better told now than at each message
    async with (
        open_model(settings, emit) as routed,
        open_history(settings) as store,
        open_records(settings) as records,
    ):
        failover_options = await options.failover_options(settings, routed)
        failover = Failover(routed, failover_options, emit=emit)
        responses = CachedResponses(failover, options.response_options(settings), emit=emit)
        sharing = options.sharing(settings)
        async with aclosing(DeduplicatedModel(responses, options=sharing, emit=emit)) as model:
            history = CachedHistory(
                store,
                options.history_options(settings),
                foreign_changes=store.foreign_changes,
                emit=emit,
            )
            towers = Towers(
                routed=routed,
                failover=failover_options,
                responses=responses,
                model=model,
                history=history,
                records=records,
                personas=personas,
            )
            core = await make_core(settings, towers, manners, emit)
            async with Retention(core.policies, history, records.answers):
                yield App(**vars(towers), core=core)


@asynccontextmanager
async def open_model(settings: Settings, emit: Emit = ignore) -> AsyncIterator[RoutedModel]:
    """Open the foot of the tower: all providers, each with its line. Nothing is shared, cached or
    asked in another's place. A provider is opened when it is first named."""
    tables = settings.providers
    model = RoutedModel(
        tuple(tables),
        lambda name: open_limited_provider(settings, name, emit),
        listed=tuple(name for name in tables if not lacks_key(tables[name])),
        hosts=options.hosts(settings),
    )
    async with aclosing(model):
        yield model


def open_history(settings: Settings) -> AbstractAsyncContextManager[SQLiteHistory]:
    """Open the store of conversations. Raises `HistoryUnusable`."""
    return SQLiteHistory.open(settings.data.directory / HISTORY_FILE)


def open_records(settings: Settings) -> AbstractAsyncContextManager[SQLiteRecords]:
    """Open the store of what owners and members decided. Raises `HistoryUnusable`."""
    return SQLiteRecords.open(settings.data.directory / RECORDS_FILE)


def open_personas(settings: Settings) -> PersonaLibrary:
    """Open the folders of personas: the owner's own comes first."""
    return PersonaLibrary((settings.chat.personas_directory, SHIPPED_PERSONAS))
