"""Other names as the whole front end gives them, over the wire, where Discord may fail."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from tests.fakes.discord.faults import DropReply, Fail, Fault, Reset, TimeOut
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User
from tests.fakes.discord.webhooks import MANAGE_WEBHOOKS
from tests.fakes.served import Witness, served

from acore_bot.chat.reply import CURSOR
from acore_bot.contracts import ReplyTarget
from acore_bot.frontends.discord.catch_up import NOTE
from acore_bot.messages import IncomingCommand, IncomingMessage


class Actor(Witness):
    """A core that says its lines under another name, a message each."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.lines = list(lines)

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Say a part, show that it grows, and complete it."""
        assert isinstance(incoming, IncomingMessage)
        spoken = target.speaking_as("Zoe", b"")
        for line in self.lines:
            message_id = await spoken.post(line[:2] + CURSOR)
            await spoken.ready(message_id, final=True)
            await spoken.edit(message_id, line, final=True)
        self._note(self.heard, incoming)


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord."""
    async with FakeDiscord() as discord:
        yield discord


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so in which the bot may make webhooks."""
    guild = fake.add_guild("home")
    maker = guild.add_role("maker", permissions=MANAGE_WEBHOOKS)
    guild.add_member(fake.bot_user, roles=[maker])
    return fake.add_user("Ada"), guild.add_text_channel("talk")


def said(fake: FakeDiscord, channel: Channel) -> list[tuple[str, str]]:
    """Say who said what there, but for people."""
    seen = fake.visible(channel)
    return [(one.author.name, one.text) for one in seen if one.author.name != "Ada"]


@pytest.mark.parametrize("is_thread", [False, True])
@pytest.mark.parametrize("fault", [TimeOut(), DropReply(), Reset(), Fail(504), Fail(503)])
async def test_r3_what_a_mask_says_stands_there_once(
    fake: FakeDiscord, fault: Fault, is_thread: bool
) -> None:
    """Whether or not a post was performed before Discord failed, it is there, once, and grows; in
    a thread too."""
    ada, talk = town(fake)
    assert talk.guild is not None
    place = talk.guild.add_thread(talk, "plans") if is_thread else talk
    core = Actor("first", "second", "second")
    async with served(fake, core):
        fake.fault("execute_webhook", [None, fault, fault, None, fault])
        await fake.say(ada, place, "hello")
        await core.until(lambda: core.heard)
    assert said(fake, place) == [("Zoe", "first"), ("Zoe", "second"), ("Zoe", "second")]


@pytest.mark.parametrize("is_readable", [False, True])
async def test_r3_what_was_said_before_a_restart_is_not_taken_for_new(
    fake: FakeDiscord, is_readable: bool
) -> None:
    """Though the new process does not know who posted the same words, nor may read what a mask
    says, it overwrites no former answer."""
    fake.gateway.granted_intents = ~0 if is_readable else 0
    ada, talk = town(fake)
    for lines in (["old"], ["old"]):
        core = Actor(*lines)
        async with served(fake, core, message_content=is_readable, catch_up_seconds=0):
            fake.fault("execute_webhook", [Fail(503)])
            await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
            await core.until(partial(bool, core.heard))
    assert said(fake, talk) == [("Zoe", "old"), ("Zoe", "old")]


async def test_r3_what_nobody_can_look_for_is_said_neither_way(fake: FakeDiscord) -> None:
    """A mask that Discord lets read nothing any more gives up what may stand there: neither under
    its name nor under the bot's own it is said again."""
    ada, talk = town(fake)
    core = Actor("first")
    async with served(fake, core):
        fake.fault("execute_webhook", [TimeOut()])
        fake.fault("get_messages", lambda _: Fail(403, 50013))
        await fake.say(ada, talk, "hello")
        await fake.until(lambda: fake.requests_to("get_messages"))
    assert said(fake, talk) == [("Zoe", f"fi{CURSOR}")]


@pytest.mark.parametrize("is_thread", [False, True])
async def test_r3_an_answer_of_a_mask_that_broke_off_is_marked(
    fake: FakeDiscord, is_thread: bool
) -> None:
    """By the webhook that said it, and once, though a former process did."""
    ada, talk = town(fake)
    assert talk.guild is not None
    place = talk.guild.add_thread(talk, "plans") if is_thread else talk
    core = Actor("half of it")
    async with served(fake, core):
        await fake.say(ada, place, "hello")
        await core.until(lambda: core.heard)
    (message,) = (one for one in place.messages.values() if one.is_from_webhook)
    fake.world.edit(message, f"half{CURSOR}")
    async with served(fake, Witness(), cursor=CURSOR, now=_a_minute_later):
        fake.fault("edit_webhook_message", [TimeOut()])
        await fake.until(lambda: message.text == f"half{NOTE}")
    assert not [one for one in fake.requests_to("edit_message") if one.message_id == message.id]


def _a_minute_later() -> datetime:
    # What is as young as the process is being written just now.
    return datetime.now(UTC) + timedelta(minutes=1)
