"""The connection to Discord, against a gateway that misbehaves."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import aiohttp
import discord
import pytest
from discord.backoff import ExponentialBackoff
from discord.gateway import DiscordWebSocket
from discord.http import Route
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User

from acore_bot.frontends.discord.client import DiscordClient, GatewaySocket, least_intents
from acore_bot.frontends.discord.watch import Watch
from acore_bot.telemetry.events import Event, GatewayChanged

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


class Ears:
    """Remembers what was heard, and which sessions began anew."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.sessions: list[tuple[int, datetime | None]] = []
        self.is_changed = asyncio.Event()

    async def hear(self, message: discord.Message) -> None:
        """Remember a message."""
        self.heard.append(message.content)
        self.is_changed.set()

    async def interact(self, interaction: discord.Interaction) -> None:
        """Ignore what people use."""

    async def catch_up(self, shard_id: int, lost_at: datetime | None) -> None:
        """Remember a session."""
        self.sessions.append((shard_id, lost_at))
        self.is_changed.set()

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10):
            while not predicate():
                self.is_changed.clear()
                await self.is_changed.wait()


async def no_sleep(_: float) -> None:
    """Let the others have their turn."""
    await asyncio.sleep(0)


@pytest.fixture
def ears() -> Ears:
    """Who listens."""
    return Ears()


@pytest.fixture
async def fake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeDiscord]:
    """A Discord that discord.py knows nothing of: only the client's own settings lead to it."""
    monkeypatch.setattr(ExponentialBackoff, "delay", lambda _: 0.0)
    async with FakeDiscord() as discord_:
        base, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = NOWHERE, type(gateway)("ws://127.0.0.1:9")
        yield discord_
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


def make_client(fake: FakeDiscord, ears: Ears, **more: object) -> DiscordClient:
    """Make a client of a fake Discord."""
    options = {"message_content": True, "sleep": no_sleep, **more}
    client = DiscordClient(ears, api_url=fake.api_url, gateway_url=fake.gateway_url, **options)  # type: ignore[arg-type]
    client._connection.guild_ready_timeout = 0.02
    return client


@asynccontextmanager
async def connected(client: DiscordClient, fake: FakeDiscord) -> AsyncIterator[None]:
    """Be connected until the block is left."""
    async with asyncio.TaskGroup() as group, client:
        group.create_task(client.start(fake.token))
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            await client.wait_until_ready()
        yield


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so."""
    return fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")


def test_only_what_is_needed_is_asked_for() -> None:
    """No privileged intent unless the owner wants it, no members, no reactions, no typing."""
    wanted = {"guilds", "guild_messages", "dm_messages"}
    assert {name for name, is_on in least_intents(message_content=False) if is_on} == wanted
    both = {name for name, is_on in least_intents(message_content=True) if is_on}
    assert both == {*wanted, "message_content"}


def test_nothing_is_kept_that_is_not_read(ears: Ears) -> None:
    """No messages, no members; and no message may ping anyone."""
    client = DiscordClient(ears)
    assert list(client.cached_messages) == []
    assert client._connection.max_messages is None
    assert client._connection.member_cache_flags == discord.MemberCacheFlags.none()
    assert client.allowed_mentions is not None
    assert dict(client.allowed_mentions.to_dict()) == {"parse": []}


async def test_it_connects_where_it_is_told(fake: FakeDiscord, ears: Ears) -> None:
    """REST and gateway are those of the settings, and no address of discord.py's own is used."""
    ada, talk = town(fake)
    async with connected(make_client(fake, ears), fake):
        await fake.say(ada, talk, "Hello")
        await ears.until(lambda: ears.heard)
    assert ears.heard == ["Hello"]
    assert ears.sessions == [(0, None)]
    assert fake.identifies[0].intents == least_intents(message_content=True).value


async def test_a_resume_goes_to_the_same_gateway(fake: FakeDiscord, ears: Ears) -> None:
    """Whatever Discord says to resume at: a proxy stays between, and nothing is lost."""
    ada, talk = town(fake)
    real_url, fake.gateway.url = fake.gateway_url, "ws://127.0.0.1:9/elsewhere"
    client = DiscordClient(ears, api_url=fake.api_url, gateway_url=real_url, shard_count=1)
    client._connection.guild_ready_timeout = 0.02
    async with connected(client, fake):
        fake.gateway.drop()
        for text in ("1", "2"):
            await fake.say(ada, talk, text, mentions=[fake.bot_user])
        await ears.until(lambda: len(ears.heard) == 2)
    assert len(fake.identifies) == 1
    assert ears.sessions == [(0, None)]


async def test_shards_are_those_that_were_asked_for(fake: FakeDiscord, ears: Ears) -> None:
    """A process serves its shards and no other."""
    for name in "abcd":
        fake.add_guild(name).add_text_channel("talk")
    client = make_client(fake, ears, shard_ids=(1, 3), shard_count=4)
    async with connected(client, fake):
        assert {guild.name for guild in client.guilds} == {"b", "d"}
    assert [(one.shard, one.shard_count) for one in fake.identifies] == [(1, 4), (3, 4)]


async def test_a_new_session_says_since_when_nothing_was_heard(
    fake: FakeDiscord, ears: Ears
) -> None:
    """The first one has no past; one after a refused resume knows when the last one ended."""
    town(fake)
    async with connected(make_client(fake, ears), fake):
        await ears.until(lambda: len(ears.sessions) == 1)
        fake.gateway.invalidate(resumable=False)
        await ears.until(lambda: len(ears.sessions) == 2)
    (_, first), (_, second) = ears.sessions
    assert first is None
    assert second is not None


async def test_an_outage_that_costs_the_session_is_known_as_a_gap(
    fake: FakeDiscord, ears: Ears
) -> None:
    """discord.py begins a new session if it cannot reconnect at once, and the gap begins where the
    connection was lost, not where the last attempt failed."""
    town(fake)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    moments = (first + timedelta(minutes=number) for number in itertools.count())
    client = make_client(fake, ears, now=lambda: next(moments))
    async with connected(client, fake):
        await ears.until(lambda: len(ears.sessions) == 1)
        fake.gateway.refuse_connections(3)
        fake.gateway.drop()
        await ears.until(lambda: len(ears.sessions) == 2)
    assert ears.sessions[1] == (0, first)


async def test_what_was_resumed_is_no_gap(fake: FakeDiscord, ears: Ears) -> None:
    """A resumed session missed nothing, so a later loss begins at its own moment."""
    ada, talk = town(fake)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    moments = (first + timedelta(minutes=number) for number in itertools.count())
    client = make_client(fake, ears, now=lambda: next(moments))
    async with connected(client, fake):
        await ears.until(lambda: len(ears.sessions) == 1)
        fake.gateway.reconnect()
        await fake.until(lambda: fake.resumes)
        await fake.say(ada, talk, "Hello")
        await ears.until(lambda: ears.heard)
        fake.gateway.invalidate(resumable=False)
        await ears.until(lambda: len(ears.sessions) == 2)
    assert ears.sessions[1] == (0, first + timedelta(minutes=1))


async def test_the_connection_is_told_of(fake: FakeDiscord, ears: Ears) -> None:
    """Each loss and each return of a connection is an event, and its state can be asked for."""
    told: list[Event] = []
    is_resumed = asyncio.Event()

    def emit(event: Event) -> None:
        told.append(event)
        if event == GatewayChanged(0, "resumed"):
            is_resumed.set()

    client = make_client(fake, ears, emit=emit)
    assert client.states() == ()
    async with connected(client, fake):
        await ears.until(lambda: ears.sessions)
        (state,) = client.states()
        assert (state.shard, state.is_connected) == (0, True)
        fake.gateway.reconnect()
        async with asyncio.timeout(10):
            await is_resumed.wait()
    assert told[:3] == [
        GatewayChanged(0, "ready"),
        GatewayChanged(0, "lost"),
        GatewayChanged(0, "resumed"),
    ]


async def test_a_silent_gateway_is_left_and_resumed(fake: FakeDiscord, ears: Ears) -> None:
    """Two heartbeats without an answer, and the watch closes what discord.py still trusts."""
    ada, talk = town(fake)
    fake.gateway.heartbeat_seconds = 0.05
    client = make_client(fake, ears)

    async def short_sleep(_: float) -> None:
        await asyncio.sleep(0.01)

    watch = Watch(client, clock=itertools.count(0.0, 0.5).__next__, sleep=short_sleep)
    async with connected(client, fake):
        watching = asyncio.create_task(watch.run())
        fake.gateway.silence()
        await fake.say(ada, talk, "Hello")
        await ears.until(lambda: ears.heard)
        watching.cancel()
        await asyncio.wait([watching])
    assert len(fake.identifies) == 1
    assert len(fake.resumes) >= 1


async def test_a_gateway_that_does_not_answer_our_goodbye_is_left(
    fake: FakeDiscord, ears: Ears
) -> None:
    """Closing waits for nobody who is dead."""
    town(fake)
    client = make_client(fake, ears)
    async with asyncio.timeout(5), connected(client, fake):
        for connection in fake.gateway.connections:
            transport = connection.request.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
    assert client.is_closed()


RESUMABLE_CLOSES = (1000, 1001, 4000, 4001, 4002, 4005, 4008)
ENDING_CLOSES = (4003, 4007, 4009)


async def test_r6_whatever_the_gateway_does_it_is_connected_again(
    fake: FakeDiscord, ears: Ears
) -> None:
    """Two hundred mishaps: each ends in a connection that hears, no event of a session that could
    be resumed is lost, none comes twice, and a refused resume costs one new session."""
    ada, talk = town(fake)
    gateway, dice = fake.gateway, random.Random(6)
    new_sessions = 0

    def refuse_and_drop() -> None:
        gateway.refuse_resumes()
        gateway.drop()

    mishaps: list[tuple[Callable[[], None], bool]] = [
        (gateway.reconnect, True),
        (lambda: gateway.invalidate(resumable=True), True),
        (lambda: gateway.invalidate(resumable=False), False),
        (gateway.drop, True),
        (refuse_and_drop, False),
        *((lambda code=code: gateway.close(code), True) for code in RESUMABLE_CLOSES),
        *((lambda code=code: gateway.close(code), False) for code in ENDING_CLOSES),
    ]
    plan = [mishaps[number % len(mishaps)] for number in range(200)]
    dice.shuffle(plan)
    async with connected(make_client(fake, ears), fake):
        for number, (mishap, is_resumable) in enumerate(plan):
            before = {*gateway.connections}
            mishap()
            if is_resumable:
                await fake.say(ada, talk, str(number))
            # Nothing that a gone connection still sends may count as heard after it.
            await fake.until(lambda: is_reconnected(fake, before))  # noqa: B023
            if not is_resumable:
                new_sessions += 1
                await fake.say(ada, talk, str(number))
            await ears.until(lambda: ears.heard[-1:] == [str(number)])  # noqa: B023
    assert ears.heard == [str(number) for number in range(200)]
    assert len(fake.identifies) == 1 + new_sessions


def is_reconnected(fake: FakeDiscord, before: Collection[object]) -> bool:
    """Whether a session is served by a connection that was not there before."""
    return any(one.session for one in fake.gateway.connections if one not in before)


class LineThatIsDown:
    """A connection that was closed with a code, and then broke."""

    close_code = 1006
    closed = True

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:  # noqa: ASYNC109
        """Tell of the closing."""
        return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSE, 4013, "")


async def test_the_reason_of_a_close_outlives_the_line() -> None:
    """A refusal for good is not taken for a broken line because that broke right after it."""
    socket = GatewaySocket(cast("aiohttp.ClientWebSocketResponse", LineThatIsDown()))
    assert socket.close_code == 1006
    await socket.receive()
    assert socket.close_code == 4013
    assert socket.closed
