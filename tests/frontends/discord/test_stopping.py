"""How the bot stops in a channel where many wait, as Discord's limits let it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.fakes.discord.faults import Delay
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel
from tests.fakes.leaping import leap, now

from acore_bot.chat.reply import CURSOR, Reply
from acore_bot.contracts import ReplyTarget
from acore_bot.frontends.discord import Discord
from acore_bot.messages import IncomingCommand, IncomingMessage

NOON = 1_772_366_400.0
ASKERS = 20
LATENCY_SECONDS = 0.05
STOPPED = "*[stopped]*"


class Talker:
    """Says a word five times a second, and marks what it is kept from saying."""

    def __init__(self, words: int) -> None:
        self._words = words

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer whatever was said."""
        said = ""
        async with Reply(target) as reply:
            try:
                for _ in range(self._words):
                    said += "word "
                    reply.show(said)
                    await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                await reply.finish(f"{said}\n\n{STOPPED}")
                raise
            await reply.finish(said)


def frontend_of(fake: FakeDiscord) -> Discord:
    """Make the front end, in the time of the story."""
    frontend = Discord(
        token=fake.token,
        api_url=fake.api_url,
        gateway_url=fake.gateway_url,
        message_content=True,
        cursor=CURSOR,
        clock=now,
        now=lambda: datetime.fromtimestamp(NOON + now(), UTC),
    )
    frontend.client._connection.guild_ready_timeout = 0.02
    return frontend


@asynccontextmanager
async def serving(fake: FakeDiscord, handler: Talker) -> AsyncIterator[None]:
    """Serve until the block is left; to stop takes less than ten seconds."""
    frontend = frontend_of(fake)
    task = asyncio.create_task(frontend.run(handler))
    await asyncio.sleep(0)
    await frontend.client.wait_for("shard_ready", timeout=10)
    try:
        yield
    finally:
        began = now()
        task.cancel()
        await asyncio.wait([task])
        assert now() - began < 10


def unfinished(fake: FakeDiscord, channel: Channel) -> list[str]:
    """Return the answers that look as if they still grew."""
    return [text for text in fake.answers(channel) if "▌" in text]


@pytest.mark.parametrize(("after_seconds", "most_left"), [(3.0, 0), (5.5, 0), (7.5, 2), (12.0, 6)])
def test_r4_twenty_askers_in_one_channel(after_seconds: float, most_left: int) -> None:
    """However many answers grow when we are told to stop, nobody is refused for haste and nobody
    stays without an answer, or gets two. Discord allows about ten final texts in that time; of more
    answers than that, some are left with their cursors, and marked at the next start."""

    async def story() -> None:
        async with FakeDiscord(clock=now, wall_clock=lambda: NOON + now()) as fake:
            fake.rest.latency_seconds = LATENCY_SECONDS
            channel = fake.add_guild("home").add_text_channel("talk")
            people = [fake.add_user(f"U{number}") for number in range(ASKERS)]
            async with serving(fake, Talker(1000)):
                for person in people:
                    await fake.say(person, channel, "tell me", mentions=[fake.bot_user])
                await asyncio.sleep(after_seconds)
                assert len(unfinished(fake, channel)) >= 5
            assert len(unfinished(fake, channel)) <= most_left
            assert {one.status for one in fake.requests} <= {200, 204}
            async with serving(fake, Talker(5)):
                await asyncio.sleep(60)
            assert unfinished(fake, channel) == []
            replied_to = [one.reply_to.id for one in fake.messages_of_bot() if one.reply_to]
            assert len(set(replied_to)) == len(replied_to) == ASKERS

    leap(story, look_seconds=1e-9)


def test_an_answer_that_can_begin_at_once_does_so_while_we_stop() -> None:
    """Only where it would have to wait, the question is left to the next start."""

    async def story() -> None:
        async with FakeDiscord(clock=now, wall_clock=lambda: NOON + now()) as fake:
            channel = fake.add_guild("home").add_text_channel("talk")
            fake.fault("create_message", [Delay(0.2)])
            fake.rest.sleep = asyncio.sleep
            async with serving(fake, Talker(2)):
                await fake.say(fake.add_user("Ada"), channel, "Hi", mentions=[fake.bot_user])
                await fake.until(lambda: fake.requests_to("create_message"))
            assert fake.answers(channel) == ["word word"]

    leap(story, look_seconds=1e-9)
