"""Connections to the gateway end in every way, and discord.py comes back as the real one has it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import discord
import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.bare_bot import BareBot, running
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.intents import GUILD_MESSAGES, GUILDS, MESSAGE_CONTENT
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord on the real clock."""
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
def channel(fake: FakeDiscord) -> Channel:
    """A channel in a guild."""
    return fake.add_guild("home").add_text_channel("talk")


@pytest.mark.parametrize(
    "interrupt",
    [
        Gateway.drop,
        Gateway.reconnect,
        lambda gateway: gateway.close(1000),
        lambda gateway: gateway.close(1001),
        lambda gateway: gateway.close(4000),
        lambda gateway: gateway.close(4008),
        lambda gateway: gateway.invalidate(resumable=True),
    ],
)
async def test_a_session_is_resumed(
    fake: FakeDiscord, channel: Channel, interrupt: Callable[[Gateway], None]
) -> None:
    """After what leaves the session whole, everything missed is replayed, once and in order."""
    ada = fake.add_user("Ada")
    async with running(fake) as bot:
        await fake.say(ada, channel, "before")
        heard = [(await bot.heard.get()).content]
        interrupt(fake.gateway)
        await fake.say(ada, channel, "during")
        await fake.until(lambda: fake.resumes)
        await fake.say(ada, channel, "after")
        async with asyncio.timeout(10):
            heard += [(await bot.heard.get()).content for _ in range(2)]
    assert heard == ["before", "during", "after"]
    assert bot.heard.empty()
    assert [one.is_accepted for one in fake.resumes] == [True]
    assert len(fake.identifies) == 1


@pytest.mark.parametrize(
    ("interrupt", "resumes"),
    [
        (lambda gateway: gateway.invalidate(resumable=False), 0),
        (lambda gateway: gateway.close(4007), 1),
        (lambda gateway: gateway.close(4009), 1),
        (lambda gateway: (gateway.refuse_resumes(), gateway.drop()), 1),
    ],
)
async def test_a_lost_session_begins_anew(
    fake: FakeDiscord, channel: Channel, interrupt: Callable[[Gateway], None], resumes: int
) -> None:
    """After what ends the session, discord.py identifies again, once, and hears what comes."""
    async with running(fake) as bot:
        bot.is_set_up.clear()
        interrupt(fake.gateway)
        async with asyncio.timeout(10):
            await bot.is_set_up.wait()
        await fake.say(fake.add_user("Ada"), channel, "after")
        async with asyncio.timeout(10):
            assert (await bot.heard.get()).content == "after"
    assert len(fake.identifies) == 2
    assert [one.is_accepted for one in fake.resumes] == [False] * resumes


async def test_silence_is_noticed(fake: FakeDiscord, channel: Channel) -> None:
    """When nothing comes any more, discord.py leaves the connection and resumes on another."""
    fake.gateway.heartbeat_seconds = 0.02
    async with running(fake, BareBot(heartbeat_timeout=0.1)) as bot:
        fake.gateway.silence()
        await fake.say(fake.add_user("Ada"), channel, "unheard")
        await fake.until(lambda: fake.resumes)
        async with asyncio.timeout(10):
            assert (await bot.heard.get()).content == "unheard"
    assert any(one["op"] == 1 for one in fake.gateway.received)


@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013])
async def test_a_fatal_close_ends_discord_py(fake: FakeDiscord, code: int) -> None:
    """A code that no reconnecting helps with ends the client, which identified once."""
    fake.gateway.refuse_identifies(code)
    with pytest.raises(discord.ConnectionClosed, match=str(code)):
        await BareBot().start(fake.token)
    assert [one.refused_with for one in fake.identifies] == [code]


async def test_intents_that_were_not_granted_are_refused(fake: FakeDiscord) -> None:
    """A bot that asks for a privileged intent which is switched off is told so."""
    fake.gateway.granted_intents &= ~MESSAGE_CONTENT
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await BareBot().start(fake.token)
    assert [one.refused_with for one in fake.identifies] == [4014]


async def test_each_shard_hears_its_own_guilds(fake: FakeDiscord, channel: Channel) -> None:
    """The n-th guild belongs to shard n modulo their count, and private chats to the first."""
    other = fake.add_guild("other").add_text_channel("talk")
    ada = fake.add_user("Ada")
    fake.gateway.shards = 2
    async with running(fake) as bot:
        assert bot.shard_count == 2
        assert [one.shard for one in fake.identifies] == [0, 1]
        for place in (channel, other, fake.open_dm(ada)):
            await fake.say(ada, place, "hello")
        heard = [await bot.heard.get() for _ in range(3)]
        assert {one.guild.shard_id for one in heard if one.guild} == {0, 1}
        fake.gateway.drop(shard=1)
        await fake.until(lambda: fake.resumes)
        await fake.say(ada, other, "still there?")
        assert (await bot.heard.get()).content == "still there?"
    assert len({one.id for one in heard}) == 3
    assert len(fake.identifies) == 2


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without discord.py."""
    async with aiohttp.ClientSession() as session:
        yield session


def identify(fake: FakeDiscord, **changes: object) -> str:
    """Return what a plain client says to begin a session."""
    data = {"token": fake.token, "intents": GUILDS | GUILD_MESSAGES, "properties": {}} | changes
    return json.dumps({"op": 2, "d": data})


async def test_a_client_without_compression_is_served(
    fake: FakeDiscord, session: aiohttp.ClientSession
) -> None:
    """Who asks for no compression gets text, and only the events of its intents."""
    channel = fake.add_guild("home").add_text_channel("talk")
    async with session.ws_connect(fake.gateway_url) as websocket:
        assert (await websocket.receive_json())["op"] == 10
        await websocket.send_str(identify(fake))
        assert (await websocket.receive_json())["t"] == "READY"
        assert (await websocket.receive_json())["t"] == "GUILD_CREATE"
        fake.open_dm(ada := fake.add_user("Ada"))
        await fake.say(ada, fake.open_dm(ada), "not subscribed to")
        await fake.say(ada, channel, "hello")
        event = await websocket.receive_json()
        assert (event["t"], event["s"], event["d"]["content"]) == ("MESSAGE_CREATE", 3, "")


@pytest.mark.parametrize(
    ("changes", "code"), [({"token": "another"}, 4004), ({"shard": [2, 2]}, 4010)]
)
async def test_who_may_not_identify_is_closed(
    fake: FakeDiscord, session: aiohttp.ClientSession, changes: dict[str, object], code: int
) -> None:
    """A wrong token and a shard that there is not are refused by their codes."""
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_str(identify(fake, **changes))
        assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert websocket.close_code == code


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_client_that_says_goodbye_has_no_session_left(
    fake: FakeDiscord, session: aiohttp.ClientSession, code: int
) -> None:
    """Who closes with 1000 or 1001 cannot resume, however often it tries."""
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_str(identify(fake))
        ready = await websocket.receive_json()
        await websocket.close(code=code)
    assert await resume(fake, session, ready["d"]["session_id"]) == {"op": 9, "d": False}


async def test_a_session_whose_resume_was_refused_is_gone(
    fake: FakeDiscord, session: aiohttp.ClientSession
) -> None:
    """A refused resume is not accepted later."""
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_str(identify(fake))
        ready = await websocket.receive_json()
        await websocket.close(code=4000)
    fake.gateway.refuse_resumes()
    for _ in range(2):
        assert await resume(fake, session, ready["d"]["session_id"]) == {"op": 9, "d": False}


async def resume(fake: FakeDiscord, session: aiohttp.ClientSession, session_id: str) -> object:
    """Return what the gateway says to somebody who wants to go on."""
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        data = {"token": fake.token, "session_id": session_id, "seq": 1}
        await websocket.send_json({"op": 6, "d": data})
        return await websocket.receive_json()


async def test_only_what_the_bot_may_see_is_heard(
    fake: FakeDiscord, session: aiohttp.ClientSession
) -> None:
    """Of channels that are hidden from it a bot hears nothing, and in silence of none."""
    guild = fake.add_guild("home")
    hidden, shown = guild.add_text_channel("hidden"), guild.add_text_channel("shown")
    hidden.deny("view_channel")
    ada = fake.add_user("Ada")
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_str(identify(fake))
        names = [(await websocket.receive_json())["t"] for _ in range(2)]
        await fake.say(ada, hidden, "secret")
        said = await fake.say(ada, shown, "hello")
        assert (await websocket.receive_json())["d"]["id"] == str(said.id)
        fake.gateway.silence()
        await fake.say(ada, shown, "unheard")
        await websocket.send_json({"op": 1, "d": None})
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.03)
    assert names == ["READY", "GUILD_CREATE"]


async def test_a_sequence_that_never_was_is_refused(
    fake: FakeDiscord, session: aiohttp.ClientSession
) -> None:
    """Nobody can resume after an event that was not sent."""
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_str(identify(fake))
        ready = await websocket.receive_json()
        await websocket.close(code=4000)
    data = {"token": fake.token, "session_id": ready["d"]["session_id"], "seq": 9}
    async with session.ws_connect(fake.gateway_url) as websocket:
        await websocket.receive_json()
        await websocket.send_json({"op": 6, "d": data})
        await websocket.receive()
        assert websocket.close_code == 4007


async def test_a_client_that_says_too_much_is_closed(session: aiohttp.ClientSession) -> None:
    """120 messages a minute are served, the next is not; nor is one of more than 4,096 bytes."""
    clock = SettableClock()
    async with FakeDiscord(clock=clock) as fake:
        async with session.ws_connect(fake.gateway_url) as websocket:
            await websocket.receive_json()
            for _ in range(120):
                await websocket.send_json({"op": 1, "d": None})
                assert (await websocket.receive_json())["op"] == 11
            clock.advance(60)
            await websocket.send_json({"op": 1, "d": None})
            assert (await websocket.receive_json())["op"] == 11
            for _ in range(120):
                await websocket.send_json({"op": 1, "d": None})
            while (await websocket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert websocket.close_code == 4008
        async with session.ws_connect(fake.gateway_url) as websocket:
            await websocket.receive_json()
            await websocket.send_str("x" * 4097)
            await websocket.receive()
            assert websocket.close_code == 4002


async def test_connections_are_refused_as_told(
    fake: FakeDiscord, session: aiohttp.ClientSession
) -> None:
    """The gateway can be unreachable for a while."""
    fake.gateway.refuse_connections()
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await session.ws_connect(fake.gateway_url)
    async with session.ws_connect(fake.gateway_url) as websocket:
        assert (await websocket.receive_json())["op"] == 10
