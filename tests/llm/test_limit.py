"""A few streams at once, and a line that is fair to those who wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from statistics import median
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.clock import SettableClock

from acore_bot.errors import Overloaded, QueueFull, Unavailable
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, Piece, Waiting
from acore_bot.providers.scripted import Answer, Scripted


def ask(asker: str = "ada", *, deadline: float | None = None) -> ChatRequest:
    """Make a request of a person."""
    said = (ChatMessage("user", "Tea?"),)
    return ChatRequest(
        model="assam:7b", messages=said, max_tokens=9, asker=asker, deadline=deadline
    )


class TeaRoom:
    """A provider of few slots whose answers end when they are told to, and what it was asked."""

    def __init__(
        self,
        slots: int = 1,
        *,
        max_waiting: int = 32,
        max_wait_seconds: float = 30.0,
        answers: Sequence[Answer] = ("Yes.",),
    ) -> None:
        self.clock = SettableClock()
        self.provider = Scripted(answers=answers)
        options = LimitOptions(
            max_streams=slots, max_waiting=max_waiting, max_wait_seconds=max_wait_seconds
        )
        self.model = LimitedModel(self.provider, options, name="tea", clock=self.clock)

    @property
    def open_and_waiting(self) -> tuple[int, int]:
        """How many stream, and how many wait."""
        stats = self.model.stats()
        return int(stats["streams"]), int(stats["waiting"])

    def assert_at_rest(self) -> None:
        """Nobody has a slot, nobody waits, and nothing is kept for anyone."""
        assert self.open_and_waiting == (0, 0)
        assert self.provider.open_streams == 0
        assert not self.model._line._by_asker

    async def hold(self, seconds: float) -> None:
        """Let somebody hold a slot for so long."""
        async with self.model.stream(ask()) as pieces:
            await anext(pieces)
            self.clock.advance(seconds)


class Guest:
    """Somebody who reads an answer, step by step."""

    def __init__(self, room: TeaRoom, asker: str = "ada", *, deadline: float | None = None) -> None:
        self._room = room
        self._request = ask(asker, deadline=deadline)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.pieces = await self._stack.enter_async_context(self._room.model.stream(self._request))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def next(self) -> Piece:
        """Read one more piece."""
        return await anext(self.pieces)

    async def leave(self) -> None:
        """Leave the block."""
        await self._stack.aclose()


async def read(room: TeaRoom, asker: str = "ada", *, deadline: float | None = None) -> list[Piece]:
    """Read a whole answer."""
    async with room.model.stream(ask(asker, deadline=deadline)) as pieces:
        return [piece async for piece in pieces]


async def settle() -> None:
    """Let all tasks go as far as they can without time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_whoever_finds_a_slot_does_not_wait() -> None:
    """With a slot free the answer comes as it would without the limit."""
    room = TeaRoom()
    *deltas, end = await read(room)
    assert deltas == [Delta("Yes.")]
    assert isinstance(end, End)
    room.assert_at_rest()


async def test_entering_the_block_does_not_wait() -> None:
    """The block is entered at once with the line before one; the waiting is done by reading."""
    room = TeaRoom()
    async with Guest(room), Guest(room) as second:
        assert room.open_and_waiting == (1, 1)
        assert await second.next() == Waiting(1, None)


async def test_who_waits_hears_each_change_of_place() -> None:
    """The place is told at once, again when it changes, and then the answer comes."""
    room = TeaRoom()
    first, second, third = Guest(room, "ada"), Guest(room, "ben"), Guest(room, "cleo")
    async with first, second, third:
        assert await third.next() == Waiting(2, None)
        await second.leave()
        assert await third.next() == Waiting(1, None)
        room.clock.advance(4)
        await first.leave()
        assert await third.next() == Delta("Yes.")
    room.assert_at_rest()


async def test_a_place_that_did_not_change_is_not_told_again() -> None:
    """Others who come and go behind do not disturb."""
    room = TeaRoom()
    async with Guest(room, "ada"), Guest(room, "ben") as second:
        assert await second.next() == Waiting(1, None)
        news = asyncio.ensure_future(second.next())
        async with Guest(room, "cleo"):
            await settle()
        assert not news.done()
        news.cancel()
        with suppress(asyncio.CancelledError):
            await news


async def test_a_slow_reader_hears_the_newest_place_only() -> None:
    """Whoever was not listening while the line moved is told where they are now."""
    room = TeaRoom()
    guests = [Guest(room, name) for name in "abcde"]
    async with AsyncExitStack() as stack:
        for guest in guests:
            await stack.enter_async_context(guest)
        assert await guests[-1].next() == Waiting(4, None)
        await guests[1].leave()
        await guests[2].leave()
        assert await guests[-1].next() == Waiting(2, None)


async def test_the_wait_is_measured() -> None:
    """The seconds are the place times how long a slot was held lately, shared by all slots."""
    room = TeaRoom(2)
    await room.hold(10)
    async with Guest(room), Guest(room), Guest(room, "ben") as third, Guest(room, "cleo") as fourth:
        assert await third.next() == Waiting(1, 5.0)
        assert await fourth.next() == Waiting(2, 10.0)


async def test_the_end_tells_how_long_it_stood_in_line() -> None:
    """Who waited is told at the end how long; who found a slot stood in no line."""
    room = TeaRoom()
    async with Guest(room, "bob") as bob, Guest(room) as ada:
        assert isinstance(await ada.next(), Waiting)
        room.clock.advance(3.0)
        last = [piece async for piece in bob.pieces][-1]
        await bob.leave()
        room.clock.advance(5.0)  # reading takes its time too, which is no part of the line
        late = [piece async for piece in ada.pieces][-1]
    assert isinstance(last, End)
    assert isinstance(late, End)
    assert (last.queued_seconds, late.queued_seconds) == (0.0, 3.0)


async def test_the_average_moves_with_what_is_new() -> None:
    """One answer moves the average by a fifth of the way, and ten of another length nearly all."""
    room = TeaRoom()
    await room.hold(10)
    await room.hold(20)
    assert room.model.stats()["held_seconds"] == pytest.approx(12)
    for _ in range(10):
        await room.hold(20)
    assert room.model.stats()["held_seconds"] == pytest.approx(19, abs=0.5)


async def test_a_full_line_refuses_at_once() -> None:
    """Whoever finds it full is told how long it would take, and the provider hears nothing."""
    room = TeaRoom(max_waiting=2)
    await room.hold(4.6)
    asked = len(room.provider.requests)
    async with Guest(room, "ada"), Guest(room, "ben"), Guest(room, "cleo"):
        with pytest.raises(Overloaded) as caught:
            await read(room, "dora")
    assert isinstance(caught.value, QueueFull)
    assert caught.value.retry_after_seconds == pytest.approx(13.8)
    assert caught.value.sentence == "tea/assam:7b is busy: about 14 s."
    assert room.model.stats()["refused"] == 1
    assert len(room.provider.requests) == asked
    room.assert_at_rest()


async def test_without_a_measure_no_time_is_told() -> None:
    """Before anything was measured the refusal promises nothing."""
    room = TeaRoom(max_waiting=0)
    async with Guest(room):
        with pytest.raises(QueueFull) as caught:
            await read(room)
    assert caught.value.retry_after_seconds is None
    assert caught.value.sentence == "tea/assam:7b is busy just now."


@pytest.mark.parametrize(("deadline", "held"), [(None, 31.0), (100.0, 31.0), (35.0, 6.0)])
async def test_a_hopeless_wait_is_refused_at_once(deadline: float | None, held: float) -> None:
    """Who would have to wait longer than is allowed, or than their deadline, is refused at once,
    and nobody else is disturbed."""
    room = TeaRoom(max_wait_seconds=30)
    await room.hold(held)
    room.clock.now = 30
    async with Guest(room):
        with pytest.raises(QueueFull) as caught:
            await read(room, deadline=deadline)
        assert caught.value.retry_after_seconds == pytest.approx(held)
        assert room.open_and_waiting == (1, 0)


async def test_a_wait_that_is_just_in_time_is_taken() -> None:
    """A wait that ends before the limit and the deadline is no reason to refuse."""
    room = TeaRoom(max_wait_seconds=30)
    await room.hold(29)
    async with Guest(room), Guest(room, "ben", deadline=room.clock.now + 29.5) as second:
        assert await second.next() == Waiting(1, 29.0)


@pytest.mark.parametrize("deadline", [None, 0.01])
async def test_waiting_ends_when_the_time_is_up(deadline: float | None) -> None:
    """A slot that is held for longer than any before does not make others wait for ever."""
    room = TeaRoom(max_wait_seconds=30 if deadline else 0.01)
    async with Guest(room):
        with pytest.raises(QueueFull):
            await read(room, "ben", deadline=deadline)
        assert room.open_and_waiting == (1, 0)
    assert room.model.stats()["refused"] == 1


async def test_a_slot_that_comes_as_the_time_is_up_is_taken() -> None:
    """Whoever is given a slot in the very moment in which the wait is over is served."""
    room = TeaRoom()
    async with Guest(room) as first, Guest(room, "ben", deadline=0.0) as second:
        assert await second.next() == Waiting(1)
        piece = asyncio.create_task(second.next())
        await asyncio.sleep(0)
        await first.leave()
        assert await piece == Delta("Yes.")
    room.assert_at_rest()


async def serve(room: TeaRoom, names: Sequence[str]) -> list[str]:
    """Let these come in this order while every slot is held, then free the slots. Return who was
    served, in order; each request is named by its asker and its number."""
    served: list[str] = []

    async def visit(name: str) -> None:
        with suppress(QueueFull):
            if isinstance((await read(room, name[0]))[-1], End):
                served.append(name)

    async with AsyncExitStack() as holders, asyncio.TaskGroup() as group:
        while not room.provider.open_streams:
            holder = await holders.enter_async_context(Guest(room, "holder"))
            await holder.next()
        for name in names:
            group.create_task(visit(name))
            await settle()
        await holders.aclose()
    return served


async def test_those_behind_move_up_when_somebody_gives_up() -> None:
    """Whoever runs out of time makes way, and the others are told."""
    room = TeaRoom()
    async with (
        Guest(room),
        Guest(room, "ben", deadline=0.0) as second,
        Guest(room, "cleo") as third,
    ):
        assert [await second.next(), await third.next()] == [Waiting(1), Waiting(2)]
        with pytest.raises(QueueFull):
            await second.next()
        assert await third.next() == Waiting(1)


async def test_one_person_delays_another_by_one_request() -> None:
    """Somebody with many requests and somebody with few are served in turns, each in order."""
    room = TeaRoom()
    served = await serve(room, ["a0", "a1", "a2", "a3", "b0", "b1"])
    assert served == ["a0", "b0", "a1", "b1", "a2", "a3"]
    room.assert_at_rest()


async def test_places_are_told_in_the_fair_order() -> None:
    """A newcomer stands before the second request of somebody who came earlier."""
    room = TeaRoom()
    async with Guest(room, "z"), Guest(room, "a") as one, Guest(room, "a") as two:
        assert [await one.next(), await two.next()] == [Waiting(1), Waiting(2)]
        async with Guest(room, "b") as other:
            assert await other.next() == Waiting(2)
            assert await two.next() == Waiting(3)


async def test_nobody_fills_the_line_alone() -> None:
    """Whoever has the most gives up the last place to a newcomer, as long as that is fairer."""
    room = TeaRoom(max_waiting=4)
    served = await serve(room, ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "c0", "a4"])
    assert served == ["a0", "b0", "c0", "b1"]
    assert room.model.stats()["refused"] == 5
    room.assert_at_rest()


async def test_who_gives_up_a_place_is_told() -> None:
    """Whoever loses the place to somebody who has none hears it at once, with the wait."""
    room = TeaRoom(max_waiting=2)
    await room.hold(6)
    async with Guest(room, "z"), Guest(room, "a") as first, Guest(room, "a") as last:
        assert [await first.next(), await last.next()] == [Waiting(1, 6.0), Waiting(2, 12.0)]
        async with Guest(room, "b") as newcomer:
            with pytest.raises(QueueFull) as caught:
                await last.next()
            assert caught.value.retry_after_seconds is not None
            assert await newcomer.next() == Waiting(2, 12.0)


async def test_a_hopeless_newcomer_takes_nobodys_place() -> None:
    """Whoever would wait too long even in another's place leaves that one alone."""
    room = TeaRoom(max_waiting=2)
    await room.hold(12)
    async with Guest(room, "z"), Guest(room, "a") as first, Guest(room, "a") as last:
        assert [await first.next(), await last.next()] == [Waiting(1, 12.0), Waiting(2, 24.0)]
        with pytest.raises(QueueFull):
            await read(room, "b", deadline=room.clock.now + 20)
        assert room.open_and_waiting == (1, 2)


async def test_leaving_while_waiting_frees_the_place() -> None:
    """Whoever leaves, by cancellation or by leaving the block, is in the line no more."""
    room = TeaRoom()
    async with Guest(room, "ada"):
        reader = asyncio.create_task(read(room, "ben"))
        await settle()
        async with Guest(room, "cleo"):
            assert room.open_and_waiting == (1, 2)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert room.open_and_waiting == (1, 1)
        assert room.open_and_waiting == (1, 0)
    assert len(room.provider.requests) == 0
    room.assert_at_rest()


async def test_who_waits_keeps_no_slot() -> None:
    """The provider hears nothing of those who wait, and its slots are all at work for others."""
    room = TeaRoom(2)
    guests = [Guest(room, name) for name in "abcdef"]
    async with AsyncExitStack() as stack:
        for guest in guests:
            await stack.enter_async_context(guest)
            await guest.next()
        assert len(room.provider.requests) == room.provider.open_streams == 2
        for guest in guests[:2]:
            await guest.leave()
        for guest in guests[2:4]:
            assert isinstance(await guest.next(), Waiting | Delta)
        assert room.open_and_waiting == (2, 2)


@pytest.mark.parametrize("answer", [["Yes", Unavailable()], [Unavailable()]])
async def test_a_failed_stream_frees_its_slot(answer: Answer) -> None:
    """An error passes through, and the slot is free even if its reader stays in the block."""
    room = TeaRoom(answers=[answer])
    async with room.model.stream(ask()) as pieces:
        with pytest.raises(Unavailable):
            await anext(piece async for piece in pieces if isinstance(piece, End))
        assert room.open_and_waiting == (0, 0)
    room.assert_at_rest()


async def test_a_read_stream_frees_its_slot() -> None:
    """Whoever has read all holds no slot, even if still in the block."""
    room = TeaRoom()
    async with room.model.stream(ask()) as pieces:
        assert [piece async for piece in pieces]
        assert room.open_and_waiting == (0, 0)
    assert room.model.stats()["served"] == 1


async def test_a_refused_entry_upstream_frees_its_slot() -> None:
    """A provider that raises as its block is entered holds no slot either."""

    class Shut(Scripted):
        @asynccontextmanager
        async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
            self.refuse()
            async with super().stream(request) as pieces:
                yield pieces

        def refuse(self) -> None:
            raise Unavailable

    room = TeaRoom()
    model = LimitedModel(Shut(), LimitOptions(max_streams=1), name="tea", clock=room.clock)
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with model.stream(ask()) as pieces:
                await anext(pieces)
    assert model.stats()["streams"] == 0


async def test_descriptions_do_not_wait() -> None:
    """What a model is like can be asked while every slot is taken."""
    room = TeaRoom()
    async with Guest(room), Guest(room):
        assert (await room.model.describe("assam:7b")).context_tokens == 8192
        assert await room.model.list_models() == ("script",)


async def test_what_the_provider_measures_is_passed_on() -> None:
    """How it has done can be asked and forgotten through the limit."""
    room = TeaRoom()
    await read(room)
    assert room.model.get_performance_stats()["total_requests"] == 1
    room.model.reset_metrics()
    assert room.model.get_performance_stats()["total_requests"] == 0


async def test_the_request_reaches_the_provider_as_it_was() -> None:
    """Nothing is changed on the way, a colon in a model's name included."""
    room = TeaRoom()
    request = structs.replace(ask("ada", deadline=9.0), seed=3)
    async with room.model.stream(request) as pieces:
        assert [piece async for piece in pieces]
    assert room.provider.requests == [request]


async def test_r19_overload() -> None:
    """Of 500 requests at once four are served at a time, 32 wait, and the rest are refused at once
    with the measured wait. Nobody who is served waits longer than twice the median."""
    room = TeaRoom(4, max_wait_seconds=60)
    await room.hold(6)
    names = ["g"] * 100 + [chr(ord("A") + number % 40) for number in range(400)]
    most_waiting = 0
    waits: list[int] = []
    refusals: list[QueueFull] = []
    served: list[str] = []

    async def visit(name: str) -> None:
        nonlocal most_waiting
        before = len(served)
        try:
            async with room.model.stream(ask(name)) as pieces:
                most_waiting = max(most_waiting, room.open_and_waiting[1])
                async for piece in pieces:
                    if isinstance(piece, Delta):
                        served.append(name)
                        waits.append(len(served) - before)
        except QueueFull as refusal:
            refusals.append(refusal)

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(visit(name))
    assert room.provider.max_open_streams == 4
    assert most_waiting == 32
    assert (len(served), len(refusals)) == (36, 464)
    assert all(refusal.retry_after_seconds for refusal in refusals)
    assert max(waits) <= 2 * median(waits)
    # Those who came last still had their turn: 31 newcomers took places of whoever had the most.
    assert len(set(served)) >= 32
    room.assert_at_rest()


class Hob(Scripted):
    """A provider whose answers end when a test says how."""

    def __init__(self) -> None:
        super().__init__()
        self.pots: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Put a pot on the hob."""
        pot = asyncio.get_running_loop().create_future()
        self.pots.append(pot)
        try:
            yield self._boil(pot)
        finally:
            self.pots.remove(pot)

    async def _boil(self, pot: asyncio.Future[None]) -> AsyncIterator[Piece]:
        yield Delta("Bubble.")
        await pot
        yield End(finish_reason="stop")


class Evening:
    """People who come, leave, are served and are let down, in any order."""

    def __init__(self, slots: int, places: int) -> None:
        self._slots, self._places = slots, places
        self._hob = Hob()
        options = LimitOptions(max_streams=slots, max_waiting=places, max_wait_seconds=3600)
        self.model = LimitedModel(self._hob, options, name="tea", clock=SettableClock())
        self._readers: list[asyncio.Task[bool]] = []
        self._left: set[asyncio.Task[bool]] = set()

    async def do(self, action: str, number: int) -> None:
        """Let one thing happen; the number says to whom."""
        if action == "come":
            self._readers.append(asyncio.create_task(self._visit(str(number % 4))))
        elif action == "leave" and self._readers:
            reader = self._readers[number % len(self._readers)]
            self._left.add(reader)
            reader.cancel()
        elif action == "pause":
            await self.check()
        elif pots := [pot for pot in self._hob.pots if not pot.done()]:
            pot = pots[number % len(pots)]
            pot.set_exception(Unavailable()) if action == "fail" else pot.set_result(None)

    async def check(self) -> None:
        """See that no more are open than may be, and that nobody waits beside a free slot."""
        await settle()
        streams, waiting = self.model.stats()["streams"], self.model.stats()["waiting"]
        assert streams == len(self._hob.pots) <= self._slots
        assert waiting == len(self.model._line) <= self._places
        assert waiting == 0 or streams == self._slots

    async def close(self) -> None:
        """Serve all who are still there, and see that each was served, told or gone."""
        await self.check()
        while self._hob.pots:
            await self.do("end", 0)
            await self.check()
        results = await asyncio.gather(*self._readers, return_exceptions=True)
        for reader, result in zip(self._readers, results, strict=True):
            is_told = result is True or isinstance(result, QueueFull | Unavailable)
            assert is_told or (reader in self._left and isinstance(result, asyncio.CancelledError))
        assert (self.model.stats()["streams"], self.model.stats()["waiting"]) == (0, 0)
        assert not self.model._line._by_asker

    async def _visit(self, asker: str) -> bool:
        async with self.model.stream(ask(asker)) as pieces:
            return [isinstance(piece, End) async for piece in pieces][-1]


ACTIONS = ["come", "come", "come", "leave", "end", "fail", "pause"]
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=80)


@settings(deadline=None)
@given(steps=STEPS, slots=st.integers(1, 3), places=st.integers(0, 5))
async def test_whatever_happens_nobody_is_forgotten(
    steps: list[tuple[str, int]], slots: int, places: int
) -> None:
    """Never are more streams open than allowed, a slot is free only if nobody waits, everybody is
    served or told, and at rest nobody has or waits for a slot."""
    evening = Evening(slots, places)
    for action, number in steps:
        await evening.do(action, number)
    await evening.close()
