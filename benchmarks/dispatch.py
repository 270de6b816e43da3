"""What a message costs that is not for the bot, and what a guild costs that it is in.

A frame of the gateway is decoded, made a message by discord.py and handed on, once to a listener
that does nothing, and once to ours, up to the decision of the core to stay silent. Both clients
know the same guild and keep no members. The memory is that of a client that took in 1,000 guilds of
a hundred members, twenty channels and ten roles each.

    uv run python -m benchmarks.dispatch [--quick]
"""

import argparse
import asyncio
import gc
import json
import time
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import Figure, show

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of a codec that is for voice only
    import discord

from acore_bot import app, config
from acore_bot.frontends.discord import Discord

MESSAGES = 5_000
QUICK_MESSAGES = 1_000
GUILDS = 1_000
MEMBERS = 100
MAX_RATIO = 1.3
MAX_GUILD_BYTES = 16_000
BOT_ID, GUILD_ID, CHANNEL_ID, PERSON_ID = 10**17, 2 * 10**17, 3 * 10**17, 4 * 10**17
TEXTS = (
    "has anybody seen the minutes of last week?",
    "yes, <@400000000000000007> has them :smile:",
    "https://example.org/minutes.html, second page",
    "thanks! I will read them tonight and tell you what I think about the plan",
)


class Bare(discord.AutoShardedClient):
    """discord.py with a listener that does nothing."""

    async def on_message(self, message: discord.Message) -> None:
        """Do nothing."""


def bare_client() -> discord.AutoShardedClient:
    """Make the limit: the same intents and caches as ours."""
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
    return Bare(
        intents=intents,
        max_messages=None,
        member_cache_flags=discord.MemberCacheFlags.none(),
        chunk_guilds_at_startup=False,
        shard_count=1,
    )


def user(user_id: int, name: str) -> dict[str, object]:
    """Describe a user as the gateway does."""
    return {"id": str(user_id), "username": name, "discriminator": "0", "avatar": None}


def member(user_id: int) -> dict[str, object]:
    """Describe a member of a guild."""
    return {
        "user": user(user_id, f"person{user_id % 1000}"),
        "nick": None,
        "roles": [],
        "joined_at": "2026-01-01T00:00:00+00:00",
        "deaf": False,
        "mute": False,
        "flags": 0,
    }


def guild(guild_id: int) -> dict[str, object]:
    """Describe a guild as the gateway does when a bot connects."""
    return {
        "id": str(guild_id),
        "name": f"Guild {guild_id}",
        "owner_id": str(PERSON_ID),
        "member_count": MEMBERS,
        "large": False,
        "unavailable": False,
        "features": [],
        "emojis": [],
        "stickers": [],
        "threads": [],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "members": [member(PERSON_ID + number) for number in range(MEMBERS)],
        "roles": [
            {
                "id": str(guild_id + number),
                "name": f"role{number}",
                "color": 0,
                "hoist": False,
                "position": number,
                "permissions": "2048",
                "managed": False,
                "mentionable": False,
            }
            for number in range(10)
        ],
        "channels": [
            {
                "id": str(CHANNEL_ID + (guild_id - GUILD_ID) * 100 + number),
                "type": 0,
                "name": f"channel{number}",
                "position": number,
                "permission_overwrites": [],
                "last_message_id": None,
                "nsfw": False,
            }
            for number in range(20)
        ],
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "preferred_locale": "en-GB",
        "premium_tier": 0,
        "system_channel_flags": 0,
    }


def frame(number: int) -> str:
    """Write a message of a person to others as the gateway sends it."""
    speaker = member(PERSON_ID + number % MEMBERS)
    author = speaker.pop("user")
    said = {
        "id": str(5 * 10**17 + number),
        "channel_id": str(CHANNEL_ID),
        "guild_id": str(GUILD_ID),
        "author": author,
        "member": speaker,
        "content": TEXTS[number % len(TEXTS)],
        "timestamp": "2026-03-01T12:00:00.000000+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
        "flags": 0,
        "components": [],
    }
    return json.dumps({"op": 0, "s": number, "t": "MESSAGE_CREATE", "d": said})


async def prepare(client: discord.Client, guilds: int = 1) -> None:
    """Let a client believe that it is connected."""
    await client._async_setup_hook()  # noqa: SLF001 - there is no public way without a gateway
    state: Any = client._connection  # noqa: SLF001
    state.user = discord.ClientUser(state=state, data=user(BOT_ID, "acore"))  # type: ignore[arg-type]
    state.shard_count = 1
    for number in range(guilds):
        state._add_guild_from_data(guild(GUILD_ID + number))  # noqa: SLF001


async def hear(client: discord.Client, frames: list[str]) -> float:
    """Return the seconds of the processor for a frame, from its text to the end of the listener."""
    state: Any = client._connection  # noqa: SLF001
    parsers: Mapping[str, Callable[[Any], None]] = state.parsers
    others = len(asyncio.all_tasks())  # what an open bot does beside
    began = time.process_time()
    for number, text in enumerate(frames):
        data = discord.utils._from_json(text)  # noqa: SLF001 - what its gateway does
        parsers[data["t"]](data["d"])
        if number % 20 == 19:
            await asyncio.sleep(0)
    while len(asyncio.all_tasks()) > others:  # noqa: ASYNC110 - nothing tells of their end
        await asyncio.sleep(0)
    return (time.process_time() - began) / len(frames)


@asynccontextmanager
async def our_client() -> AsyncIterator[discord.Client]:
    """Open the whole bot, but for its connection."""
    with TemporaryDirectory() as folder:
        overrides = {"data.directory": folder, "chat.model": "demo/script"}
        overrides["providers.demo.kind"] = "scripted"
        settings = config.load(Path("/dev/null"), overrides, environ={})
        async with app.open_app(settings) as bot:
            frontend = Discord(token="none", shard_count=1, core=bot.core)
            frontend.attach(bot.core)
            yield frontend.client


async def dispatching(frames: list[list[str]]) -> tuple[float, float]:
    """Return the seconds for a message of ours and of the limit, the median of the rounds."""
    async with our_client() as ours:
        bare = bare_client()
        await prepare(ours)
        await prepare(bare)
        ours_taken: list[float] = []
        bare_taken: list[float] = []
        for part in frames:
            for client, taken in ((ours, ours_taken), (bare, bare_taken)):
                gc.collect()
                gc.disable()
                taken.append(await hear(client, part))
                gc.enable()
    middle = len(frames) // 2
    return sorted(ours_taken)[middle], sorted(bare_taken)[middle]


async def bytes_of_guilds(count: int) -> float:
    """Return the bytes that a guild takes in our client."""
    async with our_client() as client:
        await prepare(client)
        gc.collect()
        tracemalloc.start()
        await prepare(client, count)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return taken / count


def measure(quick: bool) -> list[Figure]:
    """Measure both."""
    count, rounds = (QUICK_MESSAGES, 7) if quick else (MESSAGES, 11)
    frames = [
        [frame(turn * count + number) for number in range(count)] for turn in range(rounds + 1)
    ]
    ours, bare = asyncio.run(dispatching(frames))
    memory = asyncio.run(bytes_of_guilds(GUILDS))
    return [
        Figure(
            "a message not for the bot, to the decision",
            ours * 1e6,
            "µs",
            "discord.py to an empty listener",
            bare * 1e6,
            ours / bare,
            MAX_RATIO,
        ),
        Figure(
            "a guild of 100 members",
            memory,
            "bytes",
            "wanted",
            MAX_GUILD_BYTES,
            memory / MAX_GUILD_BYTES,
            1.0,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="measure less, for a rough figure")
    show(measure(parser.parse_args().quick))
