"""How old the text is that people see while answers grow, and how soon the last of it is there.

The whole Discord front end answers in 1, 10, 40 and 100 channels at once, over the wire, to a fake
Discord in this process that keeps the real one's limits: 5 edits in 5 s a channel and 50 requests
a second over all, with 50 ms to each. On average 20 answers a second begin, at random moments, and
so they end: many more would be more requests than the limits let through. They grow by a word every
20 to 50 ms.

Text is stale for as long as there has been newer text. The mean is over the time in which all
answers grow: 25 s, five windows of the limit; 6 s if quick. The limit is a perfect scheduler
without latency, which edits each message at even distances, as often as both limits allow. The last
text is timed from the last word until it is visible, without the 50 ms, and the worst of all
answers counts. Beside both stands the field's common way, with the same words: one clock for all
conversations, which allows an edit a second. It has the room of as many seconds as there are
answers, so with many of them its staleness is cut short by the end of the run.

    uv run python benchmarks/run.py edits [--quick]
"""

import argparse
import asyncio
import gc
import itertools
import math
import random
import time
import warnings
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple, TypeAlias

from benchmarks.figures import Figure, show

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of a codec that is for voice only
    import discord  # noqa: F401

from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel

from acore_bot.chat.reply import CURSOR, Reply
from acore_bot.contracts import Handler, ReplyTarget
from acore_bot.frontends.discord import Discord
from acore_bot.frontends.discord.translate import conversation_name
from acore_bot.messages import IncomingCommand, IncomingMessage

SIZES = (1, 10, 40, 100)
LATENCY_SECONDS = 0.05
EDITS_PER_SECOND, REQUESTS_PER_SECOND = 1.0, 50.0  # of a channel, and of all
BEGINNINGS_PER_SECOND = 20
DELTA_SECONDS = (0.02, 0.05)
WORD = " a"  # a part of 2,000 characters holds a thousand, which is more than an answer has
CLOCK_SECONDS = 1.0
MAX_RATIO = 1.35
MAX_FINAL_SECONDS = 0.1


class Load(NamedTuple):
    """So many answers, of which all grow for `common_seconds`."""

    answers: int
    common_seconds: float

    @property
    def spread_seconds(self) -> float:
        """Within which time they begin."""
        return self.answers / BEGINNINGS_PER_SECOND

    @property
    def seconds(self) -> float:
        """How long each takes."""
        return self.common_seconds + self.spread_seconds


class Shown(NamedTuple):
    """So many words are visible from a moment on."""

    at: float
    words: int


@dataclass(eq=False)
class Answer:
    """An answer that grows in a channel. `due` are the moments of its words."""

    channel: Channel
    due: list[float]
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """Let it begin now."""
        now = time.monotonic()
        self.due = [now + offset for offset in self.due]

    async def words(self) -> AsyncIterator[str]:
        """Give the words when they are due."""
        for at in self.due:
            await asyncio.sleep(at - time.monotonic())
            yield WORD

    def shown(self) -> list[Shown]:
        """Tell what was visible of it and when."""
        (message,) = (one for one in self.channel.messages.values() if one.author.is_bot)
        assert message.text.strip() == (WORD * len(self.due)).strip()
        return [Shown(one.time, _words_in(one.text)) for one in message.revisions]


Present: TypeAlias = Callable[[Answer, ReplyTarget], Awaitable[None]]


class Outcome(NamedTuple):
    """What came of one run. Times are in seconds."""

    staleness: float
    perfect_staleness: float
    worst_final: float
    refused: int


async def present(answer: Answer, target: ReplyTarget) -> None:
    """Show an answer as we do."""
    text = ""
    async with Reply(target) as reply:
        async for word in answer.words():
            text += word
            reply.show(text)
        await reply.finish(text)


class GlobalClock:
    """Shows answers as is common: with an edit a second, whoever has a word first."""

    def __init__(self) -> None:
        self._edited_at = -math.inf

    async def present(self, answer: Answer, target: ReplyTarget) -> None:
        """Show an answer; its last text waits for the rest of a second only."""
        text, message_id = "", 0
        async for word in answer.words():
            text += word
            if not message_id:
                message_id = await target.post(text + CURSOR)
            elif self._rest() <= 0:
                self._edited_at = time.monotonic()
                await target.edit(message_id, text + CURSOR)
        await asyncio.sleep(self._rest())
        self._edited_at = time.monotonic()
        await target.edit(message_id, text, final=True)

    def _rest(self) -> float:
        return self._edited_at + CLOCK_SECONDS - time.monotonic()


async def run(load: Load, present: Present) -> Outcome:
    """Let a load of answers be shown in some way."""
    chance = random.Random(load.answers)  # the same words for all
    async with FakeDiscord() as fake:
        guild, ada = fake.add_guild("home"), fake.add_user("Ada")
        answers = [
            Answer(guild.add_text_channel(f"talk-{number}"), _offsets(load.seconds, chance))
            for number in range(load.answers)
        ]
        async with serving(fake, handler_of(answers, present)):
            fake.latency_seconds = LATENCY_SECONDS
            began_at = time.monotonic()
            starts = sorted(chance.uniform(0, load.spread_seconds) for _ in answers)
            for answer, start in zip(answers, starts, strict=True):
                await asyncio.sleep(began_at + start - time.monotonic())
                await fake.say(ada, answer.channel, f"{fake.bot_user.mention} tell me")
            async with asyncio.timeout(load.seconds + 60):
                await asyncio.gather(*(answer.is_over.wait() for answer in answers))
        refused = sum(request.status == 429 for request in fake.requests)
    return weigh(answers, refused)


def handler_of(answers: Sequence[Answer], present: Present) -> Handler:
    """Make a core that shows the answers, each in its channel."""
    places = {conversation_name(answer.channel.id): answer for answer in answers}

    async def handle(incoming: IncomingMessage | IncomingCommand, target: ReplyTarget) -> None:
        answer = places[incoming.conversation]
        answer.begin()
        await present(answer, target)
        answer.is_over.set()

    return handle


@asynccontextmanager
async def serving(fake: FakeDiscord, handler: Handler) -> AsyncIterator[None]:
    """Run the front end until the block is left."""
    frontend = Discord(token=fake.token, api_url=fake.api_url, gateway_url=fake.gateway_url)
    task = asyncio.create_task(frontend.run(handler))
    try:
        await asyncio.sleep(0)  # it has a loop from then on
        await frontend.client.wait_for("shard_ready", timeout=10)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def weigh(answers: Sequence[Answer], refused: int) -> Outcome:
    """Find out how old what was visible was, while all answers grew, and how late the last."""
    begin = max(answer.due[0] for answer in answers)
    end = min(answer.due[-1] for answer in answers)
    period = max(1 / EDITS_PER_SECOND, len(answers) / REQUESTS_PER_SECOND)
    shown = [answer.shown() for answer in answers]
    return Outcome(
        fmean(
            staleness(answer.due, seen, begin, end)
            for answer, seen in zip(answers, shown, strict=True)
        ),
        fmean(
            staleness(answer.due, perfectly(answer.due, period), begin, end) for answer in answers
        ),
        max(
            seen[-1].at - answer.due[-1] - LATENCY_SECONDS
            for answer, seen in zip(answers, shown, strict=True)
        ),
        refused,
    )


def staleness(due: Sequence[float], shown: Sequence[Shown], begin: float, end: float) -> float:
    """Return the mean, from `begin` to `end`, of the seconds since the first word that is not
    visible was due."""
    area = 0.0
    for seen, following in itertools.pairwise([Shown(begin, 0), *shown, Shown(end, 0)]):
        if seen.words < len(due):
            since = due[seen.words]
            low, high = max(seen.at, since, begin), min(following.at, end)
            if low < high:
                area += ((high - since) ** 2 - (low - since) ** 2) / 2
    return area / (end - begin)


def perfectly(due: Sequence[float], period_seconds: float) -> list[Shown]:
    """Show the newest words at even distances, the first at once."""
    times = (due[0] + turn * period_seconds for turn in itertools.count())
    within = itertools.takewhile(lambda at: at < due[-1], times)
    return [Shown(at, bisect_right(due, at)) for at in within]


def _offsets(seconds: float, chance: random.Random) -> list[float]:
    distances = (chance.uniform(*DELTA_SECONDS) for _ in itertools.count())
    return list(itertools.takewhile(seconds.__ge__, itertools.accumulate(distances)))


def _words_in(text: str) -> int:
    return text.removesuffix(CURSOR).count(WORD.strip())


def measure(quick: bool) -> list[Figure]:
    """Measure all sizes."""
    figures: list[Figure] = []
    for size in SIZES:
        load = Load(size, 6.0 if quick else 25.0)
        ours = _measured(load, present)
        figures += ours_beside_limits(size, ours)
        common = _measured(load, GlobalClock().present)
        figures += common_beside_ours(size, common, ours)
    return figures


def _measured(load: Load, present: Present) -> Outcome:
    gc.collect()
    gc.disable()  # a sweep would go through all that the fake remembers, and take up to 90 ms
    try:
        return asyncio.run(run(load, present))
    finally:
        gc.enable()


def ours_beside_limits(size: int, ours: Outcome) -> list[Figure]:
    """Set our figures beside what is wanted."""
    ratio = ours.staleness / ours.perfect_staleness
    return [
        Figure(
            name=f"{size}: staleness",
            value=ours.staleness,
            unit="s",
            limit_name="perfect scheduler",
            limit=ours.perfect_staleness,
            ratio=ratio,
            target=MAX_RATIO,
        ),
        Figure(
            name=f"{size}: last text, at worst",
            value=ours.worst_final,
            unit="s",
            limit_name="wanted",
            limit=MAX_FINAL_SECONDS,
            ratio=ours.worst_final / MAX_FINAL_SECONDS,
            target=1.0,
        ),
        Figure(
            name=f"{size}: refused with 429",
            value=ours.refused,
            unit="requests",
            limit_name="wanted",
            limit=0,
            ratio=ours.refused,  # there is no dividing by none
            target=0,
        ),
    ]


def common_beside_ours(size: int, common: Outcome, ours: Outcome) -> list[Figure]:
    """Set the figures of one clock for all beside ours."""
    return [
        Figure(
            f"{size}: staleness with one clock",
            common.staleness,
            "s",
            "ours",
            ours.staleness,
            common.staleness / ours.staleness,
        ),
        Figure(
            f"{size}: last text with one clock",
            common.worst_final,
            "s",
            "ours",
            ours.worst_final,
            common.worst_final / ours.worst_final,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="measure less, for a rough figure")
    show(measure(parser.parse_args().quick))
