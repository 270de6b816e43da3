"""What becomes of messages and places on Discord: edited, deleted, left.

Discord tells of each once, and nobody of what happens while we are away: the servers alone are
compared, when a connection begins, with those in which this application was seen before. Where it
never was, it is used by people who brought it along, and nothing is forgotten there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import discord

from acore_bot.contracts import Core
from acore_bot.errors import AcoreError, TargetGone
from acore_bot.frontends.discord.buttons import components
from acore_bot.frontends.discord.reply import Means
from acore_bot.frontends.discord.translate import to_incoming
from acore_bot.frontends.discord.turns import Turns
from acore_bot.messages import Control, Place

log = logging.getLogger(__name__)

# Of an application: in which guilds it was seen; and in which more it was, and in which it is not.
# Both may raise `OSError`.
LoadGuilds = Callable[[int], Awaitable[Collection[int]]]
NoteGuilds = Callable[[int, Collection[int], Collection[int]], Awaitable[None]]


class Departures:
    """Tells the core, and shows what it makes of it. What is under way is counted in `turns`;
    `load_guilds` and `note_guilds` remember guilds across restarts."""

    def __init__(
        self,
        client: discord.AutoShardedClient,
        means: Means,
        core: Core,
        *,
        load_guilds: LoadGuilds,
        note_guilds: NoteGuilds,
    ) -> None:
        self._client = client
        self._means = means
        self._core = core
        self._load_guilds = load_guilds
        self._note_guilds = note_guilds
        # A lock lets its waiters in as they came.
        self._in_order = asyncio.Lock()
        self._guilds_in_order = asyncio.Lock()
        self.turns = Turns()

    def listen(self) -> None:
        """Hear of it from now on."""
        for listener in (
            self.on_ready,
            self.on_raw_message_edit,
            self.on_raw_message_delete,
            self.on_raw_bulk_message_delete,
            self.on_guild_join,
            self.on_guild_remove,
            self.on_guild_channel_delete,
            self.on_raw_thread_delete,
        ):
            self._client.event(listener)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Take note of an edit by whoever said it; previews of links are none."""
        bot = self._client.user
        if bot is None or not self._is_edit(payload.message, bot.id):
            return
        text = to_incoming(payload.message, bot).text
        async with self._counted():
            async with self._in_order:  # so the last edit is the last to be noted
                answer = await self._core.edited(payload.message_id, text)
            if answer is not None:
                await self._urge(payload.channel_id, *answer)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Take note that a message was deleted."""
        await self._forget(payload.channel_id, (payload.message_id,))

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Take note that many messages were deleted at once."""
        await self._forget(payload.channel_id, payload.message_ids)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Remember a server, so that it will be missed."""
        async with self._counted(), self._guilds_in_order:
            await self._note_guilds(self._application_id, {guild.id}, ())

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Take note that the bot is in a server no more."""
        await self._leave_guild(guild.id)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Take note that a channel is gone."""
        await self._leave(Place(str(channel.guild.id), str(channel.id)))

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """Take note that a thread is gone."""
        await self._leave(Place(str(payload.guild_id), str(payload.thread_id)))

    async def on_ready(self) -> None:
        """Take note of all servers, once all are known: one that has an outage is known as well.
        What is missing was left while nobody listened."""
        missing: set[int] = set()
        async with self._counted(), self._guilds_in_order:
            present = {guild.id for guild in self._client.guilds}
            known = set(await self._load_guilds(self._application_id))
            if present - known:
                await self._note_guilds(self._application_id, present - known, ())
            missing = {one for one in known - present if self._is_served(one)}
        for guild_id in sorted(missing):
            await self._leave_guild(guild_id)

    @property
    def _application_id(self) -> int:
        application_id = self._client.application_id
        assert application_id is not None  # known since the login
        return application_id

    def _is_served(self, guild_id: int) -> bool:
        """Whether this process hears of a guild, rather than one with other shards."""
        served = self._client.shard_ids
        return served is None or (guild_id >> 22) % (self._client.shard_count or 1) in served

    def _is_edit(self, message: discord.Message, bot_id: int) -> bool:
        if message.author.id == bot_id or message.webhook_id or message.edited_at is None:
            return False
        # Otherwise nothing may mean that we are not allowed to read it.
        may_read = self._client.intents.message_content or message.guild is None
        return bool(message.content) or may_read

    async def _urge(self, channel_id: int, message_id: int, controls: tuple[Control, ...]) -> None:
        """Offer under an answer to give it anew."""
        address = await self._means.address_of(channel_id, message_id)
        rows = components(controls, is_edited=True)
        await self._means.outbox.show_components(address, message_id, rows)

    async def _forget(self, channel_id: int, message_ids: Collection[int]) -> None:
        ours = self._means.outbox.has_removed
        gone = [message_id for message_id in sorted(message_ids) if not ours(message_id)]
        if not gone:
            return
        async with self._counted():
            for message_id in await self._core.deleted(gone):
                await self._remove(channel_id, message_id)

    async def _remove(self, channel_id: int, message_id: int) -> None:
        try:
            address = await self._means.address_of(channel_id, message_id)
            await self._means.outbox.remove(address, message_id)
        except TargetGone as error:
            log.info("an answer without a question could not be removed: %s", error)

    async def _leave_guild(self, guild_id: int) -> None:
        """Forget a guild, which is missed again later if the core cannot."""
        async with self._counted(), self._guilds_in_order:
            await self._core.left(Place(str(guild_id)))
            await self._note_guilds(self._application_id, (), {guild_id})

    async def _leave(self, place: Place) -> None:
        async with self._counted():
            await self._core.left(place)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Count the task, and let its errors end here: there is nobody to tell."""
        task = self.turns.begin()
        try:
            yield
        except TargetGone as error:
            log.info("what became of a message could not be shown: %s", error)
        except (AcoreError, OSError) as error:
            log.error("what happened on Discord could not be noted: %s", error)
        finally:
            self.turns.end(task)
