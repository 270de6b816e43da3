"""Discord as a front end: hears messages, hands them on, and stops without cutting anybody off."""

import asyncio
import logging
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

import aiohttp
import discord

from acore_bot.contracts import Core, Handler
from acore_bot.errors import TargetGone
from acore_bot.frontends.discord import examination, identify
from acore_bot.frontends.discord.attachments import AttachmentFetcher
from acore_bot.frontends.discord.catch_up import CatchUp
from acore_bot.frontends.discord.client import DiscordClient
from acore_bot.frontends.discord.departures import Departures, LoadGuilds, NoteGuilds
from acore_bot.frontends.discord.identify import IdentifyBudget, LoadIdentifies, SaveIdentifies
from acore_bot.frontends.discord.interactions.router import Reload, Router
from acore_bot.frontends.discord.interactions.sync import CommandSync
from acore_bot.frontends.discord.interactions.tree import payloads
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.presses import Presses, is_press
from acore_bot.frontends.discord.refusals import INTENTS_REMEDY, refusal
from acore_bot.frontends.discord.reply import DiscordReply, Means
from acore_bot.frontends.discord.rest import InvalidRequests, trace
from acore_bot.frontends.discord.translate import HEARD_TYPES, to_incoming
from acore_bot.frontends.discord.turns import SeenMessages, Turns
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.frontends.discord.watch import Watch
from acore_bot.frontends.discord.webhooks import Masks
from acore_bot.messages import Finding
from acore_bot.telemetry.events import Emit, Event, ignore
from acore_bot.telemetry.figures import ShardState

log = logging.getLogger(__name__)

# Together with closing, under the ten seconds that supervisors commonly leave a process. The most
# is for final texts: of one channel's messages Discord lets us edit five in five seconds.
GRACE_SECONDS = 2.0
CANCELLED_SECONDS = 6.0
CATCHING_UP_SECONDS = 0.5
NOTING_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


async def _nowhere() -> Iterable[str]:
    return ()


async def _no_digest() -> str:
    return ""


async def _keep_no_digest(_: str) -> None:
    pass


async def _no_guilds(_: int) -> Collection[int]:
    return ()


async def _note_no_guilds(_: int, joined: Collection[int], left: Collection[int]) -> None:
    pass


def _now() -> datetime:
    return datetime.now(UTC)


class Discord:
    """Keeps the promise of a front end for a bot's account on Discord.

    `message_content` asks for messages that are not for the bot, which Discord has to grant.
    `catch_up_seconds` is how far back a message may lie that was said while nobody listened; 0 asks
    for none. `recent_channels` names the conversations that the store knows, the latest first:
    private chats are found by them alone. `cursor` is what an unfinished answer ends in, by which
    one that a crash cut off is found and marked; without it none is. With a `core` there are
    buttons and commands, of which Discord is told when they changed: the two callables keep the
    digest of what it was told; and the core hears of what is edited, deleted and left, also while
    nobody listened, if `load_guilds` and `note_guilds` keep where this application was.
    `load_identifies` and `save_identifies` keep when sessions began, so that a process that is
    started over and over does not use up what Discord allows. `reload` reads the settings file anew
    and says what came of it, for the bot's owner. With
    `degrades` the bot serves without the content of messages if Discord does not grant it.
    `emit` takes what happens to the connection. `api_url` and `gateway_url` replace Discord's own
    addresses. `now` is the time of day in UTC,
    `clock` a monotonic one; turns get `grace_seconds` to finish when told to stop.
    """

    def __init__(
        self,
        *,
        token: str,
        api_url: str | None = None,
        gateway_url: str | None = None,
        message_content: bool = False,
        degrades: bool = False,
        catch_up_seconds: float = 600.0,
        shard_ids: tuple[int, ...] | None = None,
        shard_count: int | None = None,
        recent_channels: Callable[[], Awaitable[Iterable[str]]] = _nowhere,
        cursor: str = "",
        core: Core | None = None,
        load_digest: Callable[[], Awaitable[str]] = _no_digest,
        save_digest: Callable[[str], Awaitable[None]] = _keep_no_digest,
        load_guilds: LoadGuilds = _no_guilds,
        note_guilds: NoteGuilds = _note_no_guilds,
        load_identifies: LoadIdentifies = identify.never,
        save_identifies: SaveIdentifies = identify.keep_nowhere,
        reload: Reload | None = None,
        emit: Emit = ignore,
        grace_seconds: float = GRACE_SECONDS,
        fetch: AttachmentFetcher | None = None,
        now: Callable[[], datetime] = _now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._token = token
        self._degrades = degrades
        self._grace_seconds = grace_seconds
        self._sleep, self._uniform = sleep, uniform
        self._shards = len(shard_ids or ()) or shard_count or 1
        self._identifies = IdentifyBudget(load_identifies, save_identifies, sleep=sleep)
        self._pace, invalid = EditPace(clock=clock), InvalidRequests(clock=clock)
        self._seen = SeenMessages()
        self._turns, self._catching_up = Turns(), Turns()
        self._handler: Handler | None = None
        self._make_client = partial(
            DiscordClient,
            self,
            api_url=api_url,
            gateway_url=gateway_url,
            message_content=message_content,
            shard_ids=shard_ids,
            shard_count=shard_count,
            trace=trace(self._pace, invalid, emit),
            emit=emit,
            sleep=sleep,
            now=now,
            on_identify=self._identifies.note,
        )
        self.client = self._make_client()
        self._outbox = Outbox(self.client, self._pace, invalid, clock=clock, sleep=sleep)
        self._typing = TypingKeeper(self._outbox, clock=clock, sleep=sleep)
        self._means = Means(
            self._outbox,
            self._pace,
            self._typing,
            fetch or AttachmentFetcher(),
            has_core=core is not None,
            masks=Masks(self.client, clock=clock),
        )
        self._presses = Presses(self._means, core, clock=clock) if core else None
        self._departures: Departures | None = None
        if core is not None:
            self._departures = Departures(
                self.client, self._means, core, load_guilds=load_guilds, note_guilds=note_guilds
            )
            self._departures.listen()
        self._router = (
            Router(self._means, core, reload=reload, clock=clock, sleep=sleep) if core else None
        )
        sync = CommandSync(
            self.client, payloads(), load_digest=load_digest, save_digest=save_digest
        )
        self._commands = sync if core else None
        self.watch = Watch(self.client, clock=clock, sleep=sleep)
        self._catch_up = CatchUp(
            self.client,
            hear=self._hear_late,
            mend=self._mend,
            cursor=cursor,
            recent_channels=recent_channels,
            catch_up_seconds=catch_up_seconds,
            now=now,
        )

    def on_event(self, event: Event) -> None:
        """Ignore what happens elsewhere: people see it in their answers."""

    def shards(self) -> tuple[ShardState, ...]:
        """Tell of each connection to Discord how it is."""
        return self.client.states()

    def attach(self, handler: Handler) -> None:
        """Hand messages to this handler from now on. `run` does so itself; a simulation that runs
        the `client` on its own needs it."""
        self._handler = handler

    async def run(self, handler: Handler) -> None:
        """Serve until cancelled, or told to stop by SIGTERM or SIGINT. Then nothing new is heard,
        and what is being answered gets a while to end. Raises `FrontendRefused`."""
        self.attach(handler)
        async with AsyncExitStack() as stack:
            told_to_stop = stack.enter_context(_stop_signals())
            await stack.enter_async_context(self.client)
            serving = asyncio.create_task(self._serve())
            watching = asyncio.create_task(self.watch.run())
            stopping = asyncio.create_task(_set(told_to_stop))
            stack.push_async_callback(_end, serving, watching, stopping)
            stack.push_async_callback(self._settle, serving)
            tasks = (serving, watching, stopping)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if told_to_stop.is_set():
                log.info("Stopping; open answers get a few seconds to end.")
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def examine(self) -> tuple[Finding, ...]:
        """Ask Discord who we are and what we may."""
        if not self._token:
            return (examination.lacks_token(),)
        client = self._make_client()
        return await examination.examine(client, self._token, degrades=self._degrades)

    async def hear(self, message: discord.Message, *, is_late: bool = False) -> None:
        """Take a message, once, and return when it was answered or left alone."""
        bot = self.client.user
        if (
            bot is None
            or message.author.id == bot.id
            or (message.webhook_id is not None and self._is_ours(message))
            or self._handler is None
            or self._turns.is_stopping
            or message.type not in HEARD_TYPES
            # In this order: what a mute drops may be caught up with later.
            or self._outbox.is_muted(message.channel.id)
            or not self._seen.is_new(message.id)
        ):
            return
        task = self._turns.begin()
        try:
            application_id = self.client.application_id
            incoming = to_incoming(message, bot, application_id=application_id, is_late=is_late)
            author_id = message.author.id
            reply = DiscordReply(self._means, message.channel.id, message.id, author_id)
            await self._handler(incoming, reply)
        except TargetGone as error:
            log.info("an answer found no place in channel %d: %s", message.channel.id, error)
        finally:
            self._turns.end(task)

    async def interact(self, interaction: discord.Interaction) -> None:
        """Answer an interaction, and return when that is done."""
        if self._router is None or self._presses is None or self._handler is None:
            return
        is_stopping = self._turns.is_stopping
        task = self._turns.begin()
        try:
            if is_press(interaction):
                await self._presses.press(interaction, is_stopping=is_stopping)
            else:
                await self._router.answer(interaction, self._handler, is_stopping=is_stopping)
        finally:
            self._turns.end(task)

    async def catch_up(self, shard_id: int, lost_at: datetime | None) -> None:
        """Read back what was said while a shard heard nothing."""
        servers = sum(guild.shard_id == shard_id for guild in self.client.guilds)
        noun = "server" if servers == 1 else "servers"
        log.info("Connected as %s: shard %d, %d %s.", self.client.user, shard_id, servers, noun)
        task = self._catching_up.begin()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._catch_up.run(shard_id, lost_at))
                if self._commands is not None and shard_id == 0:
                    group.create_task(self._commands.run())
        finally:
            self._catching_up.end(task)

    async def _hear_late(self, message: discord.Message) -> None:
        try:
            await self.hear(message, is_late=True)
        except Exception:
            # One message that cannot be answered must not keep others from it.
            log.exception("a late message could not be answered")

    def _is_ours(self, message: discord.Message) -> bool:
        """Whether it was said by the bot under another name."""
        application_id = self.client.application_id
        return application_id is not None and message.application_id == application_id

    async def _mend(self, channel_id: int, message_id: int, text: str) -> None:
        address = await self._means.address_of(channel_id, message_id)
        await self._outbox.mend(address, message_id, text)

    async def _serve(self) -> None:
        await self._insist(self._log_in)
        await self._insist(self._connect)

    async def _connect(self) -> None:
        """Connect, without the content of messages if it is not granted and may be missing."""
        await self._identifies.wait(self._shards)
        try:
            await self.client.connect()
        except discord.PrivilegedIntentsRequired:
            if not (self._degrades and self.client.intents.message_content):
                raise
            log.warning(
                "Discord does not let this bot read the content of messages, so it serves without, "
                "and hears only what is said to it. %s",
                INTENTS_REMEDY,
            )
            await self.client.start_over(message_content=False)
            await self._insist(self._log_in)
            await self.client.connect()

    async def _log_in(self) -> None:
        try:
            await self.client.login(self._token)
        except BaseException:
            await self.client.http.forget_session()
            raise

    async def _insist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until it succeeds, unless Discord refuses us for good. Raises `FrontendRefused`."""
        longest = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                if refused := refusal(error):
                    raise refused from None
                if self.client.is_closed():
                    raise
                pause = self._uniform(longest / 2, longest)
                kind = type(error).__name__
                log.warning("Discord cannot be reached (%s): again in %.0f s", kind, pause)
            await self._sleep(pause)
            longest = min(2 * longest, LONGEST_PAUSE_SECONDS)

    async def _settle(self, serving: asyncio.Task[None]) -> None:
        """Let what is being answered end, or mark it as stopped."""
        # If Discord threw us out, nothing that we still say would reach anybody.
        grace_seconds = 0.0 if serving.done() else self._grace_seconds
        self._outbox.stop_growing()
        await self._turns.settle(grace_seconds, CANCELLED_SECONDS)
        if self._departures is not None:
            await self._departures.turns.settle(NOTING_SECONDS, NOTING_SECONDS)
        await self._catching_up.settle(0.0, CATCHING_UP_SECONDS)
        await self._typing.aclose()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Let SIGTERM and SIGINT set an event, once or more often."""
    told = asyncio.Event()
    numbers = [signal.SIGINT]
    # Whoever handles SIGTERM already will cancel us, and so must not be replaced.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        numbers.append(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        numbers.clear()  # no other thread may hear signals
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, told.set)
    try:
        yield told
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            # The loop puts the default back, which is not what asyncio.run had set for SIGINT.
            signal.signal(number, handler)
