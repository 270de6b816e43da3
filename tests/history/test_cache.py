"""The cache before a history: when it answers by itself, what it never tells, and what it holds.

What every history promises is in `tests/contracts/test_history.py`, which runs with the cache too.
"""

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.plain_history import PlainHistory, SteppedHistory

from acore_bot.errors import DuplicateMessage, HistoryError
from acore_bot.history.cache import CachedHistory, CacheOptions, _Entry
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, Message, Role
from acore_bot.telemetry.events import Event, HistoryEvicted, HistoryRead

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def said(id_: int, conversation: str = "tea", parent_id: int | None = None) -> Message:
    """Make a message that says its own id."""
    return Message(
        id=id_,
        conversation=conversation,
        role="user",
        author=Author("17", "Ada"),
        text=f"I am {id_}",
        created_at=NOON,
        parent_id=parent_id,
    )


def line(count: int, conversation: str = "tea", first: int = 1) -> list[Message]:
    """Make messages of which each continues the one before."""
    parents = [None, *range(first, first + count - 1)]
    return [said(first + n, conversation, parent) for n, parent in enumerate(parents)]


def ids(messages: Sequence[Message]) -> list[int]:
    """Name messages by their ids, in order."""
    return [message.id for message in messages]


@pytest.fixture
async def store() -> SteppedHistory:
    """Make an empty store that counts what it is asked."""
    return SteppedHistory()


@pytest.fixture
def cache(store: SteppedHistory) -> CachedHistory:
    """Make a cache of the usual size before the store."""
    return CachedHistory(store)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def stats(cache: CachedHistory) -> dict[str, float]:
    """Return what the cache tells of itself."""
    return cache.get_cache_stats()["history"]


# When it answers by itself


async def test_the_second_read_is_the_same_object(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """As long as nothing changed, a conversation is read once and handed out uncopied."""
    await store.append(line(60))
    first = await cache.recent("tea", 50)
    assert first == tuple(line(60)[-50:])
    assert await cache.recent("tea", 50) is first
    assert await cache.recent("tea", 50) is first
    assert store.calls["recent"] == 1


async def test_reads_and_evictions_are_told_of() -> None:
    """Each read is told of as a hit or a miss, and each conversation that leaves the memory."""
    told: list[Event] = []
    store = SteppedHistory()
    cache = CachedHistory(store, CacheOptions(max_entries=1), emit=told.append)
    await cache.recent("tea", 5)
    await cache.recent("tea", 5)
    await cache.recent("tea", 3)
    await cache.recent("milk", 5)
    hit, miss = HistoryRead(is_hit=True), HistoryRead(is_hit=False)
    assert told == [miss, hit, hit, miss, HistoryEvicted(1)]


async def test_less_than_is_held_is_a_slice(cache: CachedHistory, store: SteppedHistory) -> None:
    """A smaller limit is served without the store, and then the usual one is too."""
    await store.append(line(60))
    await cache.recent("tea", 50)
    assert ids(await cache.recent("tea", 2)) == [59, 60]
    assert ids(await cache.recent("tea", 50)) == [*range(11, 61)]
    assert store.calls["recent"] == 1


async def test_more_than_is_held_is_read(cache: CachedHistory, store: SteppedHistory) -> None:
    """A greater limit than what is held asks the store, and replaces the entry."""
    await store.append(line(60))
    await cache.recent("tea", 1)
    assert len(await cache.recent("tea", 50)) == 50
    assert len(await cache.recent("tea", 50)) == 50
    assert (store.calls["recent"], stats(cache)["entries"]) == (2, 1)


async def test_a_short_conversation_is_known_to_be_whole(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """Once a conversation proved shorter than was asked for, no limit needs the store."""
    await store.append(line(5))
    await cache.recent("tea", 10)
    assert len(await cache.recent("tea", 2**62)) == 5
    assert await cache.recent("void", 10) == ()
    assert await cache.recent("void", 99) == ()
    assert store.calls["recent"] == 2


async def test_an_append_is_taken_in(cache: CachedHistory, store: SteppedHistory) -> None:
    """What is appended to a conversation in the cache is read from there, in the order of ids."""
    await store.append(line(3))
    await cache.recent("tea", 50)
    await cache.append([said(9), said(7)])
    await cache.append([said(8)])
    assert ids(await cache.recent("tea", 50)) == [1, 2, 3, 7, 8, 9]
    assert store.calls["recent"] == 1


async def test_a_former_answer_is_not_touched(cache: CachedHistory) -> None:
    """What was handed out stays as it was, whatever is appended, edited or removed later."""
    await cache.append(line(3))
    first = await cache.recent("tea", 50)
    await cache.append([said(4)])
    await cache.edit(1, "changed")
    await cache.clear("tea")
    assert first == tuple(line(3))


async def test_what_is_older_than_all_that_is_held_is_left_to_the_store(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """A late message from before the newest ones does not pretend that nothing lies between."""
    await store.append([said(number) for number in range(10, 20)])
    await cache.recent("tea", 3)
    await cache.append([said(1)])
    assert ids(await cache.recent("tea", 3)) == [17, 18, 19]
    assert ids(await cache.recent("tea", 4)) == [16, 17, 18, 19]
    assert ids(await cache.recent("tea", 20)) == [1, *range(10, 20)]


async def test_messages_of_several_conversations_go_to_each(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """One append may carry messages of several conversations, cached ones and others."""
    await cache.recent("a", 50)
    await cache.recent("b", 50)
    await cache.append([said(1, "a"), said(2, "b"), said(3, "c"), said(4, "a")])
    assert ids(await cache.recent("a", 50)) == [1, 4]
    assert ids(await cache.recent("b", 50)) == [2]
    assert ids(await cache.recent("c", 50)) == [3]
    assert store.calls["recent"] == 3


async def test_a_long_talk_is_trimmed(store: SteppedHistory) -> None:
    """An entry holds no more than so many messages, and at least as many as are asked for."""
    cache = CachedHistory(store, CacheOptions(messages_per_conversation=20))
    await cache.recent("tea", 8)
    for number in range(1, 200):
        await cache.append([said(number)])
        newest = await cache.recent("tea", 8)
        assert ids(newest) == [*range(max(1, number - 7), number + 1)]
        assert len(cache._entries["tea"].messages) <= 16
    assert store.calls["recent"] == 1
    assert len(await cache.recent("tea", 100)) == 100
    assert len(await cache.recent("tea", 199)) == 199
    assert store.calls["recent"] == 3
    assert ids(await cache.recent("tea", 8)) == [*range(192, 200)]
    assert store.calls["recent"] == 3


async def test_a_chain_is_served_if_it_is_all_there(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """A chain that begins, or is cut by its limit, within the newest messages needs no store."""
    await store.append([*line(5), said(6, parent_id=3), said(7, parent_id=5)])
    await cache.recent("tea", 50)
    assert ids(await cache.chain(6, 50)) == [1, 2, 3, 6]
    assert ids(await cache.chain(7, 3)) == [4, 5, 7]
    assert store.calls["chain"] == 0
    await cache.append([said(8, parent_id=6)])
    assert ids(await cache.chain(8, 2)) == [6, 8]
    assert store.calls["chain"] == 0


@pytest.mark.parametrize("parent_id", [99, 0, 10, 3])
async def test_a_chain_that_leads_elsewhere_is_left_to_the_store(
    cache: CachedHistory, store: SteppedHistory, parent_id: int
) -> None:
    """What continues another conversation, a younger message, itself or nothing known is told by
    the store."""
    await store.append([said(3, "coffee"), said(10, parent_id=parent_id), said(99, "coffee", 3)])
    await cache.recent("tea", 50)
    assert await cache.chain(10, 50) == await store.chain(10, 50)
    assert await cache.chain(12, 50) == ()


async def test_names_that_the_store_writes_otherwise_are_one(tmp_path: Path) -> None:
    """A name, a text or a time that is kept in another form comes back in that form at once."""
    async with SQLiteHistory.open(tmp_path / "history.db") as store:
        cache = CachedHistory(store)
        assert await cache.recent("c\udc80", 10) == ()
        assert await cache.recent("c\ufffd", 10) == ()
        east = NOON.astimezone(timezone(timedelta(hours=9)))
        odd = Message(
            id=1,
            conversation="c\udc80",
            role="user",
            author=Author("\ud800", "A"),
            text="\udfff",
            created_at=east,
            model="\udfff",
        )
        await cache.append([odd])
        assert await cache.recent("c\udc80", 10) == await store.recent("c\udc80", 10)
        (kept,) = await cache.recent("c\ufffd", 10)
        assert (kept.text, kept.created_at.tzinfo) == ("\ufffd", UTC)
        assert await cache.clear("c\udc80") == 1
        assert await cache.recent("c\ufffd", 10) == ()


# Loads


async def read_at_once(
    cache: CachedHistory, store: SteppedHistory, limits: Sequence[int]
) -> list[tuple[Message, ...]]:
    """Ask for all of these before the store answers the first."""
    store.before.clear()
    tasks = [asyncio.ensure_future(cache.recent("tea", limit)) for limit in limits]
    await settle()
    store.before.set()
    return await asyncio.gather(*tasks)


async def test_many_cold_reads_are_one(cache: CachedHistory, store: SteppedHistory) -> None:
    """A hundred who want the same conversation at once ask the store once, smaller limits too."""
    await store.append(line(60))
    answers = await read_at_once(cache, store, [50 - n % 3 for n in range(100)])
    assert {len(answer) for answer in answers} == {50, 49, 48}
    assert all(answer[-1].id == 60 for answer in answers)
    assert store.calls["recent"] == 1
    assert cache._loads == {}


async def test_who_wants_more_does_not_take_less(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """Who asks for more than what is being loaded gets all of it, in whatever order they come."""
    await store.append(line(60))
    limits = [2, 50, 3, 60, 1]
    answers = await read_at_once(cache, store, limits)
    assert [len(answer) for answer in answers] == limits


async def test_a_cancelled_loader_harms_no_other(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """If the one who asks the store is cancelled, the next in line asks it for all others."""
    await store.append(line(3))
    store.before.clear()
    tasks = [asyncio.ensure_future(cache.recent("tea", 50)) for _ in range(10)]
    await settle()
    for task in (tasks[0], tasks[1], tasks[5]):
        task.cancel()
        await settle()
    store.before.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = [n for n, a in enumerate(answers) if isinstance(a, asyncio.CancelledError)]
    assert cancelled == [0, 1, 5]
    assert all(a == tuple(line(3)) for n, a in enumerate(answers) if n not in cancelled)
    assert (store.calls["recent"], cache._loads) == (3, {})


async def test_a_failed_load_is_told_to_each_and_kept_by_none(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """If the store cannot be read, each reader gets the error; the next read tries again."""
    await store.append(line(3))
    store.error = HistoryError("The disk is on fire.")
    store.before.clear()
    tasks = [asyncio.ensure_future(cache.recent("tea", 50)) for _ in range(5)]
    await settle()
    store.before.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [HistoryError] * 5
    store.error = None
    assert ids(await cache.recent("tea", 50)) == [1, 2, 3]


CHANGES: dict[str, Callable[[CachedHistory], Coroutine[None, None, object]]] = {
    "append": lambda cache: cache.append([said(4)]),
    "edit": lambda cache: cache.edit(2, "changed"),
    "delete": lambda cache: cache.delete(2),
    "replace": lambda cache: cache.replace(said(2, parent_id=3)),
    "replace by one of elsewhere": lambda cache: cache.replace(said(2, "coffee")),
    "clear": lambda cache: cache.clear("tea"),
    "erase": lambda cache: cache.erase("17"),
    "expire": lambda cache: cache.expire("tea", NOON + timedelta(seconds=1)),
}


async def test_a_message_that_moves_leaves_one_conversation_and_joins_the_other(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """If what stands in a message's place belongs elsewhere, both conversations are read anew, and
    no other."""
    await store.append([*line(3), said(10, "coffee"), said(20, "milk")])
    for name in ("tea", "coffee", "milk"):
        await cache.recent(name, 50)
    await cache.replace(said(2, "coffee"))
    assert [*cache._entries] == ["milk"]
    assert ids(await cache.recent("tea", 50)) == [1, 3]
    assert ids(await cache.recent("coffee", 50)) == [2, 10]


def let_others_overtake(store: SteppedHistory) -> asyncio.Event:
    """Let what is asked from now on be answered at once. Return what keeps the former ones."""
    held, store.after = store.after, asyncio.Event()
    store.after.set()
    return held


@pytest.mark.parametrize("cached", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_read_before_a_change_is_not_kept(
    cache: CachedHistory, store: SteppedHistory, change: str, cached: int
) -> None:
    """A load that is overtaken by a change leaves nothing stale, and nobody who comes after the
    change waits for it; so too if a part of the conversation was held already."""
    await store.append(line(3))
    await cache.recent("tea", cached)
    store.after.clear()
    slow = asyncio.ensure_future(cache.recent("tea", 50))
    await settle()
    held = let_others_overtake(store)
    await CHANGES[change](cache)
    truth = await store.recent("tea", 50)
    assert await cache.recent("tea", 50) == truth
    held.set()
    # The slow one's answer is as old as his question; he leaves it to nobody.
    assert ids(await slow) == [1, 2, 3]
    assert await cache.recent("tea", 50) == truth


@pytest.mark.parametrize("change", CHANGES)
async def test_a_late_load_replaces_no_later_one(
    cache: CachedHistory, store: SteppedHistory, change: str
) -> None:
    """A load that comes back after a change, with nobody else reading, is not kept either."""
    await store.append(line(3))
    store.after.clear()
    slow = asyncio.ensure_future(cache.recent("tea", 50))
    await settle()
    held = let_others_overtake(store)
    await CHANGES[change](cache)
    held.set()
    await slow
    assert await cache.recent("tea", 50) == await store.recent("tea", 50)


async def test_what_is_edited_before_its_append_has_returned_stays_edited(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """An edit that overtakes the return of the append of the same message is not undone by it."""
    await store.append(line(3))
    await cache.recent("tea", 50)
    store.after.clear()
    appending = asyncio.ensure_future(cache.append([said(4)]))
    await settle()
    held = let_others_overtake(store)
    assert await cache.edit(4, "changed")
    held.set()
    await appending
    assert (await cache.recent("tea", 50))[-1].text == "changed"


@pytest.mark.parametrize("change", CHANGES)
async def test_a_cancelled_change_leaves_nothing_stale(
    cache: CachedHistory, store: SteppedHistory, change: str
) -> None:
    """Who is cancelled after the store has done it, but before he knew, leaves what is true."""
    await store.append(line(3))
    await cache.recent("tea", 50)
    store.after.clear()
    changing = asyncio.ensure_future(CHANGES[change](cache))
    await settle()
    changing.cancel()
    await asyncio.wait([changing])
    store.after.set()
    assert changing.cancelled()
    assert await cache.recent("tea", 50) == await store.recent("tea", 50)


async def test_a_failed_append_changes_nothing(cache: CachedHistory, store: SteppedHistory) -> None:
    """What the store refused is in no answer."""
    await cache.append(line(3))
    before = await cache.recent("tea", 50)
    with pytest.raises(DuplicateMessage):
        await cache.append([said(4), said(1)])
    store.error = HistoryError("The disk is full.")
    with pytest.raises(HistoryError):
        await cache.append([said(5)])
    store.error = None
    assert await cache.recent("tea", 50) == before


async def test_an_append_under_way_does_not_bring_back_what_was_cleared(
    cache: CachedHistory, store: SteppedHistory
) -> None:
    """Whichever of an append and a clearing returns last, what was cleared stays away."""
    await cache.append(line(3))
    await cache.recent("tea", 50)
    store.after.clear()
    appending = asyncio.ensure_future(cache.append([said(4)]))
    await settle()
    clearing = asyncio.ensure_future(cache.clear("tea"))
    await settle()
    loading = asyncio.ensure_future(cache.recent("tea", 99))
    await settle()
    store.after.set()
    await asyncio.gather(appending, clearing, loading)
    assert await cache.recent("tea", 50) == ()


async def test_an_entry_may_be_evicted_while_it_is_appended_to(store: SteppedHistory) -> None:
    """An append whose conversation left the cache and came back meanwhile is stored once."""
    cache = CachedHistory(store, CacheOptions(max_entries=1))
    await store.append(line(3))
    await cache.recent("tea", 50)
    store.after.clear()
    appending = asyncio.ensure_future(cache.append([said(4)]))
    await settle()
    store.after.set()
    await cache.recent("coffee", 50)
    await cache.recent("tea", 50)
    await appending
    assert ids(await cache.recent("tea", 50)) == [1, 2, 3, 4]


# Against a plain model


NAMES = ("a", "b", "c")
numbers = st.integers(1, 12)
limits = st.sampled_from((-1, 0, 1, 2, 3, 5, 50))
ANYBODY = ("17", "18")


def said_at(id_: int, conversation: str, parent_id: int | None, role: Role, by: str) -> Message:
    """Make a message of anybody, or of the bot, a second later for each id."""
    author = Author(by if role == "user" else "bot", "")
    at = NOON + timedelta(seconds=id_)
    message = said(id_, conversation, parent_id)
    return structs.replace(message, role=role, author=author, created_at=at)


roles: st.SearchStrategy[Role] = st.sampled_from(("user", "assistant"))
names = st.sampled_from(NAMES)
anything = st.builds(
    said_at, numbers, names, st.none() | numbers, roles, by=st.sampled_from(ANYBODY)
)
operations = st.one_of(
    st.tuples(st.just("recent"), names, limits),
    st.tuples(st.just("chain"), numbers, limits),
    st.tuples(st.just("append"), st.lists(anything, min_size=1, max_size=3)),
    st.tuples(st.just("edit"), numbers, st.text(max_size=2)),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("replace"), anything),
    st.tuples(st.just("clear"), names),
    st.tuples(st.just("said_by"), st.sampled_from(ANYBODY)),
    st.tuples(st.just("erase"), st.sampled_from(ANYBODY)),
    st.tuples(st.just("expire"), names, numbers.map(lambda n: NOON + timedelta(seconds=n))),
)
options = st.builds(
    CacheOptions,
    max_entries=st.integers(1, 3),
    max_bytes=st.sampled_from((0, 3000, 2**20)),
    messages_per_conversation=st.integers(1, 6),
)


async def do(history: PlainHistory | CachedHistory, operation: tuple[object, ...]) -> object:
    """Do one operation and return its answer, or the kind of its error."""
    name, *arguments = operation
    try:
        return await getattr(history, str(name))(*arguments)
    except HistoryError as error:
        return type(error)


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(operations, max_size=30), options=options)
async def test_any_sequence_is_answered_as_without_a_cache(
    steps: list[tuple[object, ...]], options: CacheOptions
) -> None:
    """Whatever is done one after the other, each answer equals that of a plain history, and the
    account of the bytes stays true."""
    plain, cache = PlainHistory(), CachedHistory(PlainHistory(), options)
    for step in steps:
        assert await do(cache, step) == await do(plain, step)
        recounted = [
            _Entry(tuple(entry.messages), entry.limit, entry.max_messages).bytes
            for entry in cache._entries.values()
        ]
        assert stats(cache)["bytes"] == sum(recounted) <= options.max_bytes
        assert stats(cache)["entries"] <= options.max_entries


@settings(max_examples=300, deadline=None)
@given(
    batches=st.lists(st.lists(operations, min_size=1, max_size=6), max_size=6),
    options=options,
    seed=st.integers(0, 2**32),
    cancelled=st.sets(st.integers(0, 36)),
)
async def test_at_rest_it_tells_what_the_store_tells(
    batches: list[list[tuple[object, ...]]],
    options: CacheOptions,
    seed: int,
    cancelled: set[int],
) -> None:
    """Operations that run at once, overtake each other and are cancelled leave nothing stale."""
    chance = random.Random(seed)
    store = SteppedHistory(chance)
    cache = CachedHistory(store, options)
    count = 0
    for batch in batches:
        tasks = [asyncio.ensure_future(do(cache, step)) for step in batch]
        for task in tasks:
            count += 1
            if count in cancelled:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.wait(tasks)
        assert cache._loads == {}
        for name in NAMES:
            for limit in (3, 50):
                assert await cache.recent(name, limit) == await store.recent(name, limit)
        for number in range(1, 13):
            assert await cache.chain(number, 50) == await store.chain(number, 50)


async def test_r24_a_hundred_writers_and_readers(tmp_path: Path) -> None:
    """Of a hundred concurrent writers to one conversation none loses a message; each reads his own
    as soon as he is told that it is stored, and all are in the order of ids."""
    order = list(range(1, 101))
    random.Random(24).shuffle(order)
    async with SQLiteHistory.open(tmp_path / "history.db") as store:
        cache = CachedHistory(store, foreign_changes=store.foreign_changes)

        async def write(number: int) -> None:
            await cache.recent("tea", 200)
            await cache.append([said(number)])
            seen = ids(await cache.recent("tea", 200))
            assert number in seen
            assert seen == sorted(seen)

        async with asyncio.TaskGroup() as group:
            for number in order:
                group.create_task(write(number))
        assert ids(await cache.recent("tea", 200)) == [*range(1, 101)]
        assert await store.recent("tea", 200) == await cache.recent("tea", 200)


async def test_what_another_process_removed_is_out_of_use_after_the_next_append(
    tmp_path: Path,
) -> None:
    """If somebody else changed the file, the next append notices, and everything is read anew."""
    path = tmp_path / "history.db"
    async with SQLiteHistory.open(path) as store, SQLiteHistory.open(path) as other:
        cache = CachedHistory(store, foreign_changes=store.foreign_changes)
        await cache.append([*line(3), said(10, "coffee")])
        assert len(await cache.recent("tea", 50)) == 3
        await cache.recent("coffee", 50)
        await other.clear("tea")
        await cache.append([said(11, "coffee")])
        assert await cache.recent("tea", 50) == ()
        assert ids(await cache.recent("coffee", 50)) == [10, 11]
        misses = stats(cache)["misses"]
        await cache.append([said(12, "coffee")])
        assert ids(await cache.recent("coffee", 50)) == [10, 11, 12]
        assert stats(cache)["misses"] == misses


# What it holds


async def test_the_least_recently_used_goes_first(store: SteppedHistory) -> None:
    """Reading and appending are use; what was used longest ago makes room for the new."""
    cache = CachedHistory(store, CacheOptions(max_entries=3))
    for name in ("a", "b", "c"):
        await cache.recent(name, 50)
    await cache.recent("a", 50)
    await cache.append([said(1, "b")])
    await cache.recent("d", 50)
    assert [*cache._entries] == ["a", "b", "d"]
    await cache.recent("a", 7)  # a slice is use as well
    await cache.recent("e", 50)
    assert [*cache._entries] == ["d", "a", "e"]
    assert stats(cache)["evictions"] == 2


async def test_its_figures_are_true(cache: CachedHistory, store: SteppedHistory) -> None:
    """Hits, misses, their rate in percent, and what is held of how much."""
    assert stats(cache)["hit_rate"] == 0.0
    await store.append(line(3))
    await cache.recent("tea", 50)
    await cache.recent("tea", 50)
    await cache.chain(3, 50)
    assert cache.get_cache_stats() == {
        "history": {
            "hits": 2,
            "misses": 1,
            "hit_rate": 66.7,
            "entries": 1,
            "max_entries": 1000,
            "bytes": cache._entries["tea"].bytes,
            "max_bytes": 64 * 2**20,
            "evictions": 0,
        }
    }


async def test_what_is_larger_than_all_the_room_drives_nothing_out(store: SteppedHistory) -> None:
    """A conversation that cannot fit is read each time, and the others stay."""
    cache = CachedHistory(store, CacheOptions(max_bytes=20_000))
    await store.append([*line(3), *line(100, "novel", first=10)])
    await cache.recent("tea", 50)
    assert len(await cache.recent("novel", 100)) == 100
    assert [*cache._entries] == ["tea"]
    await cache.append(line(100, "tea", first=1000))
    assert (stats(cache)["entries"], stats(cache)["bytes"]) == (0, 0)
    assert len(await cache.recent("tea", 50)) == 50


@pytest.mark.parametrize(("words", "per_conversation"), [(1, 5), (40, 20), (400, 3)])
async def test_its_memory_stays_under_the_bound(
    tmp_path: Path, words: int, per_conversation: int
) -> None:
    """Through many more conversations than it may hold, the memory that Python counts stays below
    what the cache was given."""
    bound, conversations = 2**20, 1500

    def message(number: int) -> Message:
        text = f"number {number} " + "wörter " * words
        author = Author(str(10**17 + number), f"Ada {number}")
        name = f"discord:{10**17 + number // per_conversation}"
        return Message(
            id=10**18 + number,
            conversation=name,
            role="assistant",
            author=author,
            text=text,
            created_at=NOON,
            parent_id=10**18 + number - 1,
            finish_reason="stop",
            model="ollama/llama3",
        )

    async with SQLiteHistory.open(tmp_path / "history.db") as store:
        await store.append([message(n) for n in range(conversations * per_conversation)])
        cache = CachedHistory(store, CacheOptions(max_entries=10**6, max_bytes=bound))
        gc.collect()
        tracemalloc.start()
        try:
            start = tracemalloc.get_traced_memory()[0]
            for number in range(conversations):
                await cache.recent(f"discord:{10**17 + number}", 50)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - start
        finally:
            tracemalloc.stop()
    assert stats(cache)["evictions"] > 100
    assert 0.9 * bound < stats(cache)["bytes"] <= bound
    assert 0.4 * bound < held <= bound


async def test_a_soak_of_a_hundred_thousand_conversations_stays_in_bounds() -> None:
    """Whatever is read and appended in how many conversations, neither bound is ever passed."""

    class Endless(PlainHistory):
        """Knows nothing and keeps nothing."""

        async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
            return ()

        async def append(self, messages: Sequence[Message]) -> None:
            pass

    options = CacheOptions(max_entries=500, max_bytes=400_000)
    cache = CachedHistory(Endless(), options)
    for number in range(100_000):
        name = f"discord:{number}"
        await cache.recent(name, 50)
        if number % 4 == 0:
            await cache.append([said(number, name)])
        if number % 1000 == 0:
            assert stats(cache)["entries"] <= 500
            assert stats(cache)["bytes"] <= 400_000
    assert stats(cache)["bytes"] == sum(entry.bytes for entry in cache._entries.values())
    assert stats(cache)["evictions"] > 99_000
