"""The connection to Discord: what we listen to, and where it leads.

discord.py connects, resumes, backs off and keeps the heart beating. Here is only what it leaves
open: as few events as we can do with, no caches that we do not read, a gateway at another address,
and the sessions of which nothing tells what was said before them.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import aiohttp
import discord
from discord.state import AutoShardedConnectionState
from yarl import URL

from acore_bot.frontends.discord.rest import RestClient
from acore_bot.frontends.discord.watch import Silence
from acore_bot.telemetry.events import Emit, GatewayChanged, ignore
from acore_bot.telemetry.figures import ShardState

log = logging.getLogger(__name__)

IDENTIFY_PAUSE_SECONDS = 5.0  # Discord's own limit between two of one bot's new sessions
MAX_RATELIMIT_SECONDS = 30.0
REOPEN_SECONDS = 2.0
RESUMABLE_CLOSE = 4000


class Listener(Protocol):
    """Who hears what the connection brings."""

    async def hear(self, message: discord.Message) -> None:
        """Take a message that was said just now."""
        ...

    async def interact(self, interaction: discord.Interaction) -> None:
        """Answer a command, a menu, a form or a button that was used just now."""
        ...

    async def catch_up(self, shard_id: int, lost_at: datetime | None) -> None:
        """Take note of a new session, which tells nothing of what was said since `lost_at`, or
        since the process last ran."""
        ...


async def _nothing() -> None:
    """Take no note."""


def least_intents(*, message_content: bool) -> discord.Intents:
    """Ask for messages, and for the guilds that they are in. Only the content of messages that are
    not for the bot needs Discord's permission."""
    intents = discord.Intents.none()
    intents.guilds = intents.guild_messages = intents.dm_messages = True
    intents.message_content = message_content
    return intents


class GatewaySocket:
    """A connection that remembers why the other end closed it.

    discord.py says goodbye once more before it asks for the reason. If the line is down by then,
    aiohttp reports that instead, and a refusal for good would look like a broken line.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._told_code: int | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._socket, name)

    @property
    def close_code(self) -> int | None:
        """Why it was closed, or None while it is open."""
        return self._told_code or self._socket.close_code

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:  # noqa: ASYNC109
        """Return the next message."""
        message = await self._socket.receive(timeout)
        if message.type is aiohttp.WSMsgType.CLOSE:
            self._told_code = message.data
        return message


class GatewayClient(RestClient):
    """Connects to another gateway than the one that Discord names, if told one: a fake, or a proxy
    that keeps the sessions of a bot that restarts. What Discord says to resume at is replaced too.
    """

    gateway_url: URL | None = None

    async def ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        """Open a connection to the gateway."""
        if self.gateway_url is not None:
            url = str(self.gateway_url.with_query(URL(url).query))
        socket = GatewaySocket(await super().ws_connect(url, compress=compress))
        return cast("aiohttp.ClientWebSocketResponse", socket)

    async def forget_session(self) -> None:
        """Let go of what a login opened, so that there can be another one."""
        await self.close()
        self.connector = discord.utils.MISSING


class ConnectionState(AutoShardedConnectionState["DiscordClient"]):
    """What discord.py knows of the servers, without those that a new session does not name: the bot
    was removed from them while nobody listened."""

    def parse_ready(self, data: Any) -> None:  # noqa: ANN401  # as discord.py has it
        """Take note of a new session, and of the servers that its shard has lost."""
        shard_id, named = data["shard"][0], {int(guild["id"]) for guild in data["guilds"]}
        lost = [one for one in self.guilds if one.shard_id == shard_id and one.id not in named]
        for guild in lost:
            self._remove_guild(guild)
        super().parse_ready(data)
        for guild in lost:
            self.dispatch("guild_remove", guild)


class DiscordClient(discord.AutoShardedClient):
    """A bot. `trace` hears of every request to REST, `on_identify` of every new session before it
    begins."""

    http: GatewayClient

    def __init__(
        self,
        listener: Listener,
        *,
        api_url: str | None = None,
        gateway_url: str | None = None,
        message_content: bool = False,
        shard_ids: Sequence[int] | None = None,
        shard_count: int | None = None,
        trace: aiohttp.TraceConfig | None = None,
        emit: Emit = ignore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_identify: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._emit = emit
        self._on_identify = on_identify
        self._listener = listener
        # Called in a task that discord.py makes for each message; a method of ours between the two
        # would be felt where thousands come.
        self.on_message = listener.hear
        self._api_url = api_url
        self._gateway_url = gateway_url
        self._trace = trace
        self._sleep = sleep
        self._now = now
        self._lost_at: dict[int, datetime] = {}
        super().__init__(
            intents=least_intents(message_content=message_content),
            member_cache_flags=discord.MemberCacheFlags.none(),
            max_messages=None,
            chunk_guilds_at_startup=False,
            allowed_mentions=discord.AllowedMentions.none(),
            **_sharding(shard_ids, shard_count),
        )

    def _get_state(self, **options: Any) -> ConnectionState:  # noqa: ANN401
        # Here discord.py has made its HTTP client and given it to nobody yet.
        self.http = GatewayClient(
            self.loop, http_trace=self._trace, max_ratelimit_timeout=MAX_RATELIMIT_SECONDS
        )
        self.http.api_url = self._api_url
        self.http.gateway_url = URL(self._gateway_url) if self._gateway_url else None
        return ConnectionState(
            dispatch=self.dispatch,
            handlers=self._handlers,
            hooks=self._hooks,
            http=self.http,
            **options,
        )

    def dispatch(self, event_name: str, /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Hand an event to its method."""
        # discord.py says before each event that it comes, which nobody here wants to know.
        if event_name != "socket_event_type":
            super().dispatch(event_name, *args, **kwargs)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Hand on what people use."""
        await self._listener.interact(interaction)

    async def start_over(self, *, message_content: bool) -> None:
        """Be as before the login, with other intents, after Discord refused the ones of before."""
        self.clear()
        await self.http.forget_session()
        self._connection._intents = least_intents(message_content=message_content)  # noqa: SLF001
        await self._async_setup_hook()

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """Remember since when a shard hears nothing."""
        if shard_id not in self._lost_at:
            self._lost_at[shard_id] = self._now()
            self._emit(GatewayChanged(shard_id, "lost"))

    async def on_shard_resumed(self, shard_id: int) -> None:
        """Forget it: whoever resumes is told all that was missed."""
        self._lost_at.pop(shard_id, None)
        self._emit(GatewayChanged(shard_id, "resumed"))

    async def on_shard_ready(self, shard_id: int) -> None:
        """Begin a new session, whose past has to be asked for."""
        self._emit(GatewayChanged(shard_id, "ready"))
        await self._listener.catch_up(shard_id, self._lost_at.pop(shard_id, None))

    async def before_identify_hook(self, _: int | None, *, initial: bool = False) -> None:
        """Wait before each new session but the first, and let it be counted."""
        if not initial:
            await self._sleep(IDENTIFY_PAUSE_SECONDS)
        await self._on_identify()

    def states(self) -> tuple[ShardState, ...]:
        """Tell of each shard whether it is connected, and how long its last heartbeat took."""
        is_up = self.is_ready()
        return tuple(
            ShardState(
                shard=shard_id,
                is_connected=is_up and shard_id not in self._lost_at and not shard.is_closed(),
                latency_seconds=shard.latency if math.isfinite(shard.latency) else None,
            )
            for shard_id, shard in self.shards.items()
        )

    def silences(self) -> Mapping[int, Silence]:
        """Tell how silent each open connection is."""
        found = {}
        for shard_id in self.shards:
            # There is no public way to learn of frames that carry no event.
            beat = self._get_websocket(shard_id=shard_id)._keep_alive  # noqa: SLF001
            if beat is not None and beat.interval is not None:
                age = time.perf_counter() - beat._last_recv  # noqa: SLF001
                found[shard_id] = Silence(age, beat.interval)
        return found

    async def reopen(self, shard_id: int) -> None:
        """Close a connection in such a way that it resumes."""
        with suppress(TimeoutError):  # a dead peer does not answer, and need not
            async with asyncio.timeout(REOPEN_SECONDS):
                await self._get_websocket(shard_id=shard_id).close(RESUMABLE_CLOSE)

    async def close(self) -> None:
        """Close the connections, and what discord.py leaves running."""
        state = self._connection
        for task in (state._ready_task, *state._ready_tasks.values()):  # noqa: SLF001
            if task is not None:
                task.cancel()
        await super().close()


def _sharding(shard_ids: Sequence[int] | None, shard_count: int | None) -> dict[str, Any]:
    return {
        "shard_count": shard_count,
        "shard_ids": None if shard_ids is None else list(shard_ids),
    }
