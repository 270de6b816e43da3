"""The bot where people are: front ends that serve until they are told to stop."""

import asyncio
import fcntl
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path

import msgspec

from acore_bot import plugins
from acore_bot.app.assembly import OTHER_COMMANDS, Manners
from acore_bot.app.reloading import Bot, Load, open_bot
from acore_bot.app.supervision import Supervisor, supervised
from acore_bot.app.towers import App
from acore_bot.app.watching import HasShards, Telemetry, open_telemetry, serving_operator
from acore_bot.chat.attention import Rules
from acore_bot.chat.gathering import Patience
from acore_bot.chat.reply import CURSOR
from acore_bot.config import DiscordSettings, Settings
from acore_bot.contracts import Frontend
from acore_bot.errors import AcoreError, ConfigurationError
from acore_bot.files import Reader, ReadLimits
from acore_bot.telemetry.events import Emit, ignore

DIGEST_FILE = "discord_commands.digest"
GUILDS_FILE = "discord_guilds.json"
IDENTIFIES_FILE = "discord_identifies{}.json"
LOCK_FILE = "discord.lock"
SHARD_LOCK_FILE = "discord-{}.lock"
MISSING = "There is no Discord token."
DISCORD_COMMANDS = (
    ("ask", "ask something outside of any conversation"),
    ("chat", "say something to me without a mention"),
    *OTHER_COMMANDS,
    ("settings", "how I behave in this server, for those who manage it"),
)
WHERE_TOKENS_ARE_MADE = (
    "Set DISCORD_TOKEN, or discord.token in the settings file. The token is made in the developer "
    "portal, https://discord.com/developers/applications, under Bot."
)


async def serve_discord(settings: Settings, emit: Emit = ignore, load: Load | None = None) -> None:
    """Answer people on Discord until told to stop. `load` reads the settings anew, for SIGHUP and
    `/settings reload`. Raises `AcoreError`."""
    with _sole_server(settings), _hangups() as hangups:
        await _serve_discord(settings, emit, load or (lambda: settings), hangups)


@contextmanager
def _hangups() -> Iterator[asyncio.Event]:
    """Take note of SIGHUP, which would end the process, from the very beginning. If it tells that
    the terminal is gone in which the bot was started, it is a stop."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    former = signal.getsignal(signal.SIGHUP)
    # Who ignores it from the start was told to outlive the terminal, as by nohup.
    is_in_terminal = former is not signal.SIG_IGN and _has_terminal()

    def hear() -> None:
        if is_in_terminal and not _has_terminal():
            signal.raise_signal(signal.SIGTERM)
        else:
            told.set()

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield told
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, former)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


@asynccontextmanager
async def _reloading(bot: Bot, hangups: asyncio.Event) -> AsyncIterator[None]:
    """Read the settings anew at each SIGHUP."""
    supervisor = Supervisor.found(os.environ)

    async def obey() -> None:
        while True:
            await hangups.wait()
            hangups.clear()
            supervisor.tell_reloading()
            await bot.reload_or_say()
            supervisor.tell("READY=1")

    obeying = asyncio.create_task(obey(), name="reload")
    try:
        yield
    finally:
        obeying.cancel()
        await asyncio.wait([obeying])


async def _serve_discord(
    settings: Settings, emit: Emit, load: Load, hangups: asyncio.Event
) -> None:
    async with open_telemetry(settings, emit) as telemetry:
        manners = partial(discord_manners, lately=telemetry.lately)
        async with open_bot(settings, telemetry.emit, manners, partial(_checked, load)) as bot:
            await _run_discord(settings, telemetry, bot, hangups)


def _checked(load: Load) -> Settings:
    settings = load()
    _token_of(settings)  # what the next start would refuse is better told now
    return settings


async def _run_discord(
    settings: Settings, telemetry: Telemetry, bot: Bot, hangups: asyncio.Event
) -> None:
    discord = open_discord(settings, bot, telemetry.emit)
    async with (
        serving_operator(settings, telemetry, bot, discord),
        supervised(partial(_is_up, discord)),
        _reloading(bot, hangups),
    ):
        # What start-up made stays, so no sweep for garbage need stop the loop to look at it.
        gc.collect()
        gc.freeze()
        await discord.run(bot.core)


def _is_up(frontend: Frontend) -> bool:
    return isinstance(frontend, HasShards) and any(
        shard.is_connected for shard in frontend.shards()
    )


def discord_manners(settings: Settings, lately: Callable[[], str] = str) -> Manners:
    """Say how the core behaves among people on Discord. `lately` says how the bot did."""
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
        commands=DISCORD_COMMANDS,
        lately=lately,
    )


def open_discord(settings: Settings, bot: App | Bot | None = None, emit: Emit = ignore) -> Frontend:
    """Make the front end for Discord. Raises `ConfigurationError` if there is no token."""
    token = _token_of(settings)
    served, plain = _served(settings, bot) if bot else {}, _plain(settings.discord)
    return plugins.load_frontend("discord")(token=token, emit=emit, **served, **plain)


def _token_of(settings: Settings) -> str:
    """Return the bot's token. Raises `ConfigurationError` if there is none, or Discord could not be
    asked with it."""
    knobs = settings.discord
    if knobs.token is None:
        raise ConfigurationError(MISSING, remedy=WHERE_TOKENS_ARE_MADE)
    if knobs.shard_ids and knobs.shard_count is None:
        msg = "discord.shard_ids is set, but discord.shard_count is not."
        raise ConfigurationError(msg, remedy="Say how many shards there are in all.")
    return knobs.token.get_secret_value()


def _served(settings: Settings, bot: App | Bot) -> dict[str, object]:
    """Say what the front end asks of a bot that is open."""
    digest = settings.data.directory / DIGEST_FILE
    guilds = settings.data.directory / GUILDS_FILE
    identifies = settings.data.directory / _of_shards(IDENTIFIES_FILE, settings)

    async def recent_channels() -> Iterable[str]:
        places = await bot.records.answers.places()
        told = [known.conversation for known in await bot.history.conversations()]
        # Who only uses /ask is known by the answers alone, which also tell what is not private.
        return [name for name in (*told, *places) if name not in places or not places[name].guild]

    async def load_digest() -> str:
        return await asyncio.to_thread(_read, digest)

    async def save_digest(text: str) -> None:
        await asyncio.to_thread(digest.write_text, text)

    async def load_guilds(application_id: int) -> Collection[int]:
        return (await asyncio.to_thread(_read_guilds, guilds)).get(str(application_id), ())

    async def note_guilds(
        application_id: int, joined: Collection[int], left: Collection[int]
    ) -> None:
        await asyncio.to_thread(_note_guilds, guilds, str(application_id), joined, left)

    async def load_identifies() -> Sequence[float]:
        return await asyncio.to_thread(_read_times, identifies)

    async def save_identifies(times: Sequence[float]) -> None:
        await asyncio.to_thread(_replace, identifies, msgspec.json.encode(times))

    async def reload() -> str:
        assert isinstance(bot, Bot)
        try:
            return str(await bot.reload())
        except AcoreError as error:
            return f"The settings stay as they are: {error.sentence}\n{error.remedy or ''}".strip()

    return {
        "core": bot.core,
        "reload": reload if isinstance(bot, Bot) else None,
        "recent_channels": recent_channels,
        "cursor": CURSOR,
        "load_digest": load_digest,
        "save_digest": save_digest,
        "load_guilds": load_guilds,
        "note_guilds": note_guilds,
        "load_identifies": load_identifies,
        "save_identifies": save_identifies,
    }


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _read_guilds(file: Path) -> dict[str, list[int]]:
    """Return where each application was seen: nowhere, if nobody can read it, so that nothing is
    taken for left."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, list[int]])
    except (OSError, msgspec.DecodeError):
        return {}


def _note_guilds(
    file: Path, application: str, joined: Collection[int], left: Collection[int]
) -> None:
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes with other shards write the same file
        known = _read_guilds(file)
        known[application] = sorted({*known.get(application, ()), *joined}.difference(left))
        _replace(file, msgspec.json.encode(known))


def _read_times(file: Path) -> Sequence[float]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[float])
    except (OSError, msgspec.DecodeError):
        return ()


def _replace(file: Path, content: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


def _of_shards(name: str, settings: Settings) -> str:
    """Name a file that each process has for itself, where several share the shards."""
    shards = sorted(set(settings.discord.shard_ids))
    return name.format("-".join(["", *map(str, shards)]))


@contextmanager
def _sole_server(settings: Settings) -> Iterator[None]:
    """Make sure that nobody else answers the same messages. Raises `ConfigurationError`."""
    folder, shards = settings.data.directory, sorted(set(settings.discord.shard_ids))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Several processes may share the data if each has shards of its own.
        _lock(stack, folder / LOCK_FILE, fcntl.LOCK_SH if shards else fcntl.LOCK_EX)
        for shard in shards:
            _lock(stack, folder / SHARD_LOCK_FILE.format(shard), fcntl.LOCK_EX)
        yield


@contextmanager
def nobody_serving(folder: Path) -> Iterator[None]:
    """Keep every `acore run` from this folder of data. Raises `ConfigurationError` if one is at
    work there."""
    with ExitStack() as stack:
        _lock(stack, folder / LOCK_FILE, fcntl.LOCK_EX)
        yield


def _lock(stack: ExitStack, file: Path, kind: int) -> None:
    """Hold a lock until the end, of which the kernel lets go however the process ends."""
    lock = stack.enter_context(file.open("a"))
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        msg = f"Another `acore run` serves with the data in {file.parent} already."
        raise ConfigurationError(msg, remedy="Stop it first, or choose another folder.") from None


def _plain(knobs: DiscordSettings) -> dict[str, object]:
    """Turn the settings into plain arguments: no settings type goes further down."""
    return {
        "api_url": knobs.api_url,
        "gateway_url": knobs.gateway_url,
        "message_content": knobs.message_content,
        "degrades": knobs.allow_degraded,
        "catch_up_seconds": knobs.catch_up_seconds,
        "shard_ids": knobs.shard_ids or None,
        "shard_count": knobs.shard_count,
    }
