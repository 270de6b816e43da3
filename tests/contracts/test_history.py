"""What every history promises, run against each implementation."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeAlias, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.plain_history import PlainHistory

from acore_bot.contracts import History
from acore_bot.errors import DuplicateMessage
from acore_bot.history.cache import CachedHistory, CacheOptions
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, FinishReason, Message, Role

Opener: TypeAlias = Callable[[Path], AbstractAsyncContextManager[History]]


@asynccontextmanager
async def open_cached(path: Path) -> AsyncIterator[History]:
    """Open a cache of the usual size before a file."""
    async with SQLiteHistory.open(path) as store:
        yield CachedHistory(store, foreign_changes=store.foreign_changes)


@asynccontextmanager
async def open_tiny_cache(path: Path) -> AsyncIterator[History]:
    """Open a cache that has to evict and to trim all the time."""
    options = CacheOptions(max_entries=2, max_bytes=8000, messages_per_conversation=3)
    async with SQLiteHistory.open(path) as store:
        yield CachedHistory(store, options, foreign_changes=store.foreign_changes)


@asynccontextmanager
async def open_plain(_: Path) -> AsyncIterator[History]:
    """Make the double against which the cache is tested."""
    yield PlainHistory()


# A new implementation is one line here.
IMPLEMENTATIONS: dict[str, Opener] = {
    "sqlite": SQLiteHistory.open,
    "cached": open_cached,
    "tiny cache": open_tiny_cache,
    "plain": open_plain,
}

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = Author("17", "Ada")


@pytest.fixture(params=list(IMPLEMENTATIONS.values()), ids=list(IMPLEMENTATIONS))
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[History]:
    """Each implementation in turn, empty."""
    opener: Opener = request.param
    async with opener(tmp_path / "history.db") as opened:
        yield opened


def said(id_: int, parent_id: int | None = None, conversation: str = "tea") -> Message:
    """Make a message that says its own id, one second later for each id."""
    return Message(
        id=id_,
        conversation=conversation,
        role="user",
        author=ADA,
        text=f"I am {id_}",
        created_at=NOON + timedelta(seconds=id_),
        parent_id=parent_id,
    )


def ids(messages: tuple[Message, ...]) -> list[int]:
    """Name messages by their ids, in order."""
    return [message.id for message in messages]


async def test_a_new_history_is_empty(history: History) -> None:
    """A history in which nothing was said answers every question with nothing."""
    assert await history.recent("tea", 10) == ()
    assert await history.chain(1, 10) == ()
    assert await history.conversations() == ()


async def test_recent_returns_equal_messages(history: History) -> None:
    """What comes back equals what was appended, in every field."""
    question = said(1)
    answer = Message(
        id=2,
        conversation="tea",
        role="assistant",
        author=Author("bot", "Acore"),
        text="Yes.",
        created_at=NOON + timedelta(microseconds=1),
        parent_id=1,
        finish_reason="stop",
        model="ollama/llama3",
    )
    await history.append([question, answer])
    assert await history.recent("tea", 10) == (question, answer)


async def test_recent_is_ordered_by_id_whatever_the_order_of_arrival(history: History) -> None:
    """Recent messages are sorted by id, oldest first, even if a younger one was stored before."""
    await history.append([said(30), said(10)])
    await history.append([said(20)])
    assert ids(await history.recent("tea", 10)) == [10, 20, 30]


@pytest.mark.parametrize(
    ("limit", "expected"), [(-1, []), (0, []), (1, [5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5])]
)
async def test_recent_keeps_the_newest(history: History, limit: int, expected: list[int]) -> None:
    """The limit keeps the newest messages; a limit of nothing or less keeps none."""
    await history.append([said(number) for number in range(1, 6)])
    assert ids(await history.recent("tea", limit)) == expected


async def test_conversations_are_apart(history: History) -> None:
    """Recent messages of one conversation hold nothing of another, however alike their names."""
    names = ["tea", "TEA", "tea ", "té", "te\0a", "a" * 1000, "%", "private:1"]
    await history.append([said(n, conversation=name) for n, name in enumerate(names, start=1)])
    assert [ids(await history.recent(name, 10)) for name in names] == [
        [n] for n, _ in enumerate(names, start=1)
    ]


async def test_chain_follows_one_branch(history: History) -> None:
    """A chain leads from the first message to the one asked for, along its own branch only."""
    await history.append([said(1), said(2, 1), said(3, 2), said(4, 1), said(5, 4), said(6, 3)])
    assert ids(await history.chain(6, 10)) == [1, 2, 3, 6]
    assert ids(await history.chain(5, 10)) == [1, 4, 5]
    assert ids(await history.chain(1, 10)) == [1]


@pytest.mark.parametrize(("limit", "expected"), [(-1, []), (0, []), (1, [4]), (3, [2, 3, 4])])
async def test_chain_keeps_the_end(history: History, limit: int, expected: list[int]) -> None:
    """The limit of a chain keeps the message asked for and what is nearest to it."""
    await history.append([said(1), said(2, 1), said(3, 2), said(4, 3)])
    assert ids(await history.chain(4, limit)) == expected


async def test_chain_ends_at_a_parent_that_is_not_stored(history: History) -> None:
    """A message may continue one that the history never saw: its chain begins with itself."""
    await history.append([said(7, 3), said(8, 7)])
    assert ids(await history.chain(8, 10)) == [7, 8]


async def test_chain_may_cross_conversations(history: History) -> None:
    """A thread's first message may continue one of the channel from which the thread sprang."""
    await history.append([said(1, conversation="channel"), said(2, 1, conversation="thread")])
    assert ids(await history.chain(2, 10)) == [1, 2]


async def test_chain_tells_each_message_of_a_circle_once(history: History) -> None:
    """Parents that form a circle, which nobody should make, end the chain."""
    await history.append([said(1, 3), said(2, 1), said(3, 2), said(9, 9)])
    assert ids(await history.chain(3, 50)) == [1, 2, 3]
    assert ids(await history.chain(9, 50)) == [9]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_chain_agrees_with_walking_the_parents(history: History, data: st.DataObject) -> None:
    """In any tree, a chain is what one meets by going from parent to parent."""
    parents: dict[int, int | None] = {
        number: data.draw(st.none() | st.integers(0, number - 1)) for number in range(1, 15)
    }
    await history.clear("tea")
    await history.append([said(number, parent) for number, parent in parents.items()])
    start, limit = data.draw(st.sampled_from(sorted(parents))), data.draw(st.integers(1, 16))
    walked: list[int] = []
    here: int | None = start
    while here in parents and len(walked) < limit:
        walked.insert(0, here)
        here = parents[here]
    assert ids(await history.chain(start, limit)) == walked


async def test_append_of_nothing_changes_nothing(history: History) -> None:
    """To append no messages is no fault and leaves no conversation behind."""
    await history.append([])
    assert await history.conversations() == ()


async def test_a_duplicate_stores_nothing_of_its_batch(history: History) -> None:
    """If one id is taken, none of the messages with it is stored and the first stays as it was."""
    await history.append([said(2)])
    with pytest.raises(DuplicateMessage, match="2"):
        await history.append([said(1), said(2, 1), said(3)])
    assert await history.recent("tea", 10) == (said(2),)


async def test_a_duplicate_within_a_batch_stores_nothing(history: History) -> None:
    """Two messages of one id in the same batch are refused together."""
    with pytest.raises(DuplicateMessage):
        await history.append([said(1), said(1)])
    assert await history.recent("tea", 10) == ()


async def test_an_id_is_taken_across_conversations(history: History) -> None:
    """Ids are unique in the whole history, not only in a conversation."""
    await history.append([said(1)])
    with pytest.raises(DuplicateMessage):
        await history.append([said(1, conversation="coffee")])
    assert await history.recent("coffee", 10) == ()


async def test_append_works_after_a_duplicate(history: History) -> None:
    """A refused batch leaves the history in working order."""
    await history.append([said(1)])
    with pytest.raises(DuplicateMessage):
        await history.append([said(1)])
    await history.append([said(2)])
    assert ids(await history.recent("tea", 10)) == [1, 2]


async def test_edit_changes_the_text_alone(history: History) -> None:
    """An edited message has its new text and is otherwise as before; others are untouched."""
    await history.append([said(1), said(2, 1), said(3, 2)])
    assert await history.edit(2, "changed") is True
    first, second, third = await history.recent("tea", 10)
    assert (first, third) == (said(1), said(3, 2))
    assert second.text == "changed"
    assert (second.id, second.parent_id, second.created_at) == (2, 1, said(2).created_at)


async def test_edit_of_nothing_is_false(history: History) -> None:
    """To edit a message that is not stored says so and stores nothing."""
    assert await history.edit(1, "changed") is False
    assert await history.conversations() == ()


async def test_delete_links_what_continued_it_to_its_parent(history: History) -> None:
    """Without the middle of a line, both branches that grew from it continue its parent."""
    await history.append([said(1), said(2, 1), said(3, 2), said(4, 2), said(5, 4)])
    assert await history.delete(2) is True
    assert await history.recent("tea", 10) == (said(1), said(3, 1), said(4, 1), said(5, 4))
    assert ids(await history.chain(5, 10)) == [1, 4, 5]
    assert await history.chain(2, 10) == ()


async def test_delete_of_the_first_makes_first_ones_of_its_children(history: History) -> None:
    """What continued the very first message continues nothing after its removal."""
    await history.append([said(1), said(2, 1)])
    assert await history.delete(1) is True
    assert await history.recent("tea", 10) == (said(2),)


async def test_delete_keeps_the_link_to_a_parent_that_is_not_stored(history: History) -> None:
    """A parent that the history never saw is inherited like any other."""
    await history.append([said(5, 3), said(6, 5)])
    assert await history.delete(5) is True
    assert await history.recent("tea", 10) == (said(6, 3),)


async def test_an_answer_is_found_by_each_of_its_parts(history: History) -> None:
    """A part's id leads to the answer that it is a part of, and so to what that continues."""
    await history.append([said(1), structs.replace(said(2, 1), part_ids=(3, 4)), said(5, 2)])
    assert ids(await history.chain(4, 10)) == ids(await history.chain(3, 10)) == [1, 2]
    assert (await history.recent("tea", 2))[0].part_ids == (3, 4)


async def test_an_answer_is_deleted_by_any_of_its_parts(history: History) -> None:
    """Removing a part removes the answer, and after that none of its parts leads anywhere."""
    await history.append([said(1), structs.replace(said(2, 1), part_ids=(3, 4)), said(5, 2)])
    assert await history.delete(4)
    assert ids(await history.chain(5, 10)) == [1, 5]
    assert not await history.delete(3)
    assert await history.chain(3, 10) == ()


async def test_clearing_a_conversation_forgets_the_parts_in_it(history: History) -> None:
    """What was a part of something cleared is nothing any more, even if the id comes again."""
    await history.append([structs.replace(said(2), part_ids=(3,))])
    await history.clear("tea")
    await history.append([said(2, conversation="milk")])
    assert await history.chain(3, 10) == ()


async def test_delete_of_nothing_is_false(history: History) -> None:
    """To delete twice, or what never was, is no fault; it leaves links to it alone."""
    await history.append([said(1), said(2, 99)])
    assert await history.delete(1) is True
    assert await history.delete(1) is False
    assert await history.delete(99) is False
    assert await history.recent("tea", 10) == (said(2, 99),)


async def test_a_deleted_id_is_free_again(history: History) -> None:
    """What was deleted leaves no trace that would refuse it a second time."""
    await history.append([said(1)])
    await history.delete(1)
    await history.append([said(1)])
    assert await history.recent("tea", 10) == (said(1),)


async def test_clear_removes_one_conversation(history: History) -> None:
    """Clearing counts what it removed and leaves the other conversations as they are."""
    await history.append([said(1), said(2, 1), said(3, conversation="coffee")])
    assert await history.clear("tea") == 2
    assert await history.clear("tea") == 0
    assert await history.recent("tea", 10) == ()
    assert await history.recent("coffee", 10) == (said(3, conversation="coffee"),)
    assert [line.conversation for line in await history.conversations()] == ["coffee"]


def answer(id_: int, parent_id: int, conversation: str = "tea") -> Message:
    """Make an answer of the bot to a message."""
    bot = Author("bot", "Acore")
    return structs.replace(said(id_, parent_id, conversation), role="assistant", author=bot)


def of_bob(id_: int, parent_id: int | None = None, conversation: str = "tea") -> Message:
    """Make a message of somebody else."""
    return structs.replace(said(id_, parent_id, conversation), author=Author("18", "Bob"))


async def test_replace_changes_all_of_a_message(history: History) -> None:
    """What stands in a message's place is as it was given, in every field; the others stay."""
    await history.append([said(1), structs.replace(answer(2, 1), part_ids=(3, 4)), said(5, 2)])
    other = structs.replace(
        answer(2, 9, "coffee"),
        text="Other words",
        author=Author("bot 2", "Tutor"),
        finish_reason="stop",
        model="ollama/other",
        part_ids=(4, 6),
        created_at=NOON,
    )
    assert await history.recent("tea", 10)
    assert await history.recent("coffee", 10) == ()
    assert await history.replace(other) is True
    assert await history.recent("tea", 10) == (said(1), said(5, 2))
    assert await history.recent("coffee", 10) == (other,)
    assert await history.chain(4, 10) == await history.chain(6, 10) == (other,)
    assert await history.chain(3, 10) == ()
    assert ids(await history.chain(5, 10)) == [2, 5]


async def test_replace_of_nothing_is_false(history: History) -> None:
    """Where there is no such message, none is put; a part's id is not a message's."""
    await history.append([structs.replace(said(2), part_ids=(3,))])
    assert await history.replace(said(1)) is False
    assert await history.replace(said(3)) is False
    assert ids(await history.recent("tea", 10)) == [2]


async def test_said_by_is_everywhere_and_in_order(history: History) -> None:
    """All that one person said is told, from every conversation, oldest first, and nobody else's,
    whatever ids look alike."""
    alike = structs.replace(said(4), author=Author("177", "Ada"))
    await history.append([said(9), of_bob(2), said(3, 2, "coffee"), answer(5, 3), alike])
    assert await history.said_by("17") == (said(3, 2, "coffee"), said(9))
    assert await history.said_by("bot") == (answer(5, 3),)
    assert await history.said_by("7") == ()


async def test_holding_finds_words_everywhere_and_in_order(history: History) -> None:
    """A message is found by any words of its text, as they are written; case and wildcards are
    only what they are."""
    await history.append([said(3), said(1, conversation="milk"), said(12)])
    assert ids(await history.holding("am 1")) == [1, 12]
    for words in ("AM 1", "a%", "a_", "I am 4"):
        assert await history.holding(words) == ()
    await history.edit(3, "50 % of 'Ä'")
    assert ids(await history.holding("% of 'Ä")) == [3]


async def test_what_is_kept_outlives_the_removal_of_traces(history: History) -> None:
    """Nothing that is stored changes by it, however often it is done."""
    await history.append([said(1), said(2, 1), said(3, 2)])
    await history.delete(2)
    for _ in range(2):
        await history.leave_no_trace()
        assert ids(await history.recent("tea", 10)) == [1, 3]
    await history.append([said(4)])
    assert ids(await history.chain(3, 10)) == [1, 3]


async def test_erase_takes_the_answers_along(history: History) -> None:
    """Erasing removes a person's messages in every conversation, and what the bot answered, and
    went on to say; what others said to it stays, and continues what is left."""
    await history.append([of_bob(1), answer(2, 1), said(3, 2), answer(4, 3), of_bob(5, 4)])
    await history.append([answer(6, 4), answer(7, 5), said(8, conversation="coffee")])
    assert len(await history.recent("tea", 10)) == 7
    assert await history.erase("17") == 4
    assert await history.recent("tea", 10) == (of_bob(1), answer(2, 1), of_bob(5, 2), answer(7, 5))
    assert await history.recent("coffee", 10) == ()
    assert await history.said_by("17") == ()
    assert await history.erase("17") == 0


async def test_erase_forgets_the_parts_of_answers(history: History) -> None:
    """No part leads to an answer that was erased, and its ids are free again."""
    await history.append([said(1), structs.replace(answer(2, 1), part_ids=(3,))])
    await history.erase("17")
    assert await history.chain(3, 10) == ()
    await history.append([of_bob(1), of_bob(2, 1)])
    assert ids(await history.chain(2, 10)) == [1, 2]
    assert await history.chain(3, 10) == ()


async def test_erase_removes_exactly_what_it_should_where_ids_meet(history: History) -> None:
    """A message whose id is also called a part of another's answer does not stand for that one."""
    await history.append([structs.replace(of_bob(1), part_ids=(2,)), said(2)])
    assert await history.erase("17") == 1
    assert ids(await history.recent("tea", 10)) == [1]


async def test_a_circle_can_be_erased(history: History) -> None:
    """Parents that form a circle end the search for answers."""
    await history.append([said(1, 3), answer(2, 1), answer(3, 2), of_bob(9, 3)])
    assert await history.erase("17") == 3
    assert ids(await history.recent("tea", 10)) == [9]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_erase_agrees_with_deleting_one_by_one(history: History, data: st.DataObject) -> None:
    """In any tree, what is left is what is left if each erased message is deleted by itself."""
    said_by_someone: list[Message] = []
    for number in range(1, 13):
        parent = data.draw(st.none() | st.integers(0, number - 1))
        make = data.draw(st.sampled_from((said, of_bob, answer)))
        said_by_someone.append(make(number, parent or 0, "tea"))
    erased = set[int]()
    for message in said_by_someone:
        if message.author == ADA or (message.role == "assistant" and message.parent_id in erased):
            erased.add(message.id)
    plain = PlainHistory()
    for kept in (plain, history):
        await kept.clear("tea")
        await kept.append(said_by_someone)
    for message_id in erased:
        await plain.delete(message_id)
    assert await history.erase("17") == len(erased)
    assert await history.recent("tea", 50) == await plain.recent("tea", 50)


async def test_expire_removes_what_is_older(history: History) -> None:
    """What was said before the moment goes, in one conversation; what was said then or later
    stays, whatever the order of the ids."""
    young = structs.replace(said(1), created_at=NOON + timedelta(days=1))
    await history.append([young, said(2), said(3, 2), said(4, 3), said(5, conversation="coffee")])
    assert len(await history.recent("tea", 10)) == 4
    assert await history.expire("tea", said(4).created_at) == 2
    assert ids(await history.recent("tea", 10)) == [1, 4]
    assert ids(await history.chain(4, 10)) == [4]
    assert ids(await history.recent("coffee", 10)) == [5]
    assert await history.expire("tea", said(4).created_at) == 0


async def test_expire_understands_every_zone(history: History) -> None:
    """The moment may be told in any time zone."""
    await history.append([said(1), said(2)])
    moment = said(2).created_at.astimezone(timezone(timedelta(hours=9)))
    assert await history.expire("tea", moment) == 1
    assert ids(await history.recent("tea", 10)) == [2]


async def test_conversations_come_most_recently_used_first(history: History) -> None:
    """Each conversation has one line with its count and the time of its newest message."""
    await history.append([said(1, conversation="a"), said(5, conversation="c")])
    await history.append([said(3, conversation="b"), said(7, conversation="a")])
    lines = await history.conversations()
    assert [(line.conversation, line.messages, line.last_at) for line in lines] == [
        ("a", 2, said(7).created_at),
        ("c", 1, said(5).created_at),
        ("b", 1, said(3).created_at),
    ]


async def test_r24_concurrent_appends_come_back_in_order(history: History) -> None:
    """A hundred concurrent appends to one conversation all arrive, and are read in id order."""
    numbers = list(range(1, 101))
    random.Random(24).shuffle(numbers)
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(history.append([said(number)]))
    assert await history.recent("tea", 200) == tuple(said(number) for number in range(1, 101))


async def test_concurrent_appends_of_one_id_store_it_once(history: History) -> None:
    """Of many that store the same id at once exactly one succeeds, and its words are kept."""

    async def try_to_append(number: int) -> int | None:
        try:
            await history.append([said(1, conversation=str(number))])
        except DuplicateMessage:
            return None
        return number

    outcomes = await asyncio.gather(*(try_to_append(number) for number in range(20)))
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert [line.conversation for line in await history.conversations()] == [str(winner)]


async def test_an_append_is_seen_by_what_follows(history: History) -> None:
    """As soon as append has returned, every question knows of it."""
    for number in range(1, 30):
        await history.append([said(number, number - 1)])
        assert ids(await history.recent("tea", 1)) == [number]
        assert len(await history.chain(number, 100)) == number


texts = st.text() | st.text(alphabet="\0a\n'\"%é🙂\u202e\ufeff\uffff", max_size=20)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones).filter(lambda time: 1 < time.year < 9999)
messages = st.builds(
    Message,
    id=st.integers(0, 2**63 - 1),
    conversation=texts.filter(bool),
    role=st.sampled_from(get_args(Role)),
    author=st.builds(Author, id=texts, name=texts),
    text=texts,
    created_at=times,
    parent_id=st.none() | st.integers(0, 2**63 - 1),
    finish_reason=st.none() | st.sampled_from(get_args(FinishReason)),
    model=st.none() | texts,
    part_ids=st.lists(st.integers(2**62, 2**63 - 1), max_size=9, unique=True).map(tuple),
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(message=messages, other=texts)
async def test_values_survive_the_round_trip(
    history: History, message: Message, other: str
) -> None:
    """Whatever is said, by whom and when: it comes back equal, its time in UTC; so does an edit."""
    await history.append([message])
    (kept,) = await history.recent(message.conversation, 1)
    assert kept == message
    assert kept.created_at.utcoffset() == timedelta(0)
    await history.edit(message.id, other)
    assert [found.text for found in await history.chain(message.id, 1)] == [other]
    assert await history.clear(message.conversation) == 1
