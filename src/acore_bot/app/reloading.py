"""Takes the settings over anew while people are answered.

    CurrentCore ──► the bot of the moment     what comes from now on
                    the one before            what it had begun, and then it is closed

What keeps (history, records) and what is under way (turns, pauses, pictures) stay; all else is
built anew of the new settings, as at the start, before anything is let go. So a bad file changes
nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import msgspec

from acore_bot.app.assembly import Manners, Parts
from acore_bot.app.towers import App, Stores, open_over, open_stores
from acore_bot.config import Settings
from acore_bot.contracts import Core, Handler, Knob, PerformanceStats, ReplyTarget, Scope
from acore_bot.errors import AcoreError
from acore_bot.history.cache import CachedHistory
from acore_bot.llm.limit import LimitedModel
from acore_bot.messages import Control, IncomingCommand, IncomingMessage, Place, Press
from acore_bot.records.sqlite import SQLiteRecords
from acore_bot.telemetry.events import Emit

log = logging.getLogger(__name__)

# What is open for as long as the process lives: connections, files, and the page.
FIXED_SECTIONS = ("data", "history_cache", "events", "operator")
FIXED_KEYS = (
    "discord.token",
    "discord.api_url",
    "discord.gateway_url",
    "discord.shard_ids",
    "discord.shard_count",
    "discord.message_content",
    "discord.allow_degraded",
    "discord.catch_up_seconds",
)
NOTHING_CHANGED = "Nothing changed in the settings."

Load = Callable[[], Settings]


class Reloaded(msgspec.Struct, frozen=True):
    """Which settings are in force from now on, and which will be at the next start, by their dotted
    keys."""

    now: tuple[str, ...] = ()
    at_next_start: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = []
        if self.now:
            parts.append(f"In force now: {', '.join(self.now)}.")
        if self.at_next_start:
            parts.append(f"At the next start: {', '.join(self.at_next_start)}.")
        return " ".join(parts) or NOTHING_CHANGED


@dataclass(eq=False)
class _Generation:
    """A bot of some settings, and how many calls it is still busy with."""

    app: App
    stack: AsyncExitStack
    uses: int = 0
    is_idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.is_idle.set()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep it open until the block is left."""
        self.uses += 1
        self.is_idle.clear()
        try:
            yield
        finally:
            self.uses -= 1
            if not self.uses:
                self.is_idle.set()


class CurrentCore(Handler, Core):
    """Keeps the promises of a core by handing each call to the one of the moment."""

    def __init__(self, first: _Generation) -> None:
        self.generation = first

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Do everything that one message calls for."""
        with self._use() as app:
            await app.core(incoming, target)

    async def press(self, press: Press, target: ReplyTarget) -> None:
        """Do what a button says."""
        with self._use() as app:
            await app.core.press(press, target)

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Take note that a message was edited."""
        with self._use() as app:
            return await app.core.edited(message_id, text)

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Take note that messages are gone."""
        with self._use() as app:
            return await app.core.deleted(message_ids)

    async def left(self, place: Place) -> None:
        """Take note that a guild or a channel is gone."""
        with self._use() as app:
            await app.core.left(place)

    async def explain(self, message: IncomingMessage) -> str:
        """Say which rule makes the bot answer a message, or stay silent."""
        with self._use() as app:
            return await app.core.explain(message)

    async def suggest(self, command: str, typed: str, place: Place) -> tuple[str, ...]:
        """Name arguments that a command could take."""
        with self._use() as app:
            return await app.core.suggest(command, typed, place)

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Return the settings of a guild, a channel or a role."""
        return self.generation.app.core.knobs(place, scope, target)

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Change a setting."""
        with self._use() as app:
            await app.core.turn_knob(guild, scope, target, name, value)

    @property
    def open_answers(self) -> int:
        """How many turns are being answered, by whichever bot."""
        return self.generation.app.core.open_answers

    @contextmanager
    def _use(self) -> Iterator[App]:
        generation = self.generation
        with generation.used():
            yield generation.app


class Bot:
    """A bot that serves for long, whose settings can be taken over anew. `load` reads them, in a
    thread; `manners` says how the core is to behave by them."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        first: _Generation,
        *,
        emit: Emit,
        manners: Callable[[Settings], Manners],
        load: Load,
    ) -> None:
        self.settings = settings
        self.core = CurrentCore(first)
        self._stores, self._emit = stores, emit
        self._manners, self._load = manners, load
        self._reloading = asyncio.Lock()
        self._retiring: dict[asyncio.Task[None], _Generation] = {}

    @property
    def history(self) -> CachedHistory:
        """What was said."""
        return self._stores.history

    @property
    def records(self) -> SQLiteRecords:
        """What was decided, used and answered."""
        return self._stores.records

    def lines(self) -> dict[str, LimitedModel]:
        """Return the line before each provider that was asked."""
        return self._app.lines()

    def get_cache_stats(self) -> dict[str, Mapping[str, object]]:
        """Tell what was saved; that of models since these settings are in force."""
        return self._app.get_cache_stats()

    def get_performance_stats(self) -> dict[str, PerformanceStats]:
        """Tell how fast each provider was that was asked, since these settings are in force."""
        return self._app.get_performance_stats()

    @property
    def _app(self) -> App:
        return self.core.generation.app

    async def reload(self) -> Reloaded:
        """Read the settings and go by them from now on, except for those that need a new start;
        what is being answered ends as it began. Raises `AcoreError`, and then nothing changed."""
        async with self._reloading:
            new = await asyncio.to_thread(self._load)
            for warning in new.warnings:
                log.warning("%s", warning)
            change = changes(self.settings, new)
            if change.now:
                await self._go_by(with_fixed(new, self.settings))
            log.info("The settings were read anew. %s", change)
            return change

    async def _go_by(self, settings: Settings) -> None:
        before, manners = self.core.generation, self._manners(settings)
        after = await open_generation(self._stores, settings, self._emit, manners, before.app.parts)
        # From here on nothing fails or waits, so it is all or nothing.
        before.app.parts.conversations.adopt(
            history_messages=settings.chat.history_messages, patience=manners.patience
        )
        self.core.generation, self.settings = after, settings
        self._retire(before)

    async def reload_or_say(self) -> None:
        """Read the settings anew; if they cannot be used, log why."""
        try:
            await self.reload()
        except AcoreError as error:
            log.error("The settings stay as they are: %s %s", error.sentence, error.remedy or "")
        except Exception:
            # Whatever it is, the next file may be better, and somebody must still read it.
            log.exception("The settings stay as they are")

    async def aclose(self) -> None:
        """Close the bot of the moment and those before it, whatever is still under way in them: it
        had its time to end."""
        self._retire(self.core.generation)
        for generation in self._retiring.values():
            generation.is_idle.set()
        await self.retired()

    async def retired(self) -> None:
        """Return when all bots of earlier settings have ended their work."""
        await asyncio.gather(*self._retiring)

    def _retire(self, generation: _Generation) -> None:
        task = asyncio.create_task(_close(generation), name="retire settings")
        self._retiring[task] = generation
        task.add_done_callback(self._retiring.pop)


async def _close(generation: _Generation) -> None:
    await generation.is_idle.wait()
    try:
        await generation.stack.aclose()
    except Exception:
        # It answers nobody any more, and what it could not close must not end what does.
        log.exception("What went by the settings of before could not be closed whole")


async def open_generation(
    stores: Stores,
    settings: Settings,
    emit: Emit,
    manners: Manners,
    before: Parts | None = None,
) -> _Generation:
    """Open a bot of some settings. Raises `AcoreError`, and then nothing has changed."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_over(stores, settings, emit, manners, before))
        return _Generation(app, stack.pop_all())


@asynccontextmanager
async def open_bot(
    settings: Settings, emit: Emit, manners: Callable[[Settings], Manners], load: Load
) -> AsyncIterator[Bot]:
    """Open a bot that serves for long. Raises `AcoreError`."""
    async with open_stores(settings, emit) as stores:
        first = await open_generation(stores, settings, emit, manners(settings))
        bot = Bot(settings, stores, first, emit=emit, manners=manners, load=load)
        try:
            yield bot
        finally:
            await bot.aclose()


def changes(old: Settings, new: Settings) -> Reloaded:
    """Say which settings differ."""
    before, after = _flat(old), _flat(new)
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    fixed = [key for key in keys if _is_fixed(key)]
    return Reloaded(tuple(key for key in keys if key not in fixed), tuple(fixed))


def with_fixed(new: Settings, old: Settings) -> Settings:
    """Return new settings, with those of the old that no reload can change."""
    sections = {name: getattr(old, name) for name in FIXED_SECTIONS}
    kept = {key.partition(".")[2] for key in FIXED_KEYS}
    of_discord = {name: getattr(old.discord, name) for name in kept}
    discord = new.discord.model_copy(update=of_discord)
    return new.model_copy(update={**sections, "discord": discord})


def _is_fixed(key: str) -> bool:
    section = key.partition(".")[0]
    return section in FIXED_SECTIONS or any(
        key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED_KEYS
    )


def _flat(settings: Settings) -> dict[str, object]:
    tree = settings.model_dump(exclude={"file", "warnings"})
    return dict(_leaves(tree, ()))


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _leaves(below, (*path, str(name)))
    else:
        yield ".".join(path), value
