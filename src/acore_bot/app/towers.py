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
from acore_bot.app.assembly import PLAIN_MANNERS, Manners, Parts, Towers, make_core, make_parts
from acore_bot.app.half_restored import refuse_half_restored
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
    parts: Parts


@dataclass(frozen=True, kw_only=True)
class Stores:
    """What keeps, and stays open while all else is taken over anew."""

    history: CachedHistory
    records: SQLiteRecords


@asynccontextmanager
async def open_app(
    settings: Settings,
    emit: Emit = ignore,
    manners: Manners = PLAIN_MANNERS,
) -> AsyncIterator[App]:
    """Open all that answering in conversations takes. Raises `AcoreError`."""
    async with (
        open_stores(settings, emit) as stores,
        open_over(stores, settings, emit, manners) as bot,
    ):
        yield bot


@asynccontextmanager
async def open_stores(settings: Settings, emit: Emit = ignore) -> AsyncIterator[Stores]:
    """Open what keeps: the tower of the history, and the records. Raises `HistoryUnusable`."""
    async with open_history(settings) as store, open_records(settings) as records:
        history = CachedHistory(
            store,
            options.history_options(settings),
            foreign_changes=store.foreign_changes,
            emit=emit,
        )
        yield Stores(history=history, records=records)


@asynccontextmanager
async def open_over(
    stores: Stores,
    settings: Settings,
    emit: Emit,
    manners: Manners,
    before: Parts | None = None,
) -> AsyncIterator[App]:
    """Open all that answers, over what keeps, and go on with what the bot `before` was about.
    Raises `AcoreError`, and then nothing has changed."""
    personas = open_personas(settings)
    personas.load(settings.chat.persona)  # a wrong name is better told now than at each message
    async with open_model(settings, emit) as routed:
        failover_options = await options.failover_options(settings, routed)
        failover = Failover(routed, failover_options, emit=emit)
        responses = CachedResponses(failover, options.response_options(settings), emit=emit)
        sharing = options.sharing(settings)
        async with aclosing(DeduplicatedModel(responses, options=sharing, emit=emit)) as model:
            towers = Towers(
                routed=routed,
                failover=failover_options,
                responses=responses,
                model=model,
                history=stores.history,
                records=stores.records,
                personas=personas,
            )
            parts = await make_parts(settings, towers, manners, before)
            core = make_core(settings, towers, manners, parts, emit)
            async with Retention(parts.policies, stores.history, stores.records.answers):
                yield App(**vars(towers), core=core, parts=parts)


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
    refuse_half_restored(settings.data.directory)
    return SQLiteHistory.open(settings.data.directory / HISTORY_FILE)


def open_records(settings: Settings) -> AbstractAsyncContextManager[SQLiteRecords]:
    """Open the store of what owners and members decided. Raises `HistoryUnusable`."""
    refuse_half_restored(settings.data.directory)
    return SQLiteRecords.open(settings.data.directory / RECORDS_FILE)


def open_personas(settings: Settings) -> PersonaLibrary:
    """Open the folders of personas: the owner's own comes first."""
    return PersonaLibrary((settings.chat.personas_directory, SHIPPED_PERSONAS))
