"""discord.py itself, unmodified, is the judge: what it accepts is Discord."""

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import discord
import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.bare_bot import BareBot, running
from tests.fakes.discord.faults import TooMany
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, File


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord on the real clock."""
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
def channel(fake: FakeDiscord) -> Channel:
    """A channel in a guild."""
    return fake.add_guild("home").add_text_channel("talk")


async def test_a_bot_hears_and_answers(fake: FakeDiscord, channel: Channel) -> None:
    """A bot logs in, hears what is said, types, answers and edits its answer."""
    ada = fake.add_user("Ada")
    async with running(fake) as bot:
        said = await fake.say(ada, channel, "hello", mentions=[fake.bot_user])
        heard = await bot.heard.get()
        assert (heard.id, heard.author.id, heard.channel.id) == (said.id, ada.id, channel.id)
        assert heard.content == f"{fake.bot_user.mention} hello"
        assert [one.id for one in heard.mentions] == [fake.bot_user.id]
        async with heard.channel.typing():
            answer = await heard.reply("Hi")
        await answer.edit(content="Hi Ada")
        assert (await bot.heard.get()).author == bot.user
    assert fake.answers(channel) == ["Hi Ada"]
    assert [one.text for one in fake.history(fake.messages_of_bot()[0])] == ["Hi", "Hi Ada"]
    assert fake.messages_of_bot()[0].reply_to is said
    assert [place for place, _ in fake.typing] == [channel.id]


async def test_people_talk_in_private_as_well(fake: FakeDiscord) -> None:
    """A private chat can be opened from both sides, and is the same then."""
    ada = fake.add_user("Ada")
    async with running(fake) as bot:
        await fake.say(ada, fake.open_dm(ada), "psst")
        heard = await bot.heard.get()
        assert isinstance(heard.channel, discord.DMChannel)
        await heard.channel.send("yes?")
        await (await bot.fetch_user(ada.id)).send("hello?")
    assert [one.text for one in fake.visible(fake.open_dm(ada))] == ["psst", "yes?", "hello?"]


async def test_content_is_hidden_without_its_intent(fake: FakeDiscord, channel: Channel) -> None:
    """Without the message-content intent, a bot reads only what mentions it, answers it with a
    ping, or is private."""
    ada = fake.add_user("Ada")
    async with running(fake, BareBot(intents=discord.Intents(guilds=True, messages=True))) as bot:
        await fake.say(ada, channel, "hidden", attachments=[File("a.txt", b"a")])
        await fake.say(ada, channel, "shown", mentions=[fake.bot_user])
        await fake.say(ada, fake.open_dm(ada), "private")
        heard = [await bot.heard.get() for _ in range(3)]
        mine = await heard[1].reply("mine")
        answered = next(one for one in fake.messages_of_bot() if one.id == mine.id)
        await fake.say(ada, channel, "quiet", reply_to=answered, ping=False)
        await fake.say(ada, channel, "loud", reply_to=answered)
        heard += [await bot.heard.get() for _ in range(3)]
    mention = fake.bot_user.mention
    shown = [one.content for one in heard]
    assert shown == ["", f"{mention} shown", "private", "mine", "", "loud"]
    assert not heard[0].attachments
    assert heard[4].reference is not None
    assert isinstance(heard[4].reference.resolved, discord.Message)
    assert heard[4].reference.resolved.content == "mine"


async def test_history_hides_what_the_owner_did_not_grant(
    fake: FakeDiscord, channel: Channel
) -> None:
    """Without the privileged intent, the content of messages is empty over REST too."""
    fake.gateway.granted_intents = 0
    said = await fake.say(fake.add_user("Ada"), channel, "hidden")
    intents = discord.Intents(guilds=True, messages=True)
    async with running(fake, BareBot(intents=intents)) as bot:
        place = bot.get_partial_messageable(channel.id)
        assert (await place.fetch_message(said.id)).content == ""


async def test_replies_forwards_webhooks_and_files_arrive(
    fake: FakeDiscord, channel: Channel
) -> None:
    """What a message carries arrives with it."""
    ada = fake.add_user("Ada")
    fake.world.cdn_url = fake.url
    async with running(fake) as bot:
        first = await fake.say(ada, channel, "first", attachments=[File("a.txt", b"abc")])
        await fake.say(ada, channel, "second", reply_to=first)
        await fake.say(ada, channel, forward_of=first)
        await fake.say(ada, channel, "from a hook", webhook=True)
        with_file, reply, forward, hook = [await bot.heard.get() for _ in range(4)]
        assert await with_file.attachments[0].read() == b"abc"
    assert (with_file.attachments[0].filename, with_file.attachments[0].size) == ("a.txt", 3)
    assert reply.type is discord.MessageType.reply
    assert reply.reference is not None
    assert reply.reference.message_id == first.id
    assert forward.reference is not None
    assert forward.reference.type is discord.MessageReferenceType.forward
    assert [one.content for one in forward.message_snapshots] == ["first"]
    assert (hook.author.name, hook.author.bot) == ("Ada", True)
    assert hook.webhook_id == hook.author.id != ada.id


async def test_edits_and_deletions_arrive(fake: FakeDiscord, channel: Channel) -> None:
    """A bot hears that a message was edited or deleted, and a reply to it says that it is gone."""
    ada = fake.add_user("Ada")
    async with running(fake) as bot:
        said = await fake.say(ada, channel, "one")
        await fake.edit_message(said, "two")
        await fake.delete_message(said)
        assert [await bot.events.get() for _ in range(2)] == [
            ("edit", said.id),
            ("delete", said.id),
        ]
        await fake.say(ada, channel, "what was that?", reply_to=said)
        await bot.heard.get()
        reply = await bot.heard.get()
    assert reply.reference is not None
    assert isinstance(reply.reference.resolved, discord.DeletedReferencedMessage)
    assert [one.text for one in fake.visible(channel)] == ["what was that?"]


async def test_guilds_channels_and_threads_come_and_go(fake: FakeDiscord, channel: Channel) -> None:
    """A bot hears of places that appear and disappear while it is there."""
    assert channel.guild is not None
    async with running(fake) as bot:
        new = fake.add_guild("new")
        assert await bot.events.get() == ("join", new.id)
        thread = channel.guild.add_thread(channel, "about one thing", fake.add_user("Ada"))
        assert await bot.events.get() == ("thread", thread.id)
        known = bot.get_channel(thread.id)
        assert isinstance(known, discord.Thread)
        assert known.parent_id == channel.id
        await known.send("in the thread")
        channel.delete()
        assert await bot.events.get() == ("gone", channel.id)
        with pytest.raises(discord.NotFound, match="10003"):
            await known.send("too late")
        new.remove_bot()
        assert await bot.events.get() == ("remove", new.id)
    assert [one.text for one in fake.visible(thread)] == ["in the thread"]


async def test_a_bot_knows_its_guild_when_it_is_ready(fake: FakeDiscord, channel: Channel) -> None:
    """Roles, members (with their intent), threads and each channel's last message are there."""
    guild = channel.guild
    assert guild is not None
    role = guild.add_role("staff")
    ada = fake.add_user("Ada")
    guild.add_member(ada, nick="Countess", roles=[role])
    thread = guild.add_thread(channel, "old", ada)
    said = await fake.say(ada, channel, "before")
    channel.deny("attach_files")
    async with running(fake) as bot:
        seen = bot.get_guild(guild.id)
        assert seen is not None
        member = seen.get_member(ada.id)
        assert member is not None
        assert (member.display_name, [one.name for one in member.roles]) == (
            "Countess",
            ["@everyone", "staff"],
        )
        place = seen.get_channel(channel.id)
        assert isinstance(place, discord.TextChannel)
        assert place.last_message_id == said.id
        assert [one.id for one in seen.threads] == [thread.id]
        assert [one.id for one in await seen.active_threads()] == [thread.id]
        assert place.permissions_for(seen.me).send_messages
        assert not place.permissions_for(seen.me).attach_files
        assert (await seen.fetch_member(ada.id)).id == ada.id


async def test_history_is_read_in_pages(fake: FakeDiscord, channel: Channel) -> None:
    """Messages after and before an id come as asked, and without those that were deleted."""
    ada = fake.add_user("Ada")
    said = [await fake.say(ada, channel, str(n)) for n in range(250)]
    await fake.delete_message(said[249])
    async with running(fake) as bot:
        place = bot.get_partial_messageable(channel.id)
        after = [one.content async for one in place.history(after=said[9], limit=120)]
        before = [one.content async for one in place.history(before=said[120], limit=110)]
        newest = [one.content async for one in place.history(limit=2)]
        around = [one.content async for one in place.history(around=said[50], limit=4)]
    assert after == [str(n) for n in range(10, 130)]
    assert before == [str(n) for n in range(119, 9, -1)]
    assert newest == ["248", "247"]
    assert around == ["52", "51", "50", "49"]


async def test_messages_are_dated_by_the_wall_clock() -> None:
    """A message's id and its date tell when it was said."""
    wall_clock = SettableClock(1_790_000_000.0)
    async with FakeDiscord(wall_clock=wall_clock) as fake:
        said = await fake.say(fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk"))
    assert said.created_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert discord.utils.snowflake_time(said.id) == said.created_at


async def test_a_file_is_sent(fake: FakeDiscord, channel: Channel) -> None:
    """A file that the bot sends hangs on its message, and can be fetched."""
    fake.world.cdn_url = fake.url
    async with running(fake) as bot:
        place = bot.get_partial_messageable(channel.id)
        await place.send("see", file=discord.File(io.BytesIO(b"long"), "answer.md"), nonce="7-1")
    [message] = fake.messages_of_bot()
    assert (message.text, message.nonce) == ("see", "7-1")
    assert [one.file.content for one in message.attachments] == [b"long"]
    async with aiohttp.ClientSession() as session:
        async with session.get(message.attachments[0].url) as response:
            assert await response.read() == b"long"
        async with session.get(f"{fake.url}/attachments/1/2/a.md") as response:
            assert response.status == 404


async def test_a_file_is_refused(fake: FakeDiscord, channel: Channel) -> None:
    """A file of more than 10 MiB is, and any where the bot may not attach files."""
    async with running(fake) as bot:
        place = bot.get_partial_messageable(channel.id)
        big = discord.File(io.BytesIO(bytes(10 * 1024 * 1024 + 1)), "big.bin")
        with pytest.raises(discord.HTTPException, match="40005"):
            await place.send(file=big)
        channel.deny("attach_files")
        with pytest.raises(discord.Forbidden, match="50013"):
            await place.send(file=discord.File(io.BytesIO(b"x"), "small.txt"))
    assert not fake.visible(channel)


async def test_discord_py_keeps_to_the_limits_that_it_is_told(
    fake: FakeDiscord, channel: Channel
) -> None:
    """It spaces its sends by the headers, and a 429 makes it wait and send once more."""
    fake.limits.by_route["create_message"] = Limit(2, 0.03)
    async with running(fake) as bot:
        place = bot.get_partial_messageable(channel.id)
        for n in range(5):
            await place.send(str(n))
        fake.fault("create_message", [TooMany(0.01)])
        await place.send("5")
    assert fake.answers(channel) == ["0", "1", "2", "3", "4", "5"]
    assert [one.status for one in fake.requests_to("create_message")] == [200] * 5 + [429, 200]


async def test_a_wrong_token_is_refused(fake: FakeDiscord) -> None:
    """Whoever has another token may not even log in."""
    async with BareBot() as bot:
        with pytest.raises(discord.LoginFailure):
            await bot.login("another")


async def test_discord_py_is_left_as_it_was() -> None:
    """Once the fake is closed, discord.py would talk to the real one again."""
    before = discord.http.Route.BASE, discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY
    async with FakeDiscord() as fake:
        assert fake.api_url == discord.http.Route.BASE
    assert before == (discord.http.Route.BASE, discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY)


async def test_waiting_in_vain_ends(fake: FakeDiscord) -> None:
    """Waiting for what does not come is a failed test, not a hanging one."""
    with pytest.raises(AssertionError, match="in vain"):
        await fake.until(lambda: False, seconds=0.01)
