"""What was said while nobody listened is answered once, in order, and what broke off is marked."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.discord.faults import MISSING_ACCESS, Fail
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User

from acore_bot.chat.markdown import Pages
from acore_bot.chat.reply import CURSOR
from acore_bot.errors import HistoryError, TargetGone
from acore_bot.frontends.discord.catch_up import NOTE, CatchUp, interrupted
from acore_bot.frontends.discord.client import DiscordClient
from acore_bot.frontends.discord.translate import conversation_name

WINDOW_SECONDS = 60.0


class WallClock:
    """The time of day, which a test may turn back and forth."""

    def __init__(self) -> None:
        self.seconds = time.time() - 3_600

    def __call__(self) -> float:
        """Tell it in seconds since 1970; a millisecond goes by."""
        self.seconds += 0.001
        return self.seconds

    def now(self) -> datetime:
        """Tell it as a date."""
        return datetime.fromtimestamp(self.seconds, UTC)


class Bot:
    """Hears and mends nothing by itself, but remembers what it was told to."""

    def __init__(self, fake: FakeDiscord, clock: WallClock, *private: Channel) -> None:
        self.heard: list[str] = []
        self.mended: dict[int, str] = {}
        self.hearing = itertools.count()
        self.mend_failure: TargetGone | None = None
        self.store_failure: HistoryError | None = None
        self.has_caught_up = asyncio.Event()
        self.lost_at: datetime | None = None
        self._private = private
        self.client = DiscordClient(self, api_url=fake.api_url, gateway_url=fake.gateway_url)
        self.client._connection.guild_ready_timeout = 0.02
        self.catching_up = CatchUp(
            self.client,
            hear=self.hear_late,
            mend=self.mend,
            cursor=CURSOR,
            recent_channels=self.recent_channels,
            catch_up_seconds=WINDOW_SECONDS,
            now=clock.now,
        )

    async def recent_channels(self) -> Iterable[str]:
        """Name what a store would know, and what it might know besides."""
        if self.store_failure:
            raise self.store_failure
        known = [conversation_name(channel.id) for channel in self._private]
        return ["terminal", "discord:", "discord:x", *known]

    async def hear(self, message: discord.Message) -> None:
        """Hear what is said just now: no concern of these tests."""

    async def hear_late(self, message: discord.Message) -> None:
        """Take a while to answer, a shorter one each time, so that order is no accident."""
        await asyncio.sleep(0.01 / (1 + next(self.hearing)))
        self.heard.append(message.content)

    async def mend(self, channel_id: int, message_id: int, text: str) -> None:
        """Remember a text."""
        if self.mend_failure:
            raise self.mend_failure
        self.mended[message_id] = text

    async def interact(self, interaction: discord.Interaction) -> None:
        """Nobody uses commands here."""

    async def catch_up(self, shard_id: int, lost_at: datetime | None) -> None:
        """Catch up, and say so."""
        await self.catching_up.run(shard_id, self.lost_at or lost_at)
        self.has_caught_up.set()


@pytest.fixture
def clock() -> WallClock:
    """The time of day."""
    return WallClock()


@pytest.fixture
async def fake(clock: WallClock) -> AsyncIterator[FakeDiscord]:
    """A Discord at that time."""
    async with FakeDiscord(wall_clock=clock) as discord_:
        yield discord_


@asynccontextmanager
async def started(bot: Bot, fake: FakeDiscord) -> AsyncIterator[Bot]:
    """Start a bot, let it catch up, and stop it at the end."""
    async with asyncio.TaskGroup() as group, bot.client:
        group.create_task(bot.client.start(fake.token))
        async with asyncio.timeout(20):
            await bot.has_caught_up.wait()
        yield bot


async def heard_by(bot: Bot, fake: FakeDiscord) -> list[str]:
    """Return what a bot heard on its start."""
    async with started(bot, fake):
        return bot.heard


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so."""
    return fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")


async def test_r5_what_was_missed_is_answered_once_and_in_order(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """Of fifty mentions ten are older than the window: the others are heard, by their ids."""
    ada, talk = town(fake)
    for number in range(10):
        await fake.say(ada, talk, f"old {number}", mentions=[fake.bot_user])
    clock.seconds += WINDOW_SECONDS + 1
    for number in range(40):
        await fake.say(ada, talk, str(number), mentions=[fake.bot_user])
        await fake.say(ada, talk, "not for the bot")
    heard = await heard_by(Bot(fake, clock), fake)
    assert heard == [f"{fake.bot_user.mention} {number}" for number in range(40)]


async def test_what_concerns_the_bot_is_heard_wherever_it_was_said(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """Mentions, replies to it and private messages; in channels, threads and private chats."""
    ada, talk = town(fake)
    assert talk.guild is not None
    thread = talk.guild.add_thread(talk, "plans")
    private = fake.open_dm(ada)
    old = fake.world.post(fake.bot_user, talk, "Tea?")
    await fake.say(ada, talk, "reply", reply_to=old)
    await fake.say(ada, thread, "thread", mentions=[fake.bot_user])
    await fake.say(ada, private, "private")
    await fake.say(ada, talk, "to all @everyone")
    await fake.say(fake.add_user("Ben"), talk, "to Ada", mentions=[ada])
    heard = await heard_by(Bot(fake, clock, private, talk), fake)
    assert sorted(heard) == [f"{fake.bot_user.mention} thread", "private", "reply"]


async def test_what_has_an_answer_is_left_alone(fake: FakeDiscord, clock: WallClock) -> None:
    """A message to which a message of ours replies was answered, be it half an answer."""
    ada, talk = town(fake)
    first = await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    second = await fake.say(ada, talk, "2", mentions=[fake.bot_user])
    await fake.say(ada, talk, "3", mentions=[fake.bot_user])
    fake.world.post(fake.bot_user, talk, "One.", reply_to=first)
    fake.world.post(fake.bot_user, talk, f"Tw{CURSOR}", reply_to=second)
    assert await heard_by(Bot(fake, clock), fake) == [f"{fake.bot_user.mention} 3"]


async def test_what_was_answered_together_is_left_alone(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """An answer to several messages replies to the newest; the others of its author had theirs by
    it, those of other people did not."""
    ada, talk = town(fake)
    ben = fake.add_user("Ben")
    for text in ("1", "2"):
        await fake.say(ada, talk, text, mentions=[fake.bot_user])
    await fake.say(ben, talk, "Ben's", mentions=[fake.bot_user])
    third = await fake.say(ada, talk, "3", mentions=[fake.bot_user])
    fake.world.post(fake.bot_user, talk, "To all three.", reply_to=third)
    await fake.say(ada, talk, "4", mentions=[fake.bot_user])
    clock.seconds += 1
    mention = fake.bot_user.mention
    assert await heard_by(Bot(fake, clock), fake) == [f"{mention} Ben's", f"{mention} 4"]


async def test_a_reply_is_answered_alone(fake: FakeDiscord, clock: WallClock) -> None:
    """It says what it continues, so what its author said before it was not taken along."""
    ada, talk = town(fake)
    old = fake.world.post(fake.bot_user, talk, "Tea?")
    await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    reply = await fake.say(ada, talk, "Yes.", reply_to=old)
    fake.world.post(fake.bot_user, talk, "Here.", reply_to=reply)
    clock.seconds += 1
    assert await heard_by(Bot(fake, clock), fake) == [f"{fake.bot_user.mention} 1"]


async def test_what_was_missed_is_not_taken_for_answered(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """Whoever speaks again before we have caught up is answered at once, and for what we missed
    too."""
    ada, talk = town(fake)
    await fake.say(ada, talk, "missed", mentions=[fake.bot_user])
    clock.seconds += 1
    bot = Bot(fake, clock)
    clock.seconds += 1
    now = await fake.say(ada, talk, "heard", mentions=[fake.bot_user])
    fake.world.post(fake.bot_user, talk, "Yes?", reply_to=now)
    assert await heard_by(bot, fake) == [f"{fake.bot_user.mention} missed"]


async def test_a_store_that_fails_costs_the_private_chats_only(
    fake: FakeDiscord, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said in channels is caught up with all the same, and the log says what is not."""
    ada, talk = town(fake)
    await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    bot = Bot(fake, clock)
    bot.store_failure = HistoryError("The store is locked.")
    assert await heard_by(bot, fake) == [f"{fake.bot_user.mention} 1"]
    assert "private chats are not read back: The store is locked." in caplog.text


async def test_system_messages_are_left_alone(fake: FakeDiscord, clock: WallClock) -> None:
    """That somebody joined or pinned something needs no answer, whomever it names."""
    ada, talk = town(fake)
    joined = await fake.say(ada, talk, "joined", mentions=[fake.bot_user])
    joined.kind = 7
    await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    assert await heard_by(Bot(fake, clock), fake) == [f"{fake.bot_user.mention} 1"]


async def test_an_answer_that_broke_off_is_marked(fake: FakeDiscord, clock: WallClock) -> None:
    """What ends in the cursor will never grow again, and says so; all else stays as it is."""
    ada, talk = town(fake)
    asked = await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    whole = fake.world.post(fake.bot_user, talk, "Whole.", reply_to=asked)
    half = fake.world.post(fake.bot_user, talk, f"Hal{CURSOR}")
    await fake.say(ada, talk, f"mine {CURSOR}")
    clock.seconds += 1
    async with started(Bot(fake, clock), fake) as bot:
        assert bot.mended == {half.id: f"Hal{NOTE}"}
    assert whole.id not in bot.mended


def mask(client: discord.Client, fake: FakeDiscord) -> None:
    """Let what webhooks said be said by those of the bot's own application."""
    real, ours = client.http.logs_from, {"application_id": str(fake.bot_user.id)}

    async def logs_from(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        found: Any = await real(*args, **options)
        for one in (*found, *[one.get("referenced_message") or {} for one in found]):
            one.update(ours if "webhook_id" in one else {})
        return found

    client.http.logs_from = logs_from  # type: ignore[method-assign]


async def test_what_the_bot_said_under_another_name_is_known(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """An answer that broke off is marked, what has one is left alone, and a reply to it concerns
    the bot."""
    ada, talk = town(fake)
    zoe = fake.add_user("Zoe")
    asked = await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    half = await fake.say(zoe, talk, f"Hal{CURSOR}", webhook=True, reply_to=asked)
    await fake.say(ada, talk, "why?", reply_to=half, ping=False)
    clock.seconds += 1
    bot = Bot(fake, clock)
    mask(bot.client, fake)
    async with started(bot, fake):
        assert bot.mended == {half.id: f"Hal{NOTE}"}
        assert bot.heard == ["why?"]


async def test_private_chats_are_found_by_conversations_of_one_person(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """The person's id behind the channel's changes nothing, and nothing is read back twice."""
    ada, _ = town(fake)
    private = fake.open_dm(ada)
    await fake.say(ada, private, "private")
    bot = Bot(fake, clock)
    name = conversation_name(private.id)

    async def recent() -> Iterable[str]:
        return [f"{name}/{ada.id}", name]

    bot.catching_up._recent_channels = recent
    assert await heard_by(bot, fake) == ["private"]


async def test_an_answer_that_is_being_written_is_not_marked(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """What is younger than this process is its own, and still grows."""
    _, talk = town(fake)
    bot = Bot(fake, clock)
    clock.seconds += 1
    fake.world.post(fake.bot_user, talk, f"Hal{CURSOR}")
    async with started(bot, fake):
        assert bot.mended == {}


async def test_a_channel_that_closed_to_us_spoils_nothing(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """That a broken answer cannot be marked keeps nobody from theirs."""
    ada, talk = town(fake)
    fake.world.post(fake.bot_user, talk, f"Hal{CURSOR}")
    await fake.say(ada, talk, "1", mentions=[fake.bot_user])
    clock.seconds += 1
    bot = Bot(fake, clock)
    bot.mend_failure = TargetGone("Gone.")
    assert await heard_by(bot, fake) == [f"{fake.bot_user.mention} 1"]


async def test_a_gap_is_read_back_from_when_it_began(fake: FakeDiscord, clock: WallClock) -> None:
    """Who heard until a moment ago asks for little more than that moment."""
    ada, talk = town(fake)
    await fake.say(ada, talk, "heard before", mentions=[fake.bot_user])
    clock.seconds += 50
    await fake.say(ada, talk, "missed", mentions=[fake.bot_user])
    bot = Bot(fake, clock)
    bot.lost_at = clock.now() + timedelta(seconds=100)  # less the reserve, 20 seconds ago
    assert await heard_by(bot, fake) == [f"{fake.bot_user.mention} missed"]


async def test_quiet_and_closed_channels_cost_no_request(
    fake: FakeDiscord, clock: WallClock
) -> None:
    """Only where somebody spoke lately, and where we may read, anything is asked for."""
    ada, talk = town(fake)
    assert talk.guild is not None
    await fake.say(ada, talk.guild.add_text_channel("old"), "long ago")
    clock.seconds += WINDOW_SECONDS + 1
    talk.guild.add_text_channel("empty")
    closed = talk.guild.add_text_channel("closed")
    closed.deny("read_message_history")
    await fake.say(ada, closed, "secret", mentions=[fake.bot_user])
    await fake.say(ada, talk, "Hi", mentions=[fake.bot_user])
    assert await heard_by(Bot(fake, clock), fake) == [f"{fake.bot_user.mention} Hi"]
    asked = {one.channel_id for one in fake.requests if one.path.endswith("/messages")}
    assert asked == {talk.id}


@pytest.mark.parametrize("fault", [MISSING_ACCESS, Fail(400)])
async def test_a_channel_that_cannot_be_read_is_skipped(
    fake: FakeDiscord, clock: WallClock, fault: Fail
) -> None:
    """The others are read all the same."""
    ada, talk = town(fake)
    assert talk.guild is not None
    other = talk.guild.add_text_channel("other")
    for channel in (talk, other):
        await fake.say(ada, channel, channel.name, mentions=[fake.bot_user])
    fake.fault("*", lambda request: fault if request.channel_id == talk.id else None)
    assert await heard_by(Bot(fake, clock), fake) == [f"{fake.bot_user.mention} other"]


async def test_few_channels_are_read_at_once(fake: FakeDiscord, clock: WallClock) -> None:
    """However many there are, no more than four wait for an answer."""
    ada, talk = town(fake)
    assert talk.guild is not None
    for number in range(12):
        channel = talk.guild.add_text_channel(f"c{number}")
        await fake.say(ada, channel, str(number), mentions=[fake.bot_user])
    bot, open_now, most = Bot(fake, clock), 0, 0

    async def hear(message: discord.Message) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        bot.heard.append(message.content)

    bot.catching_up._hear = hear
    async with started(bot, fake):
        assert len(bot.heard) == 12
    assert most <= 4


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Half an ans ▌", f"Half an ans{NOTE}"),
        ("```py\nx = ▌\n```", f"```py\nx =\n```{NOTE}"),
        ("> ~~~\n> x ▌\n> ~~~", f"> ~~~\n> x\n> ~~~{NOTE}"),
        ("```py\nx\n```\n▌", f"```py\nx\n```{NOTE}"),
        ("**bold** ▌", f"**bold**{NOTE}"),
        ("```\nA ████▌\n```", None),
        ("B ██▌", None),
        ("▌", None),
        ("**A ▌ word**", None),
        ("Whole.", None),
        ("A ▌ in the middle", None),
        ("", None),
    ],
)
def test_only_what_ends_in_the_cursor_is_unfinished(text: str, marked: str | None) -> None:
    """The end of a block of code may follow the cursor, words may not; and without what goes before
    it, it is but a block in a chart."""
    assert interrupted(text, CURSOR) == marked
    assert interrupted(text, "") is None


@given(st.text(st.sampled_from("ab `*_~|>#-\n[]()"), max_size=60))
def test_whatever_looks_unfinished_to_us_is_what_we_show(text: str) -> None:
    """Each preview of a growing answer is known by its cursor, and no final text is."""
    preview = Pages(2_000).preview(text, CURSOR).strip()
    assert not preview or interrupted(preview, CURSOR)
    assert interrupted(text, CURSOR) is None


@given(st.text(min_size=1_900, max_size=2_000))
def test_a_marked_answer_fits_into_a_message(text: str) -> None:
    """The note takes the place of the last words, if need be."""
    marked = interrupted(f"{text}{CURSOR}", CURSOR)
    assert marked is not None
    assert len(marked.encode("utf-16-le", "surrogatepass")) // 2 <= 2_000
    assert marked.endswith(NOTE.strip())
