"""The bot where people are: front ends that serve until they are told to stop."""

import fcntl
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter

from acore_bot import plugins
from acore_bot.app.towers import App, Manners, open_app
from acore_bot.chat.attention import Rules
from acore_bot.chat.gathering import Patience
from acore_bot.chat.reply import CURSOR
from acore_bot.config import DiscordSettings, Settings
from acore_bot.contracts import Frontend
from acore_bot.errors import ConfigurationError
from acore_bot.files import Reader, ReadLimits
from acore_bot.telemetry.events import Emit, ignore

MISSING = "There is no Discord token."
WHERE_TOKENS_ARE_MADE = (
    "Set DISCORD_TOKEN, or discord.token in the settings file. The token is made in the developer "
    "portal, https://discord.com/developers/applications, under Bot."
)


async def serve_discord(settings: Settings, emit: Emit = ignore) -> None:
    """Answer people on Discord until told to stop. Raises `AcoreError`."""
    with _sole_server(settings):
        await _serve_discord(settings, emit)


async def _serve_discord(settings: Settings, emit: Emit) -> None:
    async with open_app(settings, emit, discord_manners(settings)) as bot:
        discord = open_discord(settings, bot)
        # What start-up made stays, so no sweep for garbage need stop the loop to look at it again.
        gc.collect()
        gc.freeze()
        await discord.run(bot.handler)


def discord_manners(settings: Settings) -> Manners:
    """Say how the core behaves among people on Discord."""
    knobs = settings.discord
    return Manners(
        rules=Rules(
            replies=knobs.answer_replies,
            threads=knobs.answer_threads,
            names=knobs.names,
            bots=knobs.answer_bots,
        ),
        patience=Patience(
            pause_seconds=knobs.gather_seconds, longest_seconds=knobs.gather_longest_seconds
        ),
        tell=attrgetter("public"),
        files=Reader(ReadLimits(max_characters=settings.files.max_characters)),
    )


def open_discord(settings: Settings, bot: App | None = None) -> Frontend:
    """Make the front end for Discord. Raises `ConfigurationError` if there is no token."""
    knobs = settings.discord
    if knobs.token is None:
        raise ConfigurationError(MISSING, remedy=WHERE_TOKENS_ARE_MADE)
    if knobs.shard_ids and knobs.shard_count is None:
        msg = "discord.shard_ids is set, but discord.shard_count is not."
        raise ConfigurationError(msg, remedy="Say how many shards there are in all.")

    async def recent_channels() -> Iterable[str]:
        return [known.conversation for known in await bot.history.conversations()] if bot else []

    return plugins.load_frontend("discord")(
        token=knobs.token.get_secret_value(),
        recent_channels=recent_channels,
        cursor=CURSOR,
        **_plain(knobs),
    )


@contextmanager
def _sole_server(settings: Settings) -> Iterator[None]:
    """Make sure that nobody else answers the same messages. Raises `ConfigurationError`."""
    # Several processes may share the data if each has shards of its own.
    shards = "-".join(map(str, settings.discord.shard_ids)) or "all"
    file = settings.data.directory / f"discord-{shards}.lock"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a") as lock:  # the kernel lets go of it however the process ends
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        msg = f"Another `acore run` serves with the data in {settings.data.directory} already."
        raise ConfigurationError(msg, remedy="Stop it first, or choose another folder.") from None


def _plain(knobs: DiscordSettings) -> dict[str, object]:
    """Turn the settings into plain arguments: no settings type goes further down."""
    return {
        "api_url": knobs.api_url,
        "gateway_url": knobs.gateway_url,
        "message_content": knobs.message_content,
        "catch_up_seconds": knobs.catch_up_seconds,
        "shard_ids": knobs.shard_ids or None,
        "shard_count": knobs.shard_count,
    }
