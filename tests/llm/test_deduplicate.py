"""Equal requests share a stream while it is in the air, and harm each other in no way."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs
from tests.fakes.clock import SettableClock

from acore_bot.errors import (
    AcoreError,
    ConfigurationError,
    Overloaded,
    TimedOut,
    TooLong,
    Unavailable,
    Unexpected,
)
from acore_bot.llm.deduplicate import (
    DeduplicatedModel,
    DeduplicationOptions,
    RequestDeduplicator,
    Stats,
)
from acore_bot.messages import (
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    Image,
    ModelInfo,
    Piece,
    Role,
    Waiting,
)
from acore_bot.providers.scripted import Item, Scripted
from acore_bot.telemetry.events import Event, FlightJoined

HELLO = ChatRequest(
    model="scripted/script",
    messages=(ChatMessage("system", "Be kind."), ChatMessage("user", "Hello?")),
    max_tokens=16,
    temperature=0.7,
    seed=1,
    scope="guild:1",
)


class SlowToClose(Scripted):
    """Takes its time to stop, until it `may_close`; `closing` says that it was told to, and
    `has_closed` that it could do so undisturbed."""

    def __init__(self, answers: Sequence[Sequence[Item]]) -> None:
        super().__init__(answers=answers)
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()
        self.has_closed = False

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Stream as ever, and close slowly."""
        async with super().stream(request) as pieces:
            try:
                yield pieces
            finally:
                self.closing.set()
                await self.may_close.wait()
                self.has_closed = True


class Reading:
    """Reads an answer in a task, at most some pieces of it, and after each waits for its pace.

    `until` waits for a text to have come; `time_out` lets the reader's own limit pass.
    """

    def __init__(
        self,
        model: DeduplicatedModel,
        request: ChatRequest = HELLO,
        *,
        max_pieces: int = 1000,
        pace: asyncio.Event | None = None,
    ) -> None:
        self.pieces: list[Piece] = []
        self.has_entered = asyncio.Event()
        self._max_pieces = max_pieces
        self._pace = pace or opened()
        self._grown = asyncio.Event()
        self._limit = asyncio.timeout(None)
        self.task = asyncio.create_task(self._read(model, request))

    async def _read(self, model: DeduplicatedModel, request: ChatRequest) -> str:
        async with self._limit, model.stream(request) as pieces:
            self.has_entered.set()
            while len(self.pieces) < self._max_pieces:
                piece = await anext(pieces, None)
                if piece is None:
                    break
                self.pieces.append(piece)
                self._grown.set()
                await self._pace.wait()
        return text_of(self.pieces)

    async def until(self, text: str) -> None:
        """Wait until exactly this was said."""
        while text_of(self.pieces) != text:
            self._grown.clear()
            await self._grown.wait()

    async def cancel(self) -> None:
        """Stop it."""
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task

    async def time_out(self) -> None:
        """Let its time be up."""
        self._limit.reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await self.task


def opened() -> asyncio.Event:
    """Make an event that has happened."""
    event = asyncio.Event()
    event.set()
    return event


def stats_of(model: DeduplicatedModel) -> Stats:
    """Return the counts."""
    return model.get_cache_stats()["deduplication"]


def in_the_air(model: DeduplicatedModel) -> int | float:
    """Count the flights."""
    return stats_of(model)["pending_requests"]


def text_of(pieces: Sequence[Piece]) -> str:
    """Join what was said."""
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta))


def is_shared(pieces: Sequence[Piece]) -> bool:
    """Tell what the end says of that."""
    end = pieces[-1]
    assert isinstance(end, End)
    return end.is_shared


async def read(model: DeduplicatedModel, request: ChatRequest = HELLO) -> list[Piece]:
    """Read an answer to its end."""
    async with model.stream(request) as pieces:
        return [piece async for piece in pieces]


async def fail(model: DeduplicatedModel) -> tuple[str, Exception]:
    """Read an answer that breaks off; return what was said, and the error."""
    said: list[Piece] = []
    try:
        async with model.stream(HELLO) as pieces:
            async for piece in pieces:
                said.append(piece)  # noqa: PERF401 - a comprehension would lose what came
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return text_of(said), error
    raise AssertionError


# Sharing


async def test_equal_requests_in_the_air_share_a_stream() -> None:
    """Those who ask the same at once get the same whole answer from one call upstream, and each of
    them, the first too, is told that it was shared."""
    upstream = Scripted(answers=["One two three"])
    model = DeduplicatedModel(upstream)
    answers = await asyncio.gather(read(model), read(model), read(model))
    assert [text_of(pieces) for pieces in answers] == ["One two three"] * 3
    assert [is_shared(pieces) for pieces in answers] == [True] * 3
    assert len(upstream.requests) == 1
    assert in_the_air(model) == upstream.open_streams == 0


async def test_who_was_alone_is_not_told_of_others() -> None:
    """An answer that only ever had one reader is not called shared, whoever else is in the air."""
    model = DeduplicatedModel(Scripted())
    other = structs.replace(HELLO, seed=2)
    answers = await asyncio.gather(read(model), read(model, other))
    assert [is_shared(pieces) for pieces in [*answers, await read(model)]] == [False] * 3


@pytest.mark.parametrize("leaver", [0, 1])
async def test_who_has_left_was_there(leaver: int) -> None:
    """An answer stays shared for the one who reads it to its end when the other, be it the one who
    started the flight, has left it."""
    gate = asyncio.Event()
    model = DeduplicatedModel(Scripted(answers=[["One ", gate, "two"]]))
    readings = [Reading(model), Reading(model)]
    await asyncio.gather(*(reading.until("One ") for reading in readings))
    await readings.pop(leaver).cancel()
    gate.set()
    await readings[0].task
    assert is_shared(readings[0].pieces)


async def test_each_word_comes_when_it_is_said() -> None:
    """Who keeps pace gets each delta as it came."""
    model = DeduplicatedModel(Scripted(answers=["One two three"]))
    first, second = await asyncio.gather(read(model), read(model))
    assert first[:-1] == second[:-1] == [Delta("One "), Delta("two "), Delta("three")]


async def test_ten_thousand_equal_requests_are_one_call() -> None:
    """Ten thousand who ask the same at once are served by one call, and nothing stays behind."""
    upstream = Scripted(answers=["One two three"])
    model = DeduplicatedModel(upstream)
    requests = [structs.replace(HELLO, asker=str(number)) for number in range(10_000)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(model, request)) for request in requests]
    assert {text_of(task.result()) for task in tasks} == {"One two three"}
    assert len(upstream.requests) == 1
    assert stats_of(model) == {
        "active_deduplication": 0,
        "pending_requests": 0,
        "requests": 10_000,
        "upstream_calls": 1,
        "joined": 9_999,
        "saved_percent": 100.0,
    }


async def test_who_comes_late_gets_all_that_was_said() -> None:
    """A request that joins when text has come gets the text from its beginning, as one delta."""
    gate = asyncio.Event()
    upstream = Scripted(answers=[["One ", "two ", gate, "three"]])
    model = DeduplicatedModel(upstream)
    first = Reading(model)
    await first.until("One two ")
    late = Reading(model)
    await late.until("One two ")
    gate.set()
    assert await first.task == await late.task == "One two three"
    assert late.pieces[:-1] == [Delta("One two "), Delta("three")]
    assert len(upstream.requests) == 1


async def test_what_was_missed_keeps_text_and_reasoning_apart() -> None:
    """Deltas that are joined for a late reader lose neither text nor reasoning."""
    gate = asyncio.Event()
    thoughts = Delta(reasoning="Well, "), Delta(reasoning="well.")
    script: list[Item] = [*thoughts, "One ", "two", gate]
    model = DeduplicatedModel(Scripted(answers=[script]))
    first = Reading(model)
    await first.until("One two")
    late = Reading(model)
    await late.until("One two")
    gate.set()
    await asyncio.gather(first.task, late.task)
    assert late.pieces[0] == Delta("One two", "Well, well.")


async def test_a_slow_reader_holds_nobody_up() -> None:
    """While one reader tarries, the others get everything; it gets the rest at once, later."""
    pace = asyncio.Event()
    upstream = Scripted(answers=["One two three four"])
    model = DeduplicatedModel(upstream)
    slow, quick = Reading(model, pace=pace), Reading(model)
    assert await quick.task == "One two three four"
    assert upstream.open_streams == 0
    assert len(slow.pieces) == 1
    pace.set()
    await slow.task
    assert slow.pieces[:-1] == [Delta("One "), Delta("two three four")]
    assert isinstance(slow.pieces[-1], End)


async def test_places_in_the_queue_reach_who_waits() -> None:
    """Who waits along gets each place in the queue; who joins late gets the newest; who joins
    when text has come, none."""
    moved, called, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
    script: list[Item] = [Waiting(3, 2.0), Waiting(2), moved, Waiting(1), called, "Hello", gate]
    model = DeduplicatedModel(Scripted(answers=[script]))
    async with asyncio.timeout(20), model.stream(HELLO) as along:
        assert [await anext(along) for _ in range(2)] == [Waiting(3, 2.0), Waiting(2)]
        async with model.stream(HELLO) as late:
            assert await anext(late) == Waiting(2)
            moved.set()
            assert await anext(late) == await anext(along) == Waiting(1)
            called.set()
            assert await anext(late) == await anext(along) == Delta("Hello")
            async with model.stream(HELLO) as latest:
                assert await anext(latest) == Delta("Hello")
                gate.set()
                assert isinstance(await anext(latest), End)


async def test_a_request_after_the_end_starts_anew() -> None:
    """What is over is not joined, even while others have not left it yet."""
    upstream = Scripted(answers=["One", "Two"])
    model = DeduplicatedModel(upstream)
    async with model.stream(HELLO) as pieces:
        first = [piece async for piece in pieces]
        second = await read(model)
    assert (text_of(first), text_of(second)) == ("One", "Two")
    assert not is_shared(first)
    assert not is_shared(second)
    assert len(upstream.requests) == 2


async def test_nothing_follows_the_end() -> None:
    """A reader who asks on after the end is told so each time."""
    async with DeduplicatedModel(Scripted()).stream(HELLO) as pieces:
        assert [isinstance(piece, End) async for piece in pieces] == [False, True]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)


async def test_the_model_beneath_is_described() -> None:
    """What is known of a model comes from beneath the coat."""
    info = await DeduplicatedModel(Scripted(context_tokens=77)).describe("script")
    assert info.context_tokens == 77


# Leaving


async def test_the_first_reader_may_leave() -> None:
    """When the one who started the flight is cancelled, the others get all of it."""
    gate = asyncio.Event()
    upstream = Scripted(answers=[["One ", gate, "two"]])
    model = DeduplicatedModel(upstream)
    first, second = Reading(model), Reading(model)
    await second.until("One ")
    await first.cancel()
    gate.set()
    assert await second.task == "One two"
    assert len(upstream.requests) == 1


async def test_the_last_to_leave_stops_the_work() -> None:
    """Only when the last reader has left the block, the stream upstream is closed: then at once."""
    upstream = Scripted(answers=[["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    async with model.stream(HELLO) as pieces:
        other = Reading(model)
        assert await anext(pieces) == Delta("One ")
        await other.until("One ")
        await other.cancel()
        assert (upstream.open_streams, in_the_air(model)) == (1, 1)
    assert (upstream.open_streams, in_the_air(model)) == (0, 0)


async def test_cancelled_leaders_leave_nothing() -> None:
    """A thousand who start a flight and are cancelled, before its first step or while they wait,
    leave no entry, no stream and no task."""
    upstream = Scripted(answers=[["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    tasks_before = asyncio.all_tasks()
    for number in range(1000):
        request = structs.replace(HELLO, seed=number)
        reading = Reading(model, request)
        await (reading.has_entered.wait() if number % 2 else reading.until("One "))
        await reading.cancel()
    assert in_the_air(model) == upstream.open_streams == 0
    assert asyncio.all_tasks() == tasks_before
    assert stats_of(model)["requests"] == 1000


async def test_leaving_waits_until_the_work_has_stopped() -> None:
    """The last reader's block is left when upstream has closed, and a second cancellation does not
    disturb that closing."""
    upstream = SlowToClose([["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    reading = Reading(model)
    await reading.until("One ")
    reading.task.cancel()
    await upstream.closing.wait()
    assert not reading.task.done()
    await reading.cancel()
    assert upstream.open_streams == 1
    upstream.may_close.set()
    await model.aclose()
    assert upstream.open_streams == 0


async def test_a_whole_answer_closes_undisturbed() -> None:
    """The last reader of a whole answer waits until its stream has closed, and lets it take its
    time."""
    upstream = SlowToClose([["One "]])
    reading = Reading(DeduplicatedModel(upstream))
    await upstream.closing.wait()
    assert isinstance(reading.pieces[-1], End)
    assert not reading.task.done()
    upstream.may_close.set()
    assert await reading.task == "One "
    assert upstream.has_closed


async def test_leaving_at_the_moment_of_a_word_harms_nobody() -> None:
    """A reader who is cancelled just when the next word comes does not keep it from the others."""

    async def no_pause(seconds: float) -> None:
        pass

    gate = asyncio.Event()
    model = DeduplicatedModel(Scripted(answers=[["One ", gate, "two"]], sleep=no_pause))
    first, second = Reading(model), Reading(model)
    await asyncio.gather(first.until("One "), second.until("One "))
    gate.set()
    await first.cancel()
    assert await second.task == "One two"


async def test_a_newer_flight_is_not_removed_by_an_older() -> None:
    """A flight that closes slowly takes no newer one of the same key from the table."""
    upstream = SlowToClose([["One ", asyncio.Event()], ["Two ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    older = Reading(model)
    await older.until("One ")
    older.task.cancel()
    await upstream.closing.wait()
    newer = Reading(model)
    await newer.until("Two ")
    upstream.may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await older.task
    joined = Reading(model)
    await joined.until("Two ")
    assert len(upstream.requests) == 2
    await newer.cancel()
    await joined.cancel()


Fate: TypeAlias = Literal["stays", "tarries", "is cancelled", "times out", "has enough"]


class Part(Struct, frozen=True):
    """What becomes of one reader: before the first word, or in the middle."""

    fate: Fate
    is_early: bool


class Party:
    """Readers of one answer who each meet their fate, and the gates that order it."""

    def __init__(self, parts: list[Part]) -> None:
        self.begin, self.go_on, self.all_said = (asyncio.Event() for _ in range(3))
        self.upstream = Scripted(answers=[[self.begin, "One ", self.go_on, "two ", "three"]])
        self.model = DeduplicatedModel(self.upstream)
        self.readings = [(part, self._join(part)) for part in parts]

    def _join(self, part: Part) -> Reading:
        enough = 0 if part.is_early else 1
        return Reading(
            self.model,
            max_pieces=enough if part.fate == "has enough" else 1000,
            pace=self.all_said if part.fate == "tarries" else None,
        )

    async def meet(self, *, early: bool) -> None:
        """Let the readers who are to leave now do so."""
        for part, reading in self.readings:
            if part.is_early == early:
                match part.fate:
                    case "is cancelled":
                        await reading.cancel()
                    case "times out":
                        await reading.time_out()
                    case "has enough":
                        await reading.task
                    case "stays" | "tarries":
                        pass

    async def run(self) -> list[str]:
        """Run the whole answer; return what those heard who listened to its end."""
        for _, reading in self.readings:
            await reading.has_entered.wait()
        await self.meet(early=True)
        self.begin.set()
        staying = [reading for part, reading in self.readings if part.fate in ("stays", "tarries")]
        for part, reading in self.readings:
            if part.fate in ("stays", "tarries") or not part.is_early:
                await reading.until("One ")
        await self.meet(early=False)
        self.go_on.set()
        await asyncio.gather(
            *(reading.task for part, reading in self.readings if part.fate == "stays")
        )
        self.all_said.set()
        return [await reading.task for reading in staying]


parts = st.builds(
    Part,
    st.sampled_from(["stays", "tarries", "is cancelled", "times out", "has enough"]),
    st.booleans(),
)


@settings(max_examples=1000, deadline=None)
@given(before=st.lists(parts, max_size=4), after=st.lists(parts, max_size=3))
def test_s5_whoever_leaves_touches_no_other(before: list[Part], after: list[Part]) -> None:
    """Whichever readers are cancelled, time out, have enough or tarry, the first one too, each
    other one gets the whole answer, from one call, and nothing stays behind."""

    async def run() -> None:
        party = Party([*before, Part("stays", is_early=False), *after])
        assert set(await party.run()) == {"One two three"}
        assert len(party.upstream.requests) == 1
        assert party.upstream.open_streams == in_the_air(party.model) == 0

    asyncio.run(run())


# Time


async def test_a_deadline_is_its_reader_s_own() -> None:
    """The time of the one who started the flight is up, and only theirs: no deadline goes
    upstream, and the others get all of it."""
    clock = SettableClock(100.0)
    gate = asyncio.Event()
    upstream = Scripted(answers=[["One ", gate, "two"]])
    model = DeduplicatedModel(upstream, clock=clock)
    first = Reading(model, structs.replace(HELLO, deadline=100.01))
    second = Reading(model, structs.replace(HELLO, deadline=100_000.0))
    third = Reading(model)
    with pytest.raises(TimedOut, match="scripted/script took too long"):
        await first.task
    gate.set()
    assert await second.task == await third.task == "One two"
    assert [request.deadline for request in upstream.requests] == [None]


async def test_the_last_deadline_stops_the_work() -> None:
    """When the time of the only reader is up, nothing goes on upstream."""
    upstream = Scripted(answers=[["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream, clock=SettableClock(100.0))
    with pytest.raises(TimedOut):
        await read(model, structs.replace(HELLO, deadline=99.0))
    assert upstream.open_streams == in_the_air(model) == 0


# Errors


async def test_each_reader_gets_an_error_of_its_own() -> None:
    """An error reaches every reader after what was said before it, as an own object with the same
    class and fields and no shared traceback, that names the original as its cause."""
    error = TooLong(prompt_tokens=9, context_tokens=8, provider="p", model="m", detail="d")
    model = DeduplicatedModel(Scripted(answers=[["One ", error]]))
    failures = await asyncio.gather(*(fail(model) for _ in range(100)))
    assert {said for said, _ in failures} == {"One "}
    errors = [own for _, own in failures]
    assert len({id(own) for own in [error, *errors]}) == 101
    assert len({id(own.__traceback__) for own in [error, *errors]}) == 101
    for own in errors:
        assert isinstance(own, TooLong)
        assert own.__cause__ is error
        assert (vars(own), str(own)) == (vars(error), str(error))
    assert in_the_air(model) == 0


class Refusing:
    """Raises as soon as it is asked, on entering the stream or before."""

    def __init__(self, error: Exception, *, is_on_entry: bool) -> None:
        self.requests: list[ChatRequest] = []
        self._error = error
        self._is_on_entry = is_on_entry

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Refuse."""
        self.requests.append(request)
        if self._is_on_entry:
            return self
        raise self._error

    async def __aenter__(self) -> AsyncIterator[Piece]:
        """Refuse."""
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: nobody ever entered."""

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Tell nothing."""
        return ModelInfo()


@pytest.mark.parametrize("error", [Overloaded(provider="p"), ConfigurationError("No such model.")])
@pytest.mark.parametrize("is_on_entry", [True, False])
async def test_a_refusal_on_entry_reaches_all(error: AcoreError, *, is_on_entry: bool) -> None:
    """A model that raises before there is a stream fails for each reader, is asked once for all of
    them, and is asked again by who comes later."""
    upstream = Refusing(error, is_on_entry=is_on_entry)
    model = DeduplicatedModel(upstream)
    for calls in (1, 2):
        failures = await asyncio.gather(fail(model), fail(model))
        assert [(said, type(own)) for said, own in failures] == [("", type(error))] * 2
        assert failures[0][1] is not failures[1][1]
        assert len(upstream.requests) == calls
        assert in_the_air(model) == 0


async def test_what_has_failed_is_not_joined() -> None:
    """A request starts anew after a failure, even while others have not left the failed one."""
    model = DeduplicatedModel(Scripted(answers=[[Overloaded(provider="p")], "Two"]))
    async with model.stream(HELLO) as pieces:
        with pytest.raises(Overloaded):
            await anext(pieces)
        assert text_of(await read(model)) == "Two"


class Particular(Exception):
    """An exception that cannot be made from its `args`."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("odd"), ValueError),
        (Particular("a", "b"), Unexpected),
        (asyncio.CancelledError(), Unavailable),
    ],
)
async def test_a_foreign_error_reaches_all(error: BaseException, kind: type[Exception]) -> None:
    """What no model should raise is no reason for a reader to hang or to be cancelled."""
    model = DeduplicatedModel(Scripted(answers=[["One ", error]]))
    failures = await asyncio.gather(fail(model), fail(model))
    assert [(said, type(own)) for said, own in failures] == [("One ", kind)] * 2


async def test_a_stream_may_end_at_once() -> None:
    """An answer without words, and a stream without anything, end for each reader."""
    end = End(finish_reason="stop")
    model = DeduplicatedModel(Scripted(answers=[[end]]))
    first, second = await asyncio.gather(read(model), read(model))
    assert first == second == [structs.replace(end, is_shared=True)]

    class Empty(Scripted):
        @asynccontextmanager
        async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
            async with super().stream(request) as pieces:
                async for _ in pieces:
                    pass
                yield pieces

    model = DeduplicatedModel(Empty())
    first, second = await asyncio.gather(read(model), read(model))
    assert first == second == []
    assert in_the_air(model) == 0


async def test_a_failure_to_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that came to its end is whole, even if its stream then fails to close."""

    class Clumsy(Scripted):
        @asynccontextmanager
        async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
            async with super().stream(request) as pieces:
                yield pieces
            raise Overloaded(provider="clumsy")

    with caplog.at_level(logging.WARNING):
        assert text_of(await read(DeduplicatedModel(Clumsy()))) == "Hello?"
        await asyncio.sleep(0)  # the turn of the loop in which the task's end is noted
    assert "a stream failed to close after its end" in caplog.text


# Closing


async def test_closing_stops_all_flights() -> None:
    """Closing stops every stream upstream; who still read one gets an error, not a cancellation.
    It may come twice."""
    upstream = Scripted(answers=[["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    readings = [Reading(model, structs.replace(HELLO, seed=seed)) for seed in (1, 1, 2)]
    for reading in readings:
        await reading.until("One ")
    unstarted = Reading(model, structs.replace(HELLO, seed=3))
    await unstarted.has_entered.wait()
    await model.aclose()
    assert upstream.open_streams == in_the_air(model) == 0
    for reading in [*readings, unstarted]:
        with pytest.raises(Unavailable):
            await reading.task
    await model.aclose()


@pytest.mark.parametrize("is_personal", [True, False])
async def test_what_is_closed_takes_no_more(*, is_personal: bool) -> None:
    """After closing every request is refused, shared or not, and none reaches upstream, not even
    one that was made before and is entered only now."""
    upstream = Scripted()
    model = DeduplicatedModel(upstream)
    early = model.stream(HELLO)
    await model.aclose()
    with pytest.raises(Unavailable) as refusal:
        await read(model, structs.replace(HELLO, is_personal=is_personal))
    assert (refusal.value.provider, refusal.value.model) == ("scripted", "script")
    with pytest.raises(Unavailable):
        await early.__aenter__()
    assert upstream.requests == []
    assert stats_of(model)["requests"] == in_the_air(model) == 0


async def test_nothing_takes_off_while_closing() -> None:
    """A request that comes while the last flights are being stopped is refused."""
    upstream = SlowToClose([["One ", asyncio.Event()]])
    model = DeduplicatedModel(upstream)
    reading = Reading(model)
    await reading.until("One ")
    async with asyncio.TaskGroup() as group:
        group.create_task(model.aclose())
        await upstream.closing.wait()
        with pytest.raises(Unavailable):
            await read(model)
        upstream.may_close.set()
    with pytest.raises(Unavailable):
        await reading.task
    assert len(upstream.requests) == 1


# Who may share


@pytest.mark.parametrize(
    ("options", "scope", "calls"),
    [
        (DeduplicationOptions(), "public", 1),
        (DeduplicationOptions(), "guild:1", 1),
        (DeduplicationOptions(), "private:1", 1),
        (DeduplicationOptions(public=False), "public", 2),
        (DeduplicationOptions(guilds=False), "guild:1", 2),
        (DeduplicationOptions(private=False), "private:1", 2),
        (DeduplicationOptions(public=False, private=False), "guild:1", 1),
        (DeduplicationOptions(), "", 2),
        (DeduplicationOptions(), "publicity", 2),
    ],
)
async def test_scopes_can_be_kept_from_sharing(
    options: DeduplicationOptions, scope: str, calls: int
) -> None:
    """Each kind of scope can be switched off, and a scope of no known kind never shares."""
    upstream = Scripted()
    model = DeduplicatedModel(upstream, options=options)
    request = structs.replace(HELLO, scope=scope)
    await asyncio.gather(read(model, request), read(model, request))
    assert len(upstream.requests) == stats_of(model)["upstream_calls"] == calls


async def test_what_is_personal_is_never_shared() -> None:
    """Requests with a person's own material go upstream as they are, each by itself."""
    upstream = Scripted()
    model = DeduplicatedModel(upstream)
    personal = structs.replace(HELLO, is_personal=True, deadline=1e9)
    answers = await asyncio.gather(*(read(model, request) for request in [personal] * 2 + [HELLO]))
    assert upstream.requests.count(personal) == 2
    assert not any(is_shared(pieces) for pieces in answers)


requests = st.builds(
    ChatRequest,
    model=st.sampled_from(["scripted/script", "scripted/other", "other/script"]),
    messages=st.lists(
        st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), st.text()),
        min_size=1,
        max_size=4,
    ).map(tuple),
    max_tokens=st.integers(1, 4096),
    temperature=st.none() | st.floats(0, 2),
    seed=st.none() | st.integers(0, 2**31),
    scope=st.sampled_from(["public", "guild:1", "guild:2", "private:1", "private:tea"]),
)
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
DOT, LINE, SCAN = Image("image/png", b"."), Image("image/png", b"-"), Image("image/jpeg", b".")
SHAPES_NOTHING = {"asker", "deadline", "has_history", "is_personal"}
IMAGES = [(DOT,), (LINE,), (SCAN,), (DOT, LINE), (LINE, DOT)]


def spoken_otherwise(said: tuple[ChatMessage, ...], word: str) -> list[tuple[ChatMessage, ...]]:
    """Change one thing in what was said: a text, a role, an order, a border, a message more."""
    first, *rest = said
    changed = [(ChatMessage(first.role, first.text + word), *rest)]
    changed += [(ChatMessage(first.role, first.text, images), *rest) for images in IMAGES]
    changed += [(ChatMessage(role, first.text), *rest) for role in ROLES]
    changed += [(*said, ChatMessage(role, word)) for role in ROLES]
    changed += [said[1:], said[::-1]]
    if rest and rest[0].text:
        head, tail = first.text + rest[0].text[0], rest[0].text[1:]
        moved = ChatMessage(first.role, head), ChatMessage(rest[0].role, tail)
        changed.append((*moved, *rest[1:]))
    return changed


def changed_in_one_thing(request: ChatRequest, word: str) -> list[ChatRequest]:
    """Make requests that differ from one in exactly one thing, and all from each other.

    Whatever a request holds is among these things, or shapes no answer.
    """
    values: dict[str, Sequence[object]] = {
        "scope": ["public", "guild:1", "guild:12", "guild:3", "private:1", "private:guild:1"],
        "is_local_only": [False, True],
        "model": ["scripted/script", "scripted/script:free", "other/scripted/script"],
        "max_tokens": [request.max_tokens + 1, request.max_tokens * 10],
        "temperature": [None, 0.0, 0.7, 1.0],
        "seed": [None, 0, 1],
        "messages": spoken_otherwise(request.messages, word),
    }
    assert {*values, *SHAPES_NOTHING} == set(ChatRequest.__struct_fields__)
    changed = {
        structs.replace(request, **{name: value}) for name in values for value in values[name]
    }
    return list(changed - {request})


@settings(max_examples=500, deadline=None)
@given(request=requests, word=st.text(min_size=1))
def test_s5_only_equal_requests_share(request: ChatRequest, word: str) -> None:
    """Of requests in the air together, those that differ in one thing that shapes the answer or
    says who may see it each go upstream; an equal one shares, whoever asks it and until when."""
    changed = changed_in_one_thing(request, word)
    assert len(changed) >= 20  # so that all examples make at least 10,000 pairs
    twin = structs.replace(request, asker="ben", deadline=1e9, has_history=True)

    async def run() -> None:
        upstream = Scripted()
        model = DeduplicatedModel(upstream, clock=SettableClock())
        answers = await asyncio.gather(*(read(model, one) for one in [request, twin, *changed]))
        assert set(upstream.requests) == {request, *changed}
        assert len(upstream.requests) == 1 + len(changed)
        assert [is_shared(pieces) for pieces in answers] == [True, True] + [False] * len(changed)
        assert text_of(answers[0]) == text_of(answers[1])
        assert in_the_air(model) == 0

    asyncio.run(run())
    keys = {RequestDeduplicator.create_request_key(one) for one in [request, *changed]}
    assert len(keys) == 1 + len(changed)


# Keys and counts


def test_a_key_is_the_same_for_equal_requests() -> None:
    """The key is a digest in hex that depends on content alone, and not on who asks."""
    create: Callable[[ChatRequest], str] = RequestDeduplicator.create_request_key
    key = create(HELLO)
    assert bytes.fromhex(key)
    assert len(key) == 64
    again = structs.replace(HELLO, messages=tuple(map(structs.replace, HELLO.messages)))
    assert create(again) == key
    assert create(structs.replace(HELLO, asker="ada", deadline=3.0, has_history=True)) == key


async def test_the_counts_tell_what_is_shared_now() -> None:
    """A lone request is in the air but shares nothing; who joins makes it a shared one, who leaves
    makes it a lone one again."""
    gate = asyncio.Event()
    model = DeduplicatedModel(Scripted(answers=[["One ", gate]]))

    def now() -> tuple[int | float, int | float]:
        stats = stats_of(model)
        return stats["pending_requests"], stats["active_deduplication"]

    assert now() == (0, 0)
    first = Reading(model)
    await first.until("One ")
    assert now() == (1, 0)
    second, other = Reading(model), Reading(model, structs.replace(HELLO, seed=2))
    await asyncio.gather(second.until("One "), other.until("One "))
    assert now() == (2, 1)
    await first.cancel()
    assert now() == (2, 0)
    gate.set()
    await asyncio.gather(second.task, other.task)
    assert now() == (0, 0)
    stats = stats_of(model)
    assert [stats[name] for name in ("requests", "upstream_calls", "joined")] == [3, 2, 1]
    assert stats["saved_percent"] == 33.3


async def test_each_who_joins_a_flight_is_told_of() -> None:
    """An event says who joined a request in the air, and how many share it; who opens it does not
    join."""
    told: list[Event] = []
    model = DeduplicatedModel(Scripted(answers=["One two"]), emit=told.append)
    async with model.stream(HELLO), model.stream(HELLO), model.stream(HELLO):
        pass
    assert told == [FlightJoined("scripted/script", 2), FlightJoined("scripted/script", 3)]
    await model.aclose()
