"""What was said while nobody listened: fetched once, and answered if it was said to the bot.

A new session of the gateway tells nothing of the time before it. So each channel that was spoken in
lately is read back to where we stopped listening, but no further than the owner wants. What has an
answer already is left alone; answers that a crash cut off are marked as such.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

import aiohttp
import discord

from acore_bot.errors import AcoreError, TargetGone
from acore_bot.frontends.discord.drafts import MAX_LENGTH
from acore_bot.frontends.discord.translate import (
    CONVERSATION_PREFIX,
    HEARD_TYPES,
    concerns_bot,
    is_of_bot,
)

log = logging.getLogger(__name__)

MAX_MESSAGES = 200  # of one channel
MAX_PRIVATE_CHANNELS = 100
MAX_CHANNELS_AT_ONCE = 4
# A connection may have been dead for a while before that was noticed.
DEAF_SECONDS = 120.0
NOTE = "\n\n*[interrupted]*"
# A block of code is closed behind the cursor.
_CLOSED_FENCE = re.compile(r"\n[>\s]*(?:`{3,}|~{3,})")

# A forum has no messages of its own, only threads.
GuildChannel: TypeAlias = (
    discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread
)
Channel: TypeAlias = GuildChannel | discord.DMChannel


class Mend(Protocol):
    """Shows another text in a message of ours, and no buttons. Raises `TargetGone`."""

    async def __call__(self, channel_id: int, message_id: int, text: str) -> None:
        """Do it."""
        ...


class CatchUp:
    """Reads channels back. `hear` gets each message that is to be answered and returns when it was;
    it knows which ones it had before. `cursor` is what an unfinished answer ends in; none is looked
    for if it is empty."""

    def __init__(
        self,
        client: discord.Client,
        *,
        hear: Callable[[discord.Message], Awaitable[None]],
        mend: Mend,
        cursor: str,
        recent_channels: Callable[[], Awaitable[Iterable[str]]],
        catch_up_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._hear = hear
        self._mend = mend
        self._cursor = cursor
        self._recent_channels = recent_channels
        self._window = timedelta(seconds=catch_up_seconds)
        self._now = now
        self._began_at = now()

    async def run(self, shard_id: int, lost_at: datetime | None) -> None:
        """Read back what a shard missed since `lost_at`, or within the window."""
        if not self._window:
            return
        since = self._now() - self._window
        if lost_at is not None:
            since = max(since, lost_at - timedelta(seconds=DEAF_SECONDS))
        horizon = discord.utils.time_snowflake(since)
        channels = [*self._guild_channels(shard_id, horizon), *await self._private(shard_id)]
        turn = asyncio.Semaphore(MAX_CHANNELS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for channel in channels:
                group.create_task(self._read_in_turn(channel, horizon, turn))

    def _guild_channels(self, shard_id: int, horizon: int) -> Iterable[Channel]:
        for guild in self._client.guilds:
            if guild.shard_id != shard_id:
                continue
            for channel in (*guild.channels, *guild.threads):
                if not isinstance(channel, GuildChannel):
                    continue
                if (channel.last_message_id or 0) >= horizon and _may_read(channel, guild.me):
                    yield channel

    async def _private(self, shard_id: int) -> Sequence[Channel]:
        """Fetch the private chats that we know of: Discord lists them nowhere."""
        if shard_id != 0:  # they come through the first shard only
            return []
        try:
            known = await self._recent_channels()
        except AcoreError as error:
            log.warning("private chats are not read back: %s", error)
            return []
        # Several people may have conversations of their own in one channel.
        ids = [one for one in dict.fromkeys(map(_channel_id, known)) if one is not None]
        found = [await self._fetch_private(one) for one in ids[:MAX_PRIVATE_CHANNELS]]
        return [channel for channel in found if channel is not None]

    async def _fetch_private(self, channel_id: int) -> Channel | None:
        if any(guild.get_channel_or_thread(channel_id) for guild in self._client.guilds):
            return None
        try:
            channel = await self._client.fetch_channel(channel_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return None
        return channel if isinstance(channel, discord.DMChannel) else None

    async def _read_in_turn(self, channel: Channel, horizon: int, turn: asyncio.Semaphore) -> None:
        async with turn:
            try:
                await self._read(channel, horizon)
            except (discord.Forbidden, discord.NotFound):
                return  # nobody who may not read there expects an answer
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                kind = type(error).__name__
                log.warning("channel %d could not be read back: %s", channel.id, kind)

    async def _read(self, channel: Channel, horizon: int) -> None:
        after = discord.Object(horizon - 1)
        newest_first = channel.history(limit=MAX_MESSAGES, after=after, oldest_first=False)
        messages = [message async for message in newest_first][::-1]
        ours = [message for message in messages if self._is_ours(message)]
        for message in ours:
            await self._mark_if_unfinished(message)
        answered = self._answered(messages, ours)
        for message in messages:
            if message.id not in answered and self._wants_answer(message):
                await self._hear(message)

    def _is_ours(self, message: discord.Message) -> bool:
        bot = self._client.user
        return bot is not None and is_of_bot(message, bot, self._client.application_id)

    def _wants_answer(self, message: discord.Message) -> bool:
        bot = self._client.user
        if bot is None or message.type not in HEARD_TYPES or self._is_ours(message):
            return False
        return concerns_bot(message, bot, self._client.application_id)

    def _answered(
        self, messages: Sequence[discord.Message], ours: Sequence[discord.Message]
    ) -> set[int]:
        """Return the ids of what has an answer: what ours reply to, and what was taken along."""
        last = {
            message.reference.message_id: message
            for message in ours
            if message.reference and message.reference.message_id
        }
        answered = set(last)
        latest: dict[int, int] = {}
        # A person's messages have their turns in order, so all before one that was answered had
        # theirs. Not so a reply, which is answered alone, nor what we missed and have yet to read.
        for message in messages:
            answer = last.get(message.id)
            if answer and not message.reference and answer.created_at < self._began_at:
                latest[message.author.id] = message.id
        answered |= {one.id for one in messages if one.id <= latest.get(one.author.id, 0)}
        return answered

    async def _mark_if_unfinished(self, message: discord.Message) -> None:
        # What ends in a cursor and is younger than we are is being written just now.
        if message.created_at >= self._began_at:
            return
        if (text := interrupted(message.content, self._cursor)) is not None:
            try:
                await self._mend(message.channel.id, message.id, text)
            except TargetGone:
                log.info("an unfinished answer could not be marked: its channel is closed to us")


def interrupted(text: str, cursor: str) -> str | None:
    """Mark an unfinished answer as interrupted; None if it is finished. A space in the cursor may
    also be a line's end, which ends a block of code. What closes one behind the cursor stays."""
    for end in (cursor, cursor.replace(" ", "\n")):
        said, found, closing = text.rpartition(end) if end else ("", "", "")
        if found and (not closing or _CLOSED_FENCE.fullmatch(closing)):
            return _marked(said, closing)
    return None


def _marked(said: str, closing: str) -> str:
    room = MAX_LENGTH - _length(closing) - _length(NOTE)
    said = said.rstrip(" ")
    while _length(said) > room:
        said = said[: room - _length(said)]
    return f"{said}{closing}{NOTE}".strip()


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _channel_id(conversation: str) -> int | None:
    name = conversation.partition("/")[0]
    number = name.removeprefix(CONVERSATION_PREFIX)
    is_ours = number != name and number.isascii() and number.isdigit()
    return int(number) if is_ours else None


def _may_read(channel: GuildChannel, bot: discord.Member | None) -> bool:
    if bot is None or (isinstance(channel, discord.Thread) and channel.parent is None):
        return True  # Discord will say so if not
    allowed = channel.permissions_for(bot)
    return allowed.view_channel and allowed.read_message_history
