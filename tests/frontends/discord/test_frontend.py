"""Discord as a front end: what people see of it, how it stops, and how it is refused.

What people see is shown on a simulated Discord inside the process, what goes over the wire on a
fake one.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import discord
import pytest
import simcord
from discord.backoff import ExponentialBackoff
from tests.fakes.discord import payloads
from tests.fakes.discord.faults import MISSING_ACCESS, Fail, Reset
from tests.fakes.discord.gateway import DISALLOWED_INTENTS
from tests.fakes.discord.intents import PRIVILEGED
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User
from tests.fakes.served import Witness, served

from acore_bot import app, config
from acore_bot.chat.reply import CURSOR
from acore_bot.contracts import Handler, ReplyTarget
from acore_bot.errors import FrontendRefused
from acore_bot.frontends.discord import Discord
from acore_bot.frontends.discord.drafts import NO_FILE
from acore_bot.frontends.discord.translate import conversation_name
from acore_bot.messages import IncomingCommand, IncomingMessage
from acore_bot.providers.scripted import Scripted


class Changing:
    """Something that tests wait for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Let who waits look again."""
        self._changed.set()

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10):
            while not predicate():
                self._changed.clear()
                await self._changed.wait()


class Kind(Changing):
    """A handler that answers what is said to it, in two steps, and remembers all. Clear its gate to
    let it hesitate."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[IncomingMessage] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer, if it was said to the bot."""
        assert isinstance(incoming, IncomingMessage)
        self.heard.append(incoming)
        self.change()
        if incoming.is_private or incoming.mentions_bot or incoming.replies_to_bot:
            async with target.typing():
                await self.gate.wait()
            message_id = await target.post(f"You s{CURSOR}")
            await target.ready(message_id, final=True)
            await target.edit(message_id, f"You said: {incoming.text}", final=True)


@pytest.fixture
def core() -> Witness:
    """A core that remembers what it was told."""
    return Witness()


@pytest.fixture
def kind() -> Kind:
    """Who answers."""
    return Kind()


# What people see.


@asynccontextmanager
async def simulated(handler: Handler) -> AsyncIterator[simcord.Env]:
    """Run the bot on a simulated Discord."""
    frontend = Discord(token="none")
    frontend.attach(handler)
    async with simcord.run(frontend.client, shard_count=1) as env:
        yield env


async def test_a_mention_is_answered(kind: Kind) -> None:
    """An answer appears that replies and grows; nobody is pinged by it."""
    async with simulated(kind) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        ada = guild.add_member(env.create_user("Ada"))
        assert env.bot.user is not None
        said = await ada.send(talk, f"{env.bot.user.mention} hello")
        answer = talk.last_message
        assert answer is not None
        assert answer.content == "You said: hello"
        assert answer.author.id == env.bot.user.id
        assert answer.reference is not None
        assert answer.reference.message_id == said.id
        assert answer.mentions == []
    assert [heard.text for heard in kind.heard] == ["hello"]


async def test_a_private_message_is_answered(kind: Kind) -> None:
    """In private no mention is needed."""
    async with simulated(kind) as env:
        ada = env.create_user("Ada")
        await ada.send_dm("hello")
        answer = ada.dm_channel.last_message
        assert answer is not None
        assert answer.content == "You said: hello"
    assert kind.heard[0].is_private


async def test_a_thread_is_a_conversation_of_its_own(kind: Kind) -> None:
    """What is said in it is answered in it."""
    async with simulated(kind) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        ada = guild.add_member(env.create_user("Ada"))
        channel: Any = env.bot.get_channel(talk.id)
        created = await channel.create_thread(name="plans", type=discord.ChannelType.public_thread)
        await env.settle()
        (thread,) = talk.threads
        assert env.bot.user is not None
        await ada.send(thread, f"{env.bot.user.mention} hello")
        answer = thread.last_message
        assert answer is not None
        assert answer.content == "You said: hello"
    assert kind.heard[-1].is_thread
    assert kind.heard[-1].conversation == conversation_name(created.id)


async def test_a_reply_to_the_bot_is_answered(kind: Kind) -> None:
    """Whoever replies to it speaks to it."""
    async with simulated(kind) as env:
        ada = env.create_user("Ada")
        await ada.send_dm("one")
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        member = guild.add_member(ada)
        assert env.bot.user is not None
        await member.send(talk, f"{env.bot.user.mention} two")
        first = talk.last_message
        assert first is not None
        await member.send(talk, "three", reply_to=first)
    assert kind.heard[-1].replies_to_bot
    assert kind.heard[-1].reply_to == first.id


async def test_what_is_not_for_the_bot_is_not_answered(kind: Kind) -> None:
    """It is heard, since the core decides; but nothing is shown."""
    async with simulated(kind) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        ada = guild.add_member(env.create_user("Ada"))
        await ada.send(talk, "hello all")
        assert talk.last_message is not None
        assert talk.last_message.author.id == ada.id
    assert [heard.mentions_bot for heard in kind.heard] == [False]


# What goes over the wire.


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord."""
    async with FakeDiscord() as discord:
        yield discord


def frontend_of(fake: FakeDiscord, **more: Any) -> Discord:  # noqa: ANN401
    """Make the front end for a fake Discord."""
    more = {"token": fake.token, "message_content": True, "cursor": CURSOR, **more}
    options = {"grace_seconds": 0.05, **more}
    frontend = Discord(api_url=fake.api_url, gateway_url=fake.gateway_url, **options)
    frontend.client._connection.guild_ready_timeout = 0.02
    return frontend


@asynccontextmanager
async def serving(
    fake: FakeDiscord, frontend: Discord, handler: Handler
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve until the block is left, which stops it as a supervisor does."""
    task = asyncio.create_task(frontend.run(handler))
    try:
        await asyncio.sleep(0)  # it has a loop from then on
        await frontend.client.wait_for("shard_ready", timeout=10)
        yield task
    finally:
        if not task.done():
            stop(signal.SIGTERM)
        async with asyncio.timeout(10):
            await task


def stop(number: signal.Signals) -> None:
    """Send ourselves a signal, if somebody listens; it would end the tests otherwise."""
    assert signal.getsignal(number) not in {signal.SIG_DFL, signal.default_int_handler}
    os.kill(os.getpid(), number)


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so."""
    return fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")


async def test_a_message_is_answered_over_the_wire(fake: FakeDiscord, kind: Kind) -> None:
    """From the gateway's event to a request that pings nobody, in the channel of the message."""
    ada, talk = town(fake)
    kind.gate.clear()
    async with serving(fake, frontend_of(fake), kind):
        await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: fake.typing)
        kind.gate.set()
        await fake.until(lambda: fake.answers(talk) == ["You said: hello"])
    assert fake.pings() == []
    assert fake.violations == []
    assert [channel_id for channel_id, _ in fake.typing] == [talk.id]


async def test_the_same_event_twice_is_one_message(fake: FakeDiscord, kind: Kind) -> None:
    """Discord may tell something again, and it is answered once."""
    ada, talk = town(fake)
    async with serving(fake, frontend_of(fake), kind):
        said = await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        fake.world.tell("MESSAGE_CREATE", said)
        await fake.say(ada, talk, "bye", mentions=[fake.bot_user])
        await fake.until(lambda: "You said: bye" in fake.answers(talk))
    assert [heard.text for heard in kind.heard] == ["hello", "bye"]


async def test_system_messages_are_not_heard(fake: FakeDiscord, kind: Kind) -> None:
    """That somebody joined is nothing that was said."""
    ada, talk = town(fake)
    listeners = fake.world.listeners[:]
    async with serving(fake, frontend_of(fake), kind):
        fake.world.listeners.clear()
        joined = await fake.say(ada, talk, "joined")
        joined.kind = 7
        fake.world.listeners += listeners
        fake.world.tell("MESSAGE_CREATE", joined)
        await fake.say(ada, talk, "hello")
        await kind.until(lambda: kind.heard)
    assert [heard.text for heard in kind.heard] == ["hello"]


async def test_s18_it_never_hears_itself_and_knows_other_bots(
    fake: FakeDiscord, kind: Kind
) -> None:
    """Its own words are nothing new to it; those of bots and webhooks are marked as such."""
    ada, talk = town(fake)
    other = fake.add_user("Reporter", is_bot=True)
    async with serving(fake, frontend_of(fake), kind):
        await fake.say(fake.bot_user, talk, "I", mentions=[fake.bot_user])
        await fake.say(other, talk, "beep")
        await fake.say(ada, talk, "hook", webhook=True)
        await fake.say(ada, talk, "hello")
        await kind.until(lambda: len(kind.heard) >= 3)
    assert [(heard.text, heard.author_is_bot) for heard in kind.heard] == [
        ("beep", True),
        ("hook", True),
        ("hello", False),
    ]


async def test_s18_it_does_not_hear_itself_under_another_name(
    fake: FakeDiscord, kind: Kind
) -> None:
    """What a webhook of its own application says is its own; a reply to that is a reply to it."""
    ada, talk = town(fake)
    listeners = fake.world.listeners[:]
    async with serving(fake, frontend_of(fake), kind):
        fake.world.listeners.clear()
        masked = await fake.say(ada, talk, "I am Zoe", webhook=True)
        asked = await fake.say(ada, talk, "hello Zoe", reply_to=masked, ping=False)
        fake.world.listeners += listeners
        ours = {"application_id": str(fake.bot_user.id)}
        said = payloads.gateway_message_json(masked, lambda _: True) | ours
        reply = payloads.gateway_message_json(asked, lambda _: True)
        reply["referenced_message"] |= ours
        for session in fake.gateway.sessions.values():
            session.push("MESSAGE_CREATE", said)
            session.push("MESSAGE_CREATE", reply)
        await kind.until(lambda: kind.heard)
    (heard,) = kind.heard
    assert (heard.text, heard.replies_to_bot, heard.quotes) == ("hello Zoe", True, ())
    assert not heard.addresses_others


async def test_a_channel_that_refuses_us_is_not_listened_to(fake: FakeDiscord, kind: Kind) -> None:
    """Once Discord said no, messages there cost no request, until the mute is over."""
    ada, talk = town(fake)
    assert talk.guild is not None
    other = talk.guild.add_text_channel("other")
    refuse = {talk.id}
    fake.fault("*", lambda one: MISSING_ACCESS if one.channel_id in refuse else None)
    async with serving(fake, frontend_of(fake), kind):
        await fake.say(ada, talk, "one", mentions=[fake.bot_user])
        await fake.until(lambda: fake.requests_to("create_message"))
        await fake.until(lambda: fake.requests_to("create_message")[0].status == 403)
        await fake.say(ada, other, "there", mentions=[fake.bot_user])
        await fake.until(lambda: fake.answers(other) == ["You said: there"])
        asked = len(fake.requests)
        for _ in range(10):
            await fake.say(ada, talk, "more", mentions=[fake.bot_user])
        await fake.say(ada, other, "last")
        await kind.until(lambda: kind.heard[-1].text == "last")
        assert len(fake.requests) == asked
    assert [heard.text for heard in kind.heard] == ["one", "there", "last"]


async def test_what_a_mute_dropped_may_be_caught_up_with(fake: FakeDiscord, kind: Kind) -> None:
    """A message that came while its channel was left alone was not heard, and may come again."""
    ada, talk = town(fake)
    frontend = frontend_of(fake)
    async with serving(fake, frontend, kind):
        frontend._outbox._mute(talk.id)
        await fake.say(ada, talk, "dropped", mentions=[fake.bot_user])
        await fake.say(ada, fake.open_dm(ada), "elsewhere")
        await kind.until(lambda: kind.heard)
        frontend._outbox._mutes.clear()
        await frontend.catch_up(0, None)
    assert [heard.text for heard in kind.heard] == ["elsewhere", "dropped"]
    assert fake.answers(talk) == ["You said: dropped"]


async def test_what_was_said_in_a_gap_is_answered(
    fake: FakeDiscord, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that could not be resumed is made up for: what it missed is heard once."""
    monkeypatch.setattr(ExponentialBackoff, "delay", lambda _: 0.0)
    ada, talk = town(fake)
    frontend = frontend_of(fake, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.01)))
    async with serving(fake, frontend, kind):
        await fake.say(ada, talk, "before", mentions=[fake.bot_user])
        await fake.until(lambda: fake.answers(talk) == ["You said: before"])
        fake.gateway.refuse_connections(1)
        fake.gateway.drop()
        await fake.until(lambda: not fake.gateway.connections)
        await fake.say(ada, talk, "between", mentions=[fake.bot_user])
        await fake.until(lambda: "You said: between" in fake.answers(talk))
    assert [(heard.text, heard.is_late) for heard in kind.heard] == [
        ("before", False),
        ("between", True),
    ]


async def test_commands_that_are_slow_to_register_hold_nothing_back(
    fake: FakeDiscord, core: Witness
) -> None:
    """What was missed is heard while Discord still takes its time over the commands."""
    ada, talk = town(fake)
    gate = asyncio.Event()

    async def load() -> str:
        await gate.wait()
        return ""

    await fake.say(ada, talk, "missed", mentions=[fake.bot_user])
    async with served(fake, core, load_digest=load):
        await core.until(lambda: core.heard)
        gate.set()
        await fake.until(lambda: fake.requests_to("put_commands"))
    assert [heard.text for heard in core.heard] == ["missed"]


async def test_an_answer_that_is_marked_as_interrupted_has_no_buttons(
    fake: FakeDiscord, core: Witness
) -> None:
    """There is nothing to stop any more."""
    _, talk = town(fake)
    fake.world.post(fake.bot_user, talk, f"Hal{CURSOR}")
    async with served(fake, core, cursor=CURSOR):
        await fake.until(lambda: fake.requests_to("edit_message"))
    (request,) = fake.requests_to("edit_message")
    assert request.body["components"] == []


async def test_a_login_is_tried_until_discord_is_there(fake: FakeDiscord, kind: Kind) -> None:
    """An outage at the start is waited for, with growing pauses; no session is spent on it."""
    ada, talk = town(fake)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    fake.fault("*", [Fail(503), Fail(403), Fail(503), Reset()])
    frontend = frontend_of(fake, sleep=sleep, uniform=lambda _, longest: longest)
    async with serving(fake, frontend, kind):
        await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: fake.answers(talk))
    assert [seconds for seconds in pauses if seconds not in {0.5, 8.0}][:3] == [1.0, 2.0, 4.0]
    assert len(fake.identifies) == 1


# Refused for good.


async def refused(frontend: Discord) -> FrontendRefused:
    """Run until refused."""
    with pytest.raises(FrontendRefused) as caught:
        async with asyncio.timeout(5):
            await frontend.run(Kind())
    return caught.value


@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013, 4014])
async def test_r7_a_fatal_close_ends_it_at_once(
    fake: FakeDiscord, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One session is tried, no more; the token is in no word about it."""
    town(fake)
    fake.gateway.refuse_identifies(code, 10)
    error = await refused(frontend_of(fake))
    assert len(fake.identifies) == 1
    assert error.remedy
    assert fake.token not in f"{error!r} {error} {caplog.text}"


async def test_r7_a_wrong_token_costs_no_session(
    fake: FakeDiscord, caplog: pytest.LogCaptureFixture
) -> None:
    """The login says so before anything is connected."""
    secret = "not-the-token"
    error = await refused(frontend_of(fake, token=secret))
    assert fake.identifies == []
    assert "token" in error.sentence
    assert secret not in f"{error!r} {error} {caplog.text}"


async def test_r7_an_intent_that_is_not_granted_names_the_switch(fake: FakeDiscord) -> None:
    """Content that was asked for and not granted is the commonest fault of all."""
    town(fake)
    fake.gateway.granted_intents = 0
    error = await refused(frontend_of(fake))
    assert "Message Content Intent" in error.remedy
    assert [one.refused_with for one in fake.identifies] == [DISALLOWED_INTENTS]


async def test_p8_without_the_intent_no_privilege_is_needed(fake: FakeDiscord, kind: Kind) -> None:
    """Whoever does not ask for content is let in, and still answers mentions."""
    ada, talk = town(fake)
    fake.gateway.granted_intents = 0
    async with serving(fake, frontend_of(fake, message_content=False), kind):
        await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: fake.answers(talk) == ["You said: hello"])
    assert [one.intents & PRIVILEGED for one in fake.identifies] == [0]


async def test_p8_if_its_owner_allows_it_does_without_the_intent(
    fake: FakeDiscord, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused with content, it asks once more without, says so once, and answers mentions."""
    ada, talk = town(fake)
    fake.gateway.granted_intents = 0
    async with serving(fake, frontend_of(fake, degrades=True), kind):
        await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: fake.answers(talk) == ["You said: hello"])
        assert len(fake.identifies) == 2
    assert [one.refused_with for one in fake.identifies] == [DISALLOWED_INTENTS, None]
    assert fake.identifies[1].intents & PRIVILEGED == 0
    assert sum("Message Content Intent" in one.message for one in caplog.records) == 1


@pytest.mark.parametrize(("asks", "sessions"), [(True, 2), (False, 1)])
async def test_p8_it_does_without_once_and_not_forever(
    fake: FakeDiscord, asks: bool, sessions: int
) -> None:
    """If that is refused as well, or there was nothing to do without, it is refused for good."""
    town(fake)
    fake.gateway.refuse_identifies(DISALLOWED_INTENTS, 10)
    await refused(frontend_of(fake, degrades=True, message_content=asks))
    assert len(fake.identifies) == sessions


@pytest.mark.parametrize(("degrades", "state"), [(False, "fault"), (True, "note")])
async def test_p8_the_examination_says_what_it_will_do_without(
    fake: FakeDiscord, degrades: bool, state: str
) -> None:
    """What is not granted is a fault only if the bot cannot serve for it."""
    fake.gateway.granted_intents = 0
    findings = await frontend_of(fake, degrades=degrades).examine()
    about_content = [one for one in findings if "content of all messages" in one.sentence]
    assert [one.state for one in about_content] == [state]
    assert "Message Content Intent" in about_content[0].remedy


# Stopping.


class Slow(Changing):
    """A handler that says a beginning and then waits; stopped, it ends its answer with a mark."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.begun = 0

    async def __call__(self, incoming: object, target: ReplyTarget) -> None:
        """Answer slowly."""
        message_id = await target.post(f"Well{CURSOR}")
        self.begun += 1
        self.change()
        text = "Well [stopped]"
        try:
            await self.go_on.wait()
            text = "Well said"
        finally:
            await target.ready(message_id, final=True)
            await target.edit(message_id, text, final=True)


async def begin(fake: FakeDiscord, slow: Slow, streams: int) -> list[Channel]:
    """Let that many answers begin, each in its own channel."""
    ada, talk = town(fake)
    assert talk.guild is not None
    channels = [talk.guild.add_text_channel(f"c{number}") for number in range(streams)]
    for channel in channels:
        await fake.say(ada, channel, "hello", mentions=[fake.bot_user])
    await slow.until(lambda: slow.begun == streams)
    return channels


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_r4_told_to_stop_it_ends_what_it_began(
    fake: FakeDiscord, number: signal.Signals
) -> None:
    """Nothing new is heard, what was begun is marked, and the gateway hears goodbye."""
    slow = Slow()
    frontend = frontend_of(fake)
    async with serving(fake, frontend, slow) as task:
        channels = await begin(fake, slow, 5)
        stop(number)
        await fake.until(lambda: len(fake.requests_to("edit_message")) == 5)
        await task
    assert [fake.answers(channel) for channel in channels] == [["Well [stopped]"]] * 5
    await fake.until(lambda: not fake.gateway.connections)


async def test_r4_what_ends_within_the_grace_is_whole(fake: FakeDiscord) -> None:
    """An answer that is nearly there gets the time for it."""
    slow = Slow()
    async with serving(fake, frontend_of(fake, grace_seconds=10.0), slow):
        (channel,) = await begin(fake, slow, 1)
        stop(signal.SIGTERM)
        await asyncio.sleep(0.01)  # the signal comes by the loop
        ada = fake.add_user("Ben")
        await fake.say(ada, channel, "too late", mentions=[fake.bot_user])
        slow.go_on.set()
    assert fake.answers(channel) == ["Well said"]


async def test_r4_cancelled_it_stops_as_well(fake: FakeDiscord) -> None:
    """Whoever owns the front end may cancel it instead."""
    slow = Slow()
    frontend = frontend_of(fake)
    task = asyncio.create_task(frontend.run(slow))
    await asyncio.sleep(0)
    await frontend.client.wait_for("shard_ready", timeout=10)
    channels = await begin(fake, slow, 5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [fake.answers(channel) for channel in channels] == [["Well [stopped]"]] * 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_r4_a_process_that_is_told_to_stop_ends_well(
    fake: FakeDiscord, number: signal.Signals
) -> None:
    """Within ten seconds, with every answer marked, no matter which of the two signals came."""
    ada, talk = town(fake)
    assert talk.guild is not None
    channels = [talk.guild.add_text_channel(f"c{number}") for number in range(5)]
    program = (sys.executable, "-m", "tests.frontends.discord.stopping_bot")
    process = await asyncio.create_subprocess_exec(
        *program, fake.api_url, fake.gateway_url, fake.token, cwd=Path(__file__).parents[3]
    )
    try:
        await fake.until(lambda: fake.gateway.sessions, seconds=20)
        for channel in channels:
            await fake.say(ada, channel, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: len(fake.messages_of_bot()) == 5)
        process.send_signal(number)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [fake.answers(channel) for channel in channels] == [["Well [stopped]"]] * 5
    await fake.until(lambda: not fake.gateway.connections)


async def test_r20_a_heartbeat_is_not_late_because_of_us(fake: FakeDiscord, kind: Kind) -> None:
    """While thousands talk and many are answered, the loop stays free for the heartbeat."""
    ada, talk = town(fake)
    assert talk.guild is not None
    channels = [talk.guild.add_text_channel(f"c{number}") for number in range(20)]
    fake.gateway.heartbeat_seconds = 0.1
    frontend = frontend_of(fake)
    async with serving(fake, frontend, kind):
        (connection,) = fake.gateway.connections
        for number in range(3_000):
            to_bot = [fake.bot_user] if number % 150 == 0 else []
            await fake.say(ada, channels[number // 150], f"tea {number}", mentions=to_bot)
        await fake.until(lambda: len(fake.requests_to("edit_message")) == 20, seconds=30)
        beats = [*connection.received_at]
    gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
    assert len(gaps) >= 3
    assert max(gaps) < 1.0  # of a minute that Discord waits
    assert len(kind.heard) == 3_000


async def test_the_signals_are_given_back(fake: FakeDiscord, kind: Kind) -> None:
    """Afterwards, whoever handled them before does so again."""
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    async with serving(fake, frontend_of(fake), kind):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# With the real core.


@pytest.fixture
def open_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scripted], Any]:
    """Open the core with a scripted model, on one folder however often it is opened."""
    models: list[Scripted] = []
    monkeypatch.setattr("acore_bot.app.opening.open_provider", lambda *_: models[-1])
    settings = config.load(
        overrides={
            "data.directory": str(tmp_path),
            "chat.model": "demo/script",
            "providers.demo.kind": "scripted",
        },
        environ={},
    )

    def open_it(model: Scripted) -> Any:  # noqa: ANN401
        models.append(model)
        return app.open_app(settings)

    return open_it


async def test_r4_after_a_restart_nothing_is_answered_twice(
    fake: FakeDiscord, open_bot: Callable[[Scripted], Any]
) -> None:
    """Stopped with five streams open, each answer is marked; those who come next find no message
    without an answer, and none that looks as if it still grew."""
    ada, talk = town(fake)
    assert talk.guild is not None
    channels = [talk.guild.add_text_channel(f"c{number}") for number in range(5)]
    for expected in (5, 10, 15):
        async with (
            open_bot(Scripted(answers=[["Well, ", asyncio.Event()]])) as bot,
            serving(fake, frontend_of(fake), bot.core),
        ):
            for channel in channels:
                await fake.say(ada, channel, f"hello {expected}", mentions=[fake.bot_user])
            await fake.until(partial(has_said, fake, expected))
    heard: list[object] = []

    async def remember(incoming: IncomingMessage | IncomingCommand, target: ReplyTarget) -> None:
        heard.append(incoming)

    async with serving(fake, frontend_of(fake), remember):
        pass
    assert heard == []
    said = [message.text for message in fake.messages_of_bot()]
    assert len(said) == 15
    assert not any("▌" in text for text in said)
    assert all(text.startswith("Well,") and text != "Well," for text in said)


async def test_an_answer_that_is_too_long_for_a_channel_without_files(
    fake: FakeDiscord, open_bot: Callable[[Scripted], Any]
) -> None:
    """Its beginning is shown, what is missing is said, and it is remembered."""
    fake.limits.by_route.clear()
    ada, talk = town(fake)
    talk.deny("attach_files")
    async with open_bot(Scripted(answers=["word " * 6_000])) as bot:
        async with serving(fake, frontend_of(fake), bot.core):
            await fake.say(ada, talk, "long", mentions=[fake.bot_user])
            await fake.until(lambda: fake.answers(talk)[-1:] == [NO_FILE])
        (known,) = await bot.history.conversations()
    assert len(fake.answers(talk)) == 10
    assert known.messages == 2
    assert not any("▌" in answer for answer in fake.answers(talk))


def has_said(fake: FakeDiscord, count: int) -> bool:
    """Whether the bot said so much."""
    return len(fake.messages_of_bot()) == count


async def test_r5_what_was_missed_is_answered_by_the_next_one(
    fake: FakeDiscord, open_bot: Callable[[Scripted], Any]
) -> None:
    """Mentions and private words of the time between are answered once, in order."""
    ada, talk = town(fake)
    private = fake.open_dm(ada)

    async def recent() -> Iterable[str]:
        return [conversation_name(private.id)]

    for number in range(5):
        await fake.say(ada, talk, str(number), mentions=[fake.bot_user])
    await fake.say(ada, private, "psst")
    for _ in range(2):
        async with (
            open_bot(Scripted()) as bot,
            serving(fake, frontend_of(fake, recent_channels=recent), bot.core),
        ):
            await fake.until(lambda: len(fake.messages_of_bot()) == 6)
    replied_to = [one.reply_to.id for one in fake.messages_of_bot() if one.reply_to]
    assert len(set(replied_to)) == 6
    assert len(fake.answers(private)) == 1
    assert [answer.splitlines()[-1][-1] for answer in fake.answers(talk)] == [*"01234"]


# What `acore doctor` says.


async def test_doctor_says_who_we_are_and_how_to_invite_us(fake: FakeDiscord) -> None:
    """A token that works, and a link with the least permissions."""
    findings = await frontend_of(fake).examine()
    assert {finding.state for finding in findings} <= {"ok", "note"}
    sentences = [finding.sentence for finding in findings]
    assert sentences[0] == "acore is known to Discord."
    (link,) = [sentence for sentence in sentences if "oauth2/authorize" in sentence]
    assert f"client_id={fake.bot_user.id}" in link
    assert "scope=bot+applications.commands" in link
    assert f"permissions={1 << 10 | 1 << 11 | 1 << 15 | 1 << 16 | 1 << 38}" in link
    assert fake.identifies == []


@pytest.mark.parametrize(("asked", "state"), [(True, "fault"), (False, "ok")])
async def test_doctor_says_whether_the_settings_ask_for_too_much(
    fake: FakeDiscord, asked: bool, state: str
) -> None:
    """To ask for the content without having it granted is a fault, not to ask is none."""
    fake.gateway.granted_intents = 0
    findings = await frontend_of(fake, message_content=asked).examine()
    assert [finding.state for finding in findings] == ["ok", state, "ok"]


async def test_doctor_names_intents_that_are_of_no_use(fake: FakeDiscord) -> None:
    """Members and presences would add nothing, so they had better be off."""
    findings = await frontend_of(fake).examine()
    (note,) = [finding for finding in findings if finding.state == "note"]
    assert "Server Members Intent and Presence Intent" in note.sentence


async def test_doctor_finds_a_wrong_token(fake: FakeDiscord) -> None:
    """It says where to get another."""
    (finding,) = await frontend_of(fake, token="wrong").examine()
    assert finding.state == "fault"
    assert "token" in finding.sentence
    assert "discord.com/developers" in finding.remedy


async def test_doctor_without_a_token_says_where_to_get_one() -> None:
    """That is no fault: the terminal needs none."""
    (finding,) = await Discord(token="").examine()
    assert finding.state == "note"
    assert "discord.com/developers" in finding.remedy


async def test_doctor_without_a_network_says_so() -> None:
    """A machine that cannot reach Discord is told so."""
    (finding,) = await Discord(token="x", api_url="http://127.0.0.1:9/api/v10").examine()
    assert finding.state == "fault"
    assert "cannot be reached" in finding.sentence
