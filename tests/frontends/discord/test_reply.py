"""Answers as they become visible on Discord."""

import asyncio
from collections.abc import AsyncIterator

import discord
import pytest
import simcord
from tests.fakes.desk import Desk, opened
from tests.fakes.discord.faults import DropReply, Reset
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.records import Request
from tests.fakes.discord.things import Channel

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import FileUnreadable, TargetGone
from acore_bot.frontends.discord.addresses import Address, ChannelAddress
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.reply import DiscordReply, Masks, Means
from acore_bot.frontends.discord.rest import InvalidRequests
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.messages import Attachment

AUTHOR_ID = 1
PICTURE = Attachment(id=1, name="a.png", media_type="image/png", size=3, url="https://a.example")


async def fetch(attachment: Attachment) -> bytes:
    """Stand for the part that fetches files."""
    if attachment.id == PICTURE.id:
        return b"png"
    raise FileUnreadable(f"{attachment.name} is gone.")


def target_at(
    desk: Desk,
    channel: Channel,
    trigger_id: int,
    *,
    author_id: int = AUTHOR_ID,
    masks: Masks | None = None,
    has_core: bool = True,
) -> ReplyTarget:
    """Make a target, as the front end does for each message."""
    typing = TypingKeeper(desk.outbox)
    means = Means(desk.outbox, desk.pace, typing, fetch, has_core=has_core, masks=masks)
    return DiscordReply(means, channel.id, trigger_id, author_id)


def labels(request: Request) -> list[str]:
    """Name the buttons that a request shows."""
    return [one["label"] for row in request.body["components"] for one in row["components"]]


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


# Buttons.


async def test_what_grows_can_be_stopped(desk: Desk) -> None:
    """Until it is final, a message has a button to stop it; then it has those that it is given."""
    target = target_at(desk, desk.channel, 1)
    message_id = await target.post("a")
    await target.ready(message_id)
    await target.edit(message_id, "b")
    await target.ready(message_id, final=True)
    await target.edit(message_id, "c", final=True, controls=("regenerate", "details"))
    await target.post("d", final=True, controls=("a", "tie"))
    await target.attach("e", "f.md", "g", controls=("details",))
    assert list(map(labels, desk.fake.requests[-5:])) == [
        ["Stop"],
        ["Stop"],
        ["Regenerate", "Details"],
        ["A is better", "Tie"],
        ["Details"],
    ]


async def test_nothing_is_offered_that_nobody_hears_of(desk: Desk) -> None:
    """Without a core there is no button, and an edit takes away the one of before."""
    target = target_at(desk, desk.channel, 1, has_core=False)
    message_id = await target.post("a")
    assert "components" not in desk.fake.requests[-1].body
    await target.ready(message_id)
    await target.edit(message_id, "b")
    assert desk.fake.requests[-1].body["components"] == []


# In other places.


async def test_an_answer_takes_the_place_of_another(desk: Desk) -> None:
    """Its parts replace the former ones in order, and those that are too many follow."""
    asked = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    target = target_at(desk, desk.channel, asked.id)
    former = [await target.post("one", final=True), await target.post("two", final=True)]
    again = target.in_place_of(former)
    ids = [await again.post(text, final=True) for text in ("1", "2", "3")]
    assert ids[:2] == former
    assert desk.fake.answers(desk.channel) == ["1", "2", "3"]
    assert [one.reply_to for one in desk.fake.messages_of_bot()] == [asked, None, None]
    assert await target.post("four", final=True) not in ids


async def test_another_answer_stands_below_and_replies(desk: Desk) -> None:
    """It replaces nothing, and is no repetition of the first one although it answers the same."""
    asked = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    target = target_at(desk, desk.channel, asked.id)
    first = await target.post("same", final=True)
    second = await target.in_place_of(()).post("same", final=True)
    assert first != second
    assert [one.reply_to for one in desk.fake.messages_of_bot()] == [asked, asked]


async def test_messages_are_removed(desk: Desk) -> None:
    """Those of the bot that it is told, and no others."""
    target = target_at(desk, desk.channel, 1)
    ids = [await target.post(text, final=True) for text in "abc"]
    await target.remove(ids[1:])
    assert desk.fake.answers(desk.channel) == ["a"]


async def test_a_whisper_is_heard_by_the_author_alone(desk: Desk) -> None:
    """It goes to whoever said the message, and is silence where they take none."""
    ada = desk.fake.add_user("Ada")
    target = target_at(desk, desk.channel, 1, author_id=ada.id)
    await target.whisper("one")
    await target.whisper("two")
    assert desk.fake.answers(desk.fake.open_dm(ada)) == ["one", "two"]
    desk.fake.open_dm(ada).deny("send_messages")
    await target.whisper("three")
    assert desk.fake.answers(desk.channel) == []


async def test_a_thread_takes_the_answer(desk: Desk) -> None:
    """The thread stands under the question, and what is whispered goes where it went before."""
    ada = desk.fake.add_user("Ada")
    asked = await desk.fake.say(ada, desk.channel, "hello")
    thread = await target_at(desk, desk.channel, asked.id, author_id=ada.id).thread("plans")
    await thread.post("there", final=True)
    await thread.whisper("you")
    assert desk.fake.answers(desk.channel) == []
    assert desk.fake.answers(desk.fake.world.channels[asked.id]) == ["there"]
    assert desk.fake.answers(desk.fake.open_dm(ada)) == ["you"]


async def test_where_there_is_no_thread_it_answers_as_ever(desk: Desk) -> None:
    """In private, the answer stands where the question does."""
    ada = desk.fake.add_user("Ada")
    chat = desk.fake.open_dm(ada)
    asked = await desk.fake.say(ada, chat, "hello")
    await (await target_at(desk, chat, asked.id).thread("plans")).post("here", final=True)
    assert desk.fake.answers(chat) == ["here"]


# Under other names.


class Stage(ChannelAddress):
    """A channel of its own, so that it can be seen who speaks."""

    def __init__(self, channel_id: int, *, may_have_posted: bool) -> None:
        super().__init__(channel_id)
        self.may_have_posted = may_have_posted


class Wardrobe:
    """Masks that speak on one stage."""

    def __init__(self, stage: Channel) -> None:
        self.stage = stage
        self.may_have_posted = False
        self.asked: list[tuple[int, str, bytes]] = []
        self.worn: set[int] = set()

    async def address_for(self, channel_id: int, name: str, picture: bytes) -> Stage | None:
        """Return the stage, for whoever has a name."""
        self.asked.append((channel_id, name, picture))
        if not name:
            return None
        return Stage(self.stage.id, may_have_posted=self.may_have_posted)

    async def address_of_message(self, channel_id: int, message_id: int) -> Address | None:
        """Return the stage for what was said there."""
        return ChannelAddress(self.stage.id) if message_id in self.worn else None


@pytest.fixture
def wardrobe(desk: Desk) -> Wardrobe:
    """Masks, and a stage."""
    return Wardrobe(desk.fake.add_guild("theatre").add_text_channel("stage"))


async def test_who_speaks_under_another_name_edits_under_it(desk: Desk, wardrobe: Wardrobe) -> None:
    """Posts, edits and removals all go by the way of the mask."""
    target = target_at(desk, desk.channel, 1, masks=wardrobe).speaking_as("Ada", b"png")
    message_id = await target.post("a")
    await target.ready(message_id, final=True)
    await target.edit(message_id, "b", final=True)
    assert desk.fake.answers(wardrobe.stage) == ["b"]
    await target.remove([message_id])
    assert desk.fake.answers(wardrobe.stage) == desk.fake.answers(desk.channel) == []
    assert wardrobe.asked == [(desk.channel.id, "Ada", b"png")]


async def test_after_a_restart_a_mask_is_found_again(desk: Desk, wardrobe: Wardrobe) -> None:
    """What was said under another name before is replaced by the same way."""
    spoken = target_at(desk, wardrobe.stage, 1)
    wardrobe.worn.add(message_id := await spoken.post("old", final=True))
    later = target_at(desk, desk.channel, 2, masks=wardrobe).in_place_of([message_id])
    assert await later.post("new", final=True) == message_id
    assert desk.fake.answers(wardrobe.stage) == ["new"]


async def test_where_there_is_no_mask_the_bot_speaks_itself(desk: Desk, wardrobe: Wardrobe) -> None:
    """Whether there can be none, or the one that there was is gone."""
    target = target_at(desk, desk.channel, 1, masks=wardrobe)
    await target.speaking_as("", b"").post("a", final=True)
    wardrobe.stage.delete()
    message_id = await target.speaking_as("Ada", b"").post("b")
    await target.ready(message_id, final=True)
    await target.edit(message_id, "c", final=True)
    assert desk.fake.answers(desk.channel) == ["a", "c"]


async def test_what_a_mask_may_have_said_is_not_said_again(desk: Desk, wardrobe: Wardrobe) -> None:
    """If nobody knows what became of it, saying it under the bot's own name could double it."""
    wardrobe.stage.delete()
    wardrobe.may_have_posted = True
    with pytest.raises(TargetGone):
        await target_at(desk, desk.channel, 1, masks=wardrobe).speaking_as("Ada", b"").post("b")
    assert desk.fake.answers(desk.channel) == []


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
        target = DiscordReply(means, message.channel.id, message.id, message.author.id)
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
