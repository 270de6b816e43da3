"""The plainest bots that discord.py can make, to see what it makes of a fake Discord."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord
from tests.fakes.discord.server import FakeDiscord


class BareBot(discord.AutoShardedClient):
    """A client that remembers what it heard, and does not wait before it identifies again."""

    def __init__(
        self,
        *,
        intents: discord.Intents | None = None,
        shard_count: int | None = None,
        heartbeat_timeout: float = 60.0,
    ) -> None:
        super().__init__(
            intents=intents or discord.Intents.all(),
            shard_count=shard_count,
            heartbeat_timeout=heartbeat_timeout,
            guild_ready_timeout=0.05,
        )
        self.heard: asyncio.Queue[discord.Message] = asyncio.Queue()
        self.events: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.is_set_up = asyncio.Event()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Do not wait."""

    async def on_ready(self) -> None:
        """Say that all guilds are there."""
        self.is_set_up.set()

    async def on_message(self, message: discord.Message) -> None:
        """Remember a message."""
        await self.heard.put(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Remember an edit."""
        await self.events.put(("edit", payload.message_id))

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Remember a deletion."""
        await self.events.put(("delete", payload.message_id))

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Remember an invitation."""
        await self.events.put(("join", guild.id))

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Remember that somebody threw the bot out."""
        await self.events.put(("remove", guild.id))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        """Remember a thread."""
        await self.events.put(("thread", thread.id))

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Remember that a channel is gone."""
        await self.events.put(("gone", channel.id))


@asynccontextmanager
async def running(fake: FakeDiscord, bot: BareBot | None = None) -> AsyncIterator[BareBot]:
    """Run a bot, which is ready, until the block is left."""
    bot = bot or BareBot()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bot.start(fake.token))
        try:
            async with asyncio.timeout(10):
                await bot.is_set_up.wait()
            yield bot
        finally:
            await bot.close()
            task.cancel()
