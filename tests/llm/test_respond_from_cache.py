"""A question that was answered a moment ago gets the same answer again, and nobody else's."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.clock import SettableClock

from acore_bot.errors import BrokenStream
from acore_bot.llm.respond_from_cache import (
    ENTRY_BYTES,
    CachedResponses,
    CacheOptions,
    Stats,
)
from acore_bot.messages import (
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    Piece,
    Usage,
    Waiting,
)
from acore_bot.providers.scripted import CUT, Item, Scripted
from acore_bot.telemetry.events import CachedAnswer, Event

HELLO = ChatRequest(
    model="scripted/script", messages=(ChatMessage("user", "Hello?"),), max_tokens=16
)
END = End(finish_reason="stop", provider="p", model="m", response_id="r-1")


async def read(model: CachedResponses, request: ChatRequest = HELLO) -> list[Piece]:
    """Read an answer to its end."""
    async with model.stream(request) as pieces:
        return [piece async for piece in pieces]


def numbered(number: int) -> ChatRequest:
    """Make one of many requests."""
    return structs.replace(HELLO, seed=number)


def stats_of(model: CachedResponses) -> Stats:
    """Return the counts."""
    return model.get_cache_stats()["responses"]


async def is_cached(model: CachedResponses, request: ChatRequest = HELLO) -> bool:
    """Ask, and tell whether the answer was one given before."""
    end = (await read(model, request))[-1]
    assert isinstance(end, End)
    return end.is_cached


# Replaying


async def test_a_repeated_question_is_answered_from_memory() -> None:
    """The second time, the model is not asked: the same text comes as one delta, with an end that
    says so."""
    upstream = Scripted(answers=["One two three"])
    model = CachedResponses(upstream)
    first, second = await read(model), await read(model)
    assert len(first) == 4
    assert second[0] == Delta("One two three")
    assert second[1:] == [structs.replace(first[-1], is_cached=True)]
    assert len(upstream.requests) == 1


async def test_a_saved_call_is_told_of_with_its_tokens() -> None:
    """An event says that an answer was given before, and how many tokens that saved."""
    told: list[Event] = []
    end = structs.replace(END, usage=Usage(prompt_tokens=7, completion_tokens=2))
    model = CachedResponses(Scripted(answers=[[Delta("Yes."), end]]), emit=told.append)
    await read(model)
    assert told == []
    await read(model)
    assert told == [CachedAnswer("scripted/script", 9)]


async def test_an_answer_from_memory_stood_in_no_line() -> None:
    """How long the first asker stood in line is not said of those who did not."""
    end = structs.replace(END, queued_seconds=4.0)
    model = CachedResponses(Scripted(answers=[[Delta("Yes."), end]]))
    await read(model)
    replayed = (await read(model))[-1]
    assert isinstance(replayed, End)
    assert replayed.queued_seconds == 0.0


async def test_reasoning_is_remembered_too() -> None:
    """A replay holds the reasoning beside the text, and no place in a queue."""
    said: list[Item] = [Waiting(2), Delta(reasoning="Well, "), Delta(reasoning="well."), "Hello"]
    model = CachedResponses(Scripted(answers=[said]))
    assert Waiting(2) in await read(model)
    assert (await read(model))[0] == Delta("Hello", "Well, well.")


async def test_what_was_paid_once_is_not_counted_again() -> None:
    """A replay tells the tokens as they were and a cost of zero; an unknown cost stays unknown."""
    paid = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2, cost=Decimal("0.01"))
    unknown = structs.replace(paid, cost=None)
    for usage, expected in ((paid, structs.replace(paid, cost=Decimal(0))), (unknown, unknown)):
        model = CachedResponses(Scripted(answers=[["Hi", structs.replace(END, usage=usage)]]))
        first, second = (await read(model))[-1], (await read(model))[-1]
        assert isinstance(first, End)
        assert isinstance(second, End)
        assert (first.usage, second.usage) == (usage, expected)


async def test_a_reader_may_leave_at_any_time() -> None:
    """Leaving an answer before its end, a new one or a replay, closes what it came from; an answer
    that was left is not remembered."""
    upstream = Scripted(answers=["One two three"])
    model = CachedResponses(upstream)
    async with model.stream(HELLO) as pieces:
        await anext(pieces)
    assert upstream.open_streams == 0
    assert not await is_cached(model)
    async with model.stream(HELLO) as pieces:
        assert await anext(pieces) == Delta("One two three")
    assert await is_cached(model)


async def test_the_model_beneath_is_described() -> None:
    """What is known of a model comes from beneath the coat."""
    info = await CachedResponses(Scripted(context_tokens=77)).describe("script")
    assert info.context_tokens == 77


# What is remembered


@pytest.mark.parametrize(
    "answer",
    [
        ["One", structs.replace(END, finish_reason="length")],
        ["One", structs.replace(END, finish_reason="filtered")],
        ["One", structs.replace(END, finish_reason="tool_calls")],
        ["One", structs.replace(END, finish_reason="truncated")],
        ["One", structs.replace(END, finish_reason="cancelled")],
        ["One", CUT],
        [END],
        [" \n", END],
        [Delta(reasoning="Well."), END],
        ["One", structs.replace(END, fell_back_from="p/asked")],
    ],
)
async def test_only_whole_answers_of_the_model_itself_are_remembered(answer: list[Item]) -> None:
    """What was cut, is empty, or came from another model than the one asked is not given again."""
    upstream = Scripted(answers=[answer])
    model = CachedResponses(upstream)
    assert await read(model) == await read(model)
    assert len(upstream.requests) == 2
    assert stats_of(model)["size"] == 0


async def test_an_error_is_not_remembered() -> None:
    """After an answer that broke off, the model is asked again."""
    upstream = Scripted(answers=[["One", BrokenStream(provider="p")], "One two"])
    model = CachedResponses(upstream)
    with pytest.raises(BrokenStream):
        await read(model)
    assert not await is_cached(model)
    assert await is_cached(model)
    assert upstream.open_streams == 0


@pytest.mark.parametrize("change", [{"has_history": True}, {"is_personal": True}])
async def test_chats_and_what_is_personal_pass_by(change: dict[str, bool]) -> None:
    """A chat turn and a person's own request are neither remembered nor answered from memory, even
    if all else is equal, and are not counted."""
    upstream = Scripted()
    model = CachedResponses(upstream)
    special = structs.replace(HELLO, **change)
    await read(model)
    for _ in range(2):
        assert not await is_cached(model, special)
    assert len(upstream.requests) == 3
    assert stats_of(model)["total_requests"] == stats_of(model)["size"] == 1


@pytest.mark.parametrize(
    ("temperature", "seed", "is_remembered"),
    [(0.0, None, True), (0.7, 1, True), (None, 0, True), (0.7, None, False), (None, None, False)],
)
async def test_chance_can_be_left_alone(
    temperature: float | None, seed: int | None, *, is_remembered: bool
) -> None:
    """Unless sampled answers are to be remembered, only those are that would come out the same:
    at temperature 0, which is not the same as none, or with a seed."""
    request = structs.replace(HELLO, temperature=temperature, seed=seed)
    strict = CachedResponses(Scripted(), CacheOptions(cache_sampled=False))
    lenient = CachedResponses(Scripted())
    await asyncio.gather(read(strict, request), read(lenient, request))
    assert await is_cached(strict, request) == is_remembered
    assert await is_cached(lenient, request)


async def test_temperature_zero_is_a_temperature() -> None:
    """A request at temperature 0 reaches the model as such and shares no answer with none."""
    upstream = Scripted()
    model = CachedResponses(upstream)
    cold = structs.replace(HELLO, temperature=0.0)
    await read(model)
    assert not await is_cached(model, cold)
    assert upstream.requests == [HELLO, cold]


async def test_it_can_be_switched_off() -> None:
    """Switched off, every request goes to the model, and the counts say so."""
    upstream = Scripted()
    model = CachedResponses(upstream, CacheOptions(is_enabled=False))
    for _ in range(2):
        assert not await is_cached(model)
    assert stats_of(model)["enabled"] is False
    assert stats_of(model)["size"] == stats_of(model)["total_requests"] == 0


# Isolation


async def test_s6_two_guilds_share_no_answer() -> None:
    """Two guilds that ask the same words a thousand times never get each other's answers."""
    model = CachedResponses(Scripted())
    guilds = [structs.replace(HELLO, scope=f"guild:{number}") for number in (1, 2)]
    for number in range(500):
        for guild in guilds:
            assert not await is_cached(model, structs.replace(guild, seed=number))
    assert await is_cached(model, structs.replace(guilds[1], seed=0))


async def test_s6_what_is_forgotten_is_gone() -> None:
    """After a clearing nothing is answered from memory, and an answer that was under way during it
    is not remembered either."""
    gate = asyncio.Event()
    upstream = Scripted(answers=["One", ["Two ", gate], "Three"])
    model = CachedResponses(upstream)
    await read(model)
    async with model.stream(numbered(2)) as under_way:
        assert await anext(under_way) == Delta("Two ")
        model.clear()
        gate.set()
        assert isinstance(await anext(under_way), End)
    assert (stats_of(model)["size"], stats_of(model)["bytes"]) == (0, 0)
    assert not await is_cached(model)
    assert await is_cached(model)


# Bounds


async def test_an_answer_lives_for_its_time() -> None:
    """An answer is given again until it is as old as allowed; use does not make it younger."""
    clock = SettableClock()
    model = CachedResponses(Scripted(), CacheOptions(ttl_seconds=300), clock)
    await read(model)
    clock.advance(299.9)
    assert await is_cached(model)
    clock.advance(0.1)
    assert not await is_cached(model)
    assert stats_of(model)["ttl_expirations"] == 1


async def test_what_is_too_old_really_leaves() -> None:
    """Old answers leave memory though nobody asks for them again, those kept longest by use too."""
    clock = SettableClock()
    model = CachedResponses(Scripted(), CacheOptions(ttl_seconds=300), clock)
    for number in range(50):
        await read(model, numbered(number))
        clock.advance(1)
    assert await is_cached(model, numbered(0))
    clock.advance(275)
    stats = stats_of(model)
    assert (stats["size"], stats["ttl_expirations"]) == (24, 26)
    clock.advance(300)
    await read(model, numbered(99))
    stats = stats_of(model)
    assert (stats["size"], stats["ttl_expirations"]) == (1, 50)
    assert stats["bytes"] == ENTRY_BYTES + sum(map(len_in_memory, ("Hello?", "")))


def len_in_memory(text: str) -> int:
    """Return the bytes that a text takes."""
    return text.__sizeof__()


async def test_the_least_recently_used_leaves_first() -> None:
    """When there are too many answers, the one that went unused the longest makes room."""
    model = CachedResponses(Scripted(), CacheOptions(max_entries=3))
    for number in (1, 2, 3, 1, 4):
        await read(model, numbered(number))
    assert stats_of(model)["evictions"] == 1
    assert [await is_cached(model, numbered(number)) for number in (1, 3, 4)] == [True] * 3
    assert not await is_cached(model, numbered(2))


async def test_bytes_are_bounded() -> None:
    """When the answers are too long together, old ones leave; one that is too long by itself is
    not kept and drives nobody out."""
    upstream = Scripted(answers=["a" * 1000, "b" * 1000, "c" * 5000, "d" * 1000])
    model = CachedResponses(upstream, CacheOptions(max_bytes=2 * (ENTRY_BYTES + 1150)))
    for number in (1, 2, 3):
        await read(model, numbered(number))
    assert (stats_of(model)["size"], stats_of(model)["evictions"]) == (2, 0)
    await read(model, numbered(4))
    assert (stats_of(model)["size"], stats_of(model)["evictions"]) == (2, 1)
    assert not await is_cached(model, numbered(1))


async def test_two_who_ask_at_once_leave_one_answer() -> None:
    """Two equal questions under way at once are remembered once, and counted once in bytes."""
    model = CachedResponses(Scripted())
    await read(model)
    alone = stats_of(model)["bytes"]
    model.clear()
    await asyncio.gather(read(model), read(model))
    assert (stats_of(model)["size"], stats_of(model)["bytes"]) == (1, alone)
    assert stats_of(model)["evictions"] == 0


class Remembered:
    """A slow and obvious model of the cache: a list of keys in order of use, with their births."""

    def __init__(self, options: CacheOptions) -> None:
        self._options = options
        self._born: dict[int, float] = {}

    def ask(self, number: int, now: float) -> bool:
        """Tell whether the answer should come from memory, and remember it."""
        ttl = self._options.ttl_seconds
        self._born = {key: born for key, born in self._born.items() if now < born + ttl}
        is_known = number in self._born
        self._born[number] = self._born.pop(number, now)
        if len(self._born) > self._options.max_entries:
            del self._born[next(iter(self._born))]
        return is_known

    def __len__(self) -> int:
        return len(self._born)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 7])), max_size=60))
def test_it_remembers_as_the_plain_one_does(steps: Sequence[tuple[int, int]]) -> None:
    """Whatever is asked and whenever, it keeps just what a plain list of keys would keep."""
    clock = SettableClock()
    options = CacheOptions(max_entries=4, ttl_seconds=10)
    model, plain = CachedResponses(Scripted(), options, clock), Remembered(options)

    async def run() -> None:
        for number, seconds in steps:
            clock.advance(seconds)
            expected = plain.ask(number, clock())
            assert await is_cached(model, numbered(number)) == expected
            assert stats_of(model)["size"] == len(plain)

    asyncio.run(run())


async def test_the_counts_tell_all() -> None:
    """The operator sees how full it is, its bounds, and how often it helped."""
    model = CachedResponses(Scripted(), CacheOptions(max_entries=2, max_bytes=9999))
    for number in (1, 2, 2, 3, 1, 1):
        await read(model, numbered(number))
    assert stats_of(model) == {
        "enabled": True,
        "size": 2,
        "max_size": 2,
        "bytes": 2 * (ENTRY_BYTES + len_in_memory("Hello?") + len_in_memory("")),
        "max_bytes": 9999,
        "ttl_seconds": 300.0,
        "hits": 2,
        "misses": 4,
        "total_requests": 6,
        "hit_rate_percent": 33.3,
        "evictions": 2,
        "ttl_expirations": 0,
    }
