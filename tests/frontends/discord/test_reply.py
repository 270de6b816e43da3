"""Answers as they become visible on Discord."""

import asyncio
from collections.abc import AsyncIterator

import discord
import pytest
import simcord
from tests.fakes.desk import Desk, opened
from tests.fakes.discord.faults import DropReply, Reset
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.things import Channel

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import FileUnreadable, TargetGone
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.reply import DiscordReply, Means
from acore_bot.frontends.discord.rest import InvalidRequests
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.messages import Attachment

PICTURE = Attachment(id=1, name="a.png", media_type="image/png", size=3, url="https://a.example")


async def fetch(attachment: Attachment) -> bytes:
    """Stand for the part that fetches files."""
    if attachment.id == PICTURE.id:
        return b"png"
    raise FileUnreadable(f"{attachment.name} is gone.")


def target_at(desk: Desk, channel: Channel, trigger_id: int) -> ReplyTarget:
    """Make a target, as the front end does for each message."""
    means = Means(desk.outbox, desk.pace, TypingKeeper(desk.outbox), fetch)
    return DiscordReply(means, channel.id, trigger_id)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A desk."""
    async with opened() as desk:
        yield desk


async def test_the_first_part_replies_and_the_others_follow(desk: Desk) -> None:
    """The first message of an answer replies to the question; the next ones are plain."""
    asked = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    target = target_at(desk, desk.channel, asked.id)
    ids = [await target.post("one"), await target.post("two", final=True)]
    ids.append(await target.attach("All of it.", "answer.md", "# all"))
    answers = desk.fake.messages_of_bot()
    assert [one.id for one in answers] == ids
    assert [one.text for one in answers] == ["one", "two", "All of it."]
    assert [one.reply_to for one in answers] == [asked, None, None]
    assert [one.file.content for one in answers[2].attachments] == [b"# all"]
    assert target.max_length == 2000


async def test_each_part_has_a_nonce_of_its_own(desk: Desk) -> None:
    """Parts are told apart by their number and answers by their question, within 25 characters."""
    for trigger_id in (2**63 - 1, 2**63 - 2):
        target = target_at(desk, desk.channel, trigger_id)
        for _ in range(10):
            await target.post("a")
        await target.attach("b", "c.md", "d")
    nonces = [one.body["nonce"] for one in desk.fake.requests_to("create_message")]
    assert len(set(nonces)) == 22
    assert all(len(nonce) <= 25 for nonce in nonces)
    assert all(one.body["enforce_nonce"] for one in desk.fake.requests_to("create_message"))


async def test_a_lost_reply_makes_no_second_message(desk: Desk) -> None:
    """A part whose sending we do not know the end of is there once."""
    desk.fake.fault("create_message", [DropReply(), Reset(), DropReply()])
    target = target_at(desk, desk.channel, 1)
    await target.edit(await target.post("a"), "b", final=True)
    assert desk.fake.answers(desk.channel) == ["b"]


async def test_files_come_from_whom_we_were_told(desk: Desk) -> None:
    """Attachments are fetched by the given part, whose errors come through."""
    target = target_at(desk, desk.channel, 1)
    assert await target.fetch(PICTURE) == b"png"
    other = Attachment(id=2, name="b", media_type="text/plain", size=1, url="https://b.example")
    with pytest.raises(FileUnreadable):
        await target.fetch(other)


async def test_a_deleted_channel_is_gone(desk: Desk) -> None:
    """Once its channel is deleted, everything about a target is gone."""
    target = target_at(desk, desk.channel, 1)
    message_id = await target.post("a")
    desk.channel.delete()
    for asking in (target.edit(message_id, "b"), target.post("c"), target.attach("d", "e", "f")):
        with pytest.raises(TargetGone):
            await asking


async def test_r9_fifty_answers_on_the_wire() -> None:
    """Fifty answers stream at once against real limits: none is refused, none has two edits in
    flight, and each is complete in the end."""
    async with opened(requests_per_second=40) as desk:
        desk.fake.limits.everything = Limit(50, 1.0)
        desk.fake.limits.by_route["edit_message"] = Limit(5, 5.0)
        desk.fake.limits.by_route["create_message"] = Limit(5, 5.0)
        guild = desk.fake.add_guild("busy")
        channels = [guild.add_text_channel(f"{n}") for n in range(50)]

        async def stream(channel: Channel) -> None:
            target = target_at(desk, channel, channel.id)
            message_id = await target.post("0")
            for n in range(1, 3):
                await target.ready(message_id)
                await target.edit(message_id, f"{n}")
            await target.ready(message_id, final=True)
            await target.edit(message_id, "end", final=True)

        async with asyncio.TaskGroup() as group:
            for channel in channels:
                group.create_task(stream(channel))
        assert [desk.fake.answers(channel) for channel in channels] == [["end"]] * 50
        assert {one.status for one in desk.fake.requests} == {200}
        assert set(desk.fake.edits_in_flight_max.values()) == {1}


class EchoBot(discord.Client):
    """Answers whatever people say."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.all())
        self.pace = EditPace()
        self.outbox = Outbox(self, self.pace, InvalidRequests())
        self.typing = TypingKeeper(self.outbox)

    async def on_message(self, message: discord.Message) -> None:
        """Answer a message of somebody else."""
        if message.author == self.user:
            return
        means = Means(self.outbox, self.pace, self.typing, fetch)
        target = DiscordReply(means, message.channel.id, message.id)
        async with target.typing():
            pass
        message_id = await target.post("You said ▌")
        await target.ready(message_id, final=True)
        await target.edit(message_id, f"You said {message.content}", final=True)
        await target.attach("And as a file:", "said.md", message.content)


async def test_an_answer_in_a_simulated_discord() -> None:
    """Post, edit and file work through discord.py's own HTTP interface, whoever provides it."""
    async with simcord.run(EchoBot()) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("general")
        alice = guild.add_member(env.create_user("alice"))
        asked = await alice.send(channel, "hello [a](https://a.example)")
        answer, file = channel.history()[-2:]
        assert answer.content == "You said hello a <https://a.example>"
        assert answer.reference is not None
        assert answer.reference.message_id == asked.id
        assert [one.filename for one in file.attachments] == ["said.md"]
