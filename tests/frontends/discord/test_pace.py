"""The pace of edits, in a time that passes only while everybody waits."""

import asyncio
import math
import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.fakes.leaping import leap, now

from acore_bot.frontends.discord.pace import UNUSED_SECONDS, EditPace

LIMIT, WINDOW_SECONDS = 5, 5.0


@dataclass
class Window:
    """So many requests until a moment; the window begins with the first one."""

    limit: int
    seconds: float
    left: int = 0
    ends_at: float = -math.inf

    def take(self) -> bool:
        """Whether there was one left."""
        if now() >= self.ends_at:
            self.left, self.ends_at = self.limit, now() + self.seconds
        self.left -= 1
        return self.left >= 0


@dataclass
class Wire:
    """Discord as far as its limits go. A request takes half of the latency to arrive, give or take
    the jitter, and as long to be answered."""

    pace: EditPace
    latency: float = 0.1
    jitter: float = 0.0
    refused: int = 0
    everything: Window = field(default_factory=lambda: Window(50, 1.0))
    edits: dict[int, Window] = field(default_factory=dict)
    in_flight: dict[int, int] = field(default_factory=dict)
    most_in_flight: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def edit(self, channel_id: int, message_id: int, *, final: bool = False) -> float:
        """Edit a message; return when that was seen."""
        async with self.pace.editing(channel_id, message_id, final=final):
            self.in_flight[message_id] = self.in_flight.get(message_id, 0) + 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight[message_id])
            await self.travel()
            seen_at = now()
            window = self.edits.setdefault(channel_id, Window(LIMIT, WINDOW_SECONDS))
            is_served = self.everything.take() and window.take()
            headers = headers_of(window)
            await self.travel()
            self.in_flight[message_id] -= 1
            status = 200 if is_served else 429
            self.refused += not is_served
            path = f"/api/v10/channels/{channel_id}/messages/{message_id}"
            self.pace.observe("PATCH", path, status, headers)
        return seen_at

    async def post(self) -> float:
        """Post a message; return when that was seen."""
        await self.pace.admit()
        await self.travel()
        seen_at = now()
        self.refused += not self.everything.take()
        await self.travel()
        return seen_at

    async def travel(self) -> None:
        """Be on the way."""
        await asyncio.sleep(self.latency / 2 + self.jitter * self.chance.random())


def headers_of(window: Window) -> CIMultiDict[str]:
    """What an answer tells of a limit."""
    return CIMultiDict(
        {
            "x-ratelimit-limit": str(window.limit),
            "x-ratelimit-remaining": str(max(window.left, 0)),
            "x-ratelimit-reset-after": f"{math.ceil((window.ends_at - now()) * 1000) / 1000}",
        }
    )


@dataclass
class Shown:
    """When a message came to show what had been said by when, and when it was complete."""

    began_at: float
    complete_at: float
    seen: list[tuple[float, float]] = field(default_factory=list)
    said_all_at: float = 0.0

    def ages(self) -> Iterator[tuple[float, float]]:
        """Tell how old the shown text was at the most, and on average, between two changes."""
        ends = [at for at, _ in self.seen[1:]] + [self.said_all_at]
        for (at, said), until in zip(self.seen, ends, strict=True):
            if until > at:
                yield until - said, ((until - said) ** 2 - (at - said) ** 2) / 2

    @property
    def mean_age(self) -> float:
        """How old the shown text was, averaged over the time in which it grew."""
        return sum(area for _, area in self.ages()) / (self.said_all_at - self.seen[0][0])


async def answer(wire: Wire, channel_id: int, message_id: int, seconds: float) -> Shown:
    """Stream an answer whose text grows all the time."""
    began_at = now()
    said_all_at = began_at + seconds
    shown = Shown(began_at, 0.0, said_all_at=said_all_at)
    shown.seen.append((await wire.post(), began_at))
    while now() < said_all_at:
        try:
            async with asyncio.timeout_at(said_all_at):
                await wire.pace.ready(channel_id, message_id)
        except TimeoutError:
            break
        said = min(now(), said_all_at)
        shown.seen.append((await wire.edit(channel_id, message_id), said))
    await wire.pace.ready(channel_id, message_id, final=True)
    shown.complete_at = await wire.edit(channel_id, message_id, final=True)
    return shown


async def answers(wire: Wire, many: int, seconds: float = 20.0) -> list[Shown]:
    """Stream answers in as many channels, which begin within a second and differ in length."""

    async def one(channel_id: int) -> Shown:
        await asyncio.sleep(wire.chance.random())
        length = seconds * (0.75 + wire.chance.random() / 2)
        return await answer(wire, channel_id, channel_id + 1, length)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(place * 10)) for place in range(many)]
    return [task.result() for task in tasks]


async def granted(
    pace: EditPace, channel_id: int, message_id: int, *, final: bool = False
) -> float:
    """Return when a message may be edited."""
    await pace.ready(channel_id, message_id, final=final)
    return now()


@contextmanager
def waiting(*stories: Coroutine[Any, Any, float]) -> Iterator[list[asyncio.Task[float]]]:
    """Let stories go on side by side, and none survive."""
    tasks = [asyncio.get_running_loop().create_task(story) for story in stories]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def learnt(wire: Wire, *, edits: int = 1) -> None:
    """Let the pace know the limits of channel 1, from edits of a message at once."""
    for _ in range(edits):
        await wire.pace.ready(1, 1, final=True)
        await wire.edit(1, 1)


@pytest.mark.parametrize(("latency", "jitter"), [(0.0, 0.0), (0.02, 0.01), (0.15, 0.05)])
def test_r9_fifty_channels_at_once(latency: float, jitter: float) -> None:
    """Fifty answers at once are never refused and never show what is older than two seconds; no
    message has two edits in flight, and each is complete soon after its last word."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency, jitter)
        shown = await answers(wire, 50)
        assert wire.refused == 0
        assert wire.most_in_flight == 1
        assert max(age for one in shown for age, _ in one.ages()) <= 2.0
        # An edit that is under way at the last word has to be over first.
        longest = 1.5 * (latency + 2 * jitter) + 0.1
        assert all(one.complete_at - one.said_all_at <= longest for one in shown)

    leap(story)


@pytest.mark.parametrize("many", [1, 10, 40, 100])
def test_text_is_about_as_young_as_the_limits_allow(many: int) -> None:
    """What is shown is on average at most a quarter older than an oracle could have it, who has no
    latency and needs no edit in reserve."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=0.01)
        shown = await answers(wire, many)
        oracle = max(WINDOW_SECONDS / LIMIT, many / 50) / 2
        assert sum(one.mean_age for one in shown) / many <= 1.25 * oracle
        assert wire.refused == 0

    leap(story)


def test_answers_that_share_a_channel_take_turns() -> None:
    """Five answers in one channel share its limit, none is refused and none is left behind."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(wire, 1, place, 30.0)) for place in range(5)]
        edits = [len(task.result().seen) for task in tasks]
        assert wire.refused == 0
        assert max(edits) - min(edits) <= 1
        assert sum(edits) >= 20

    leap(story)


def test_the_first_edit_goes_at_once_and_the_second_waits_for_its_answer() -> None:
    """While nothing is known of a channel, one edit is in flight there at a time."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=3.0)
        assert await granted(wire.pace, 1, 1) == 0.0
        with waiting(wire.edit(1, 1), granted(wire.pace, 1, 2)) as (_, second):
            assert await second >= 3.0

    leap(story)


def test_without_headers_a_usual_limit_is_assumed() -> None:
    """Where no answer tells of limits, edits keep a distance that is good for the usual one; final
    ones do not."""

    async def story() -> None:
        pace = EditPace(clock=now)
        at = []
        for _ in range(4):
            at.append(await granted(pace, 1, 1))
            async with pace.editing(1, 1):
                pass
        assert all(later - sooner >= 1.0 for sooner, later in pairwise(at))
        assert await granted(pace, 1, 1, final=True) == at[-1]

    leap(story)


def test_one_edit_is_left_for_a_final_text() -> None:
    """At any moment but the last of a window, a final text goes out at once."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=0.0)
        for tenths in range(50):
            growing = asyncio.create_task(answer(wire, tenths, 1, 60.0))
            await asyncio.sleep(5.0 + tenths / 10)
            asked_at = now()
            assert await granted(wire.pace, tenths, 2, final=True) - asked_at <= 0.1
            growing.cancel()

    leap(story)


def test_final_texts_come_first_and_then_the_oldest() -> None:
    """Of those that wait in one channel, a final text goes first, then what was not changed for
    longest."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=0.0)
        order: list[int] = []

        async def change(message_id: int, *, final: bool = False) -> float:
            await wire.pace.ready(1, message_id, final=final)
            order.append(message_id)
            return await wire.edit(1, message_id, final=final)

        for message_id in (1, 2, 3):
            await change(message_id, final=False)
            await asyncio.sleep(0.1)
        while wire.edits[1].left:
            await change(4, final=True)
        order.clear()
        with waiting(change(3), change(2), change(1), change(9, final=True)) as tasks:
            await asyncio.wait(tasks)
        assert order == [9, 1, 2, 3]

    leap(story)


def test_final_texts_of_all_channels_go_in_the_order_of_their_coming() -> None:
    """When the global limit is spent, whoever asked first is served first, however old the text."""

    async def story() -> None:
        pace = EditPace(clock=now)
        order: list[int] = []

        async def finish(channel_id: int) -> float:
            await pace.ready(channel_id, channel_id, final=True)
            order.append(channel_id)
            return now()

        with waiting(finish(2)) as first:
            await asyncio.wait(first)  # so that its message was changed lately
        for _ in range(50):
            pace.note()
        order.clear()
        with waiting(finish(2)) as late:
            await asyncio.sleep(0.01)
            with waiting(finish(1)) as later:
                await asyncio.wait([*late, *later])
        assert order == [2, 1]

    leap(story)


def test_posts_and_final_texts_make_room_for_more_of_them() -> None:
    """While posts and final texts come, ordinary edits leave more of the limit to them."""

    async def story() -> None:
        alone, beside = [await most_edits_in_a_second(urgent=count) for count in (0, 4)]
        assert beside == alone - 8, "the four themselves, and four more"

    leap(story)


async def most_edits_in_a_second(urgent: int) -> int:
    """Count the ordinary edits that a pace lets through in a second after so many posts."""
    pace = EditPace(clock=now)
    count = 0
    for _ in range(urgent):
        await pace.admit()

    async def edit(channel_id: int) -> float:
        nonlocal count
        await pace.ready(channel_id, channel_id)
        count += 1
        return now()

    with waiting(*map(edit, range(100))):
        await asyncio.sleep(1.0)
    return count


def test_a_limit_that_was_hit_holds_its_channel_alone() -> None:
    """After a 429 a channel waits for as long as it was told, and no other does."""

    async def story() -> None:
        pace = EditPace(clock=now)
        path = "/api/v10/channels/1/messages/1"
        async with pace.editing(1, 1):
            pace.observe("PATCH", path, 429, CIMultiDict({"Retry-After": "7"}))
        assert await granted(pace, 2, 2) == 0.0
        assert await granted(pace, 1, 1, final=True) == 7.0

    leap(story)


def test_a_global_limit_that_was_hit_holds_everything() -> None:
    """After a 429 that is meant for the whole bot nothing is sent for as long as it says."""

    async def story() -> None:
        pace = EditPace(clock=now)
        headers = CIMultiDict({"Retry-After": "3", "X-RateLimit-Scope": "global"})
        pace.observe("GET", "/api/v10/users/@me", 429, headers)
        await pace.admit()
        assert now() == 3.0

    leap(story)


def test_requests_of_others_count() -> None:
    """What is sent without asking takes its part of the global limit."""

    async def story() -> None:
        pace = EditPace(clock=now)
        for _ in range(49):
            pace.note()
        await pace.admit()
        assert now() > 1.0

    leap(story)


def test_posts_overtake_typing() -> None:
    """A part of the global limit is left to posts and final texts, which typing and ordinary edits
    cannot take."""

    async def story() -> None:
        pace = EditPace(clock=now)
        order: list[str] = []

        async def ask(name: str, asking: Coroutine[Any, Any, None]) -> float:
            await asking
            order.append(name)
            return now()

        for _ in range(47):
            pace.note()
        with waiting(
            ask("typing", pace.admit(urgent=False)),
            ask("edit", pace.ready(1, 1)),
            ask("post", pace.admit()),
            ask("final", pace.ready(2, 2, final=True)),
        ) as (typing, edit, post, final):
            assert await post == await final == 0.0
            assert await edit > 1.0
            assert await typing > 1.0
        assert sorted(order[:2]) == ["final", "post"]

    leap(story)


def test_what_is_under_way_counts() -> None:
    """An answer does not know of edits that arrived after its own; they are not forgotten."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=1.0)
        await learnt(wire)

        async def finish(message_id: int) -> float:
            await wire.pace.ready(1, message_id, final=True)
            return await wire.edit(1, message_id, final=True)

        with waiting(*(finish(message_id) for message_id in range(2, 9))) as tasks:
            await asyncio.wait(tasks)
        assert wire.refused == 0

    leap(story)


def test_an_edit_without_an_answer_counts() -> None:
    """An edit whose answer is lost may have reached Discord, so it is counted."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=0.0)
        await learnt(wire)
        began = now()
        for message_id in range(2, 7):
            await wire.pace.ready(1, message_id, final=True)
            async with wire.pace.editing(1, message_id, final=True):
                pass
        assert now() - began == pytest.approx(WINDOW_SECONDS)

    leap(story)


def test_ordinary_edits_keep_apart() -> None:
    """Forty channels that want to edit at the same moment do so one after the other, lest they
    reach the global limit together."""

    async def story() -> None:
        pace = EditPace(clock=now)
        with waiting(*(granted(pace, place, 1) for place in range(40))) as tasks:
            at = sorted([await task for task in tasks])
        assert all(later - sooner > 0.02 for sooner, later in pairwise(at))
        assert at[-1] < 1.0

    leap(story)


def test_who_leaves_the_line_holds_nobody_up() -> None:
    """A cancelled wait costs the others nothing, before it was granted and after."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=0.0)
        await learnt(wire)
        with waiting(granted(wire.pace, 1, 1), granted(wire.pace, 1, 2)) as (first, second):
            await asyncio.sleep(0)
            first.cancel()
            at = await second
        assert at == pytest.approx((WINDOW_SECONDS - 0.08) / 4)

    leap(story)


def test_who_finds_nothing_to_show_holds_nobody_up() -> None:
    """A message that may be edited and is not delays its channel for a moment only."""

    async def story() -> None:
        pace = EditPace(clock=now)
        assert await granted(pace, 1, 1) == 0.0
        assert await granted(pace, 1, 1, final=True) == 0.0  # asks again, so it is not at it
        assert await granted(pace, 1, 2, final=True) <= 1.0

    leap(story)


def test_a_message_has_one_edit_in_flight() -> None:
    """Whoever edits a message that is being edited waits, ready or not."""

    async def story() -> None:
        wire = Wire(EditPace(clock=now), latency=1.0)
        with waiting(wire.edit(1, 1), wire.edit(1, 1), wire.edit(1, 1)) as tasks:
            await asyncio.wait(tasks)
        assert wire.most_in_flight == 1

    leap(story)


def test_unused_channels_are_forgotten() -> None:
    """A thousand channels leave nothing behind once they are quiet and others speak."""

    async def story() -> None:
        pace = EditPace(clock=now)
        for channel_id in range(1000):
            await pace.ready(channel_id, 1, final=True)
        await asyncio.sleep(UNUSED_SECONDS + 1)
        for channel_id in range(5000, 5600):
            await pace.ready(channel_id, 1, final=True)
        assert len(pace) <= 600

    leap(story)


def test_messages_that_were_never_edited_are_forgotten() -> None:
    """In a channel that is never quiet, too."""

    async def story() -> None:
        pace = EditPace(clock=now)
        for message_id in range(1000):
            await pace.ready(1, message_id, final=True)
            await asyncio.sleep(2.0)
        (channel,) = pace._channels.values()
        assert len(channel.flying) == len(channel.shown) < 300

    leap(story)


def test_told_to_stop_only_final_texts_are_granted() -> None:
    """Edits that wait, and those that come, are held back; final ones and posts are not, and find
    all that the limit leaves."""

    async def story() -> None:
        pace = EditPace()
        wire = Wire(pace)
        await pace.ready(1, 1)
        await wire.edit(1, 1)
        before = asyncio.create_task(pace.ready(1, 1))
        typing = asyncio.create_task(pace.admit(urgent=False))
        await asyncio.sleep(0)
        pace.stop_ordinary()
        after = asyncio.create_task(pace.ready(2, 2))
        await asyncio.sleep(60)
        began = now()
        for message_id in range(3, 3 + LIMIT):
            await pace.ready(1, message_id, final=True)
            await wire.edit(1, message_id, final=True)
        await pace.admit()
        assert now() - began < WINDOW_SECONDS / LIMIT
        assert not any(one.done() for one in (before, after, typing))
        for task in (before, after, typing):
            task.cancel()
        await asyncio.wait((before, after, typing))

    leap(story)


def test_a_webhook_has_limits_of_its_own() -> None:
    """What an answer to an edit by a webhook tells is learnt for the webhook, not for the channel
    in which it speaks."""

    async def story() -> None:
        pace = EditPace(clock=now)
        await pace.ready(10, 1, final=True)
        async with pace.editing(10, 1):
            path = "/api/v10/webhooks/77/to-ken_1/messages/1"
            pace.observe("PATCH", path, 429, CIMultiDict({"Retry-After": "7"}))
        assert await granted(pace, 2, 2, final=True) == 0.0
        assert await granted(pace, 10, 1, final=True) == 7.0

    leap(story)
