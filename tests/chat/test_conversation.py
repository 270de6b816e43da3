"""Whose turn it is, what a turn continues from, and that nothing is left at rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.answer_records import record_of
from tests.fakes.plain_history import SteppedHistory
from tests.fakes.talk import ADA, BEN, CLEO, answered, asked, heard, line

from acore_bot.chat.conversation import Conversations
from acore_bot.chat.open_turn import Context, Turn
from acore_bot.errors import DuplicateMessage, HistoryError
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import IncomingMessage, Message
from acore_bot.records.sqlite import SQLiteRecords


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[SQLiteHistory]:
    """A real history, empty."""
    async with SQLiteHistory.open(tmp_path / "history.db") as opened:
        yield opened


@pytest.fixture
def conversations(history: SQLiteHistory) -> Conversations:
    """Conversations that need ten messages of the past."""
    return Conversations(history, history_messages=10)


@pytest.fixture(autouse=True)
async def nothing_is_left(conversations: Conversations) -> AsyncIterator[None]:
    """After each test, no lock, no open answer, no turn and no gathering is remembered."""
    yield
    assert conversations._gatherings._open == {}
    assert conversations._open_turns == {}
    assert conversations._hearings == set()
    assert conversations._people._locks == {}
    assert conversations._past._locks == {}
    assert conversations._open_answers._finished == {}


@asynccontextmanager
async def turn_of(conversations: Conversations, message: IncomingMessage) -> AsyncIterator[Turn]:
    """Take the turn of a message that is answered alone."""
    async with conversations.take_turn(message) as turn:
        assert turn is not None
        assert turn.messages == (message,)
        yield turn


async def ids_continued(conversations: Conversations, message: IncomingMessage) -> list[int]:
    """Take a turn and tell the ids of what it continues from."""
    async with turn_of(conversations, message) as turn:
        return [said.id for said in turn.context.said]


async def everyone_has_moved(conversations: Conversations) -> None:
    """Take a whole turn elsewhere: whoever did not have to wait has loaded before, for the history
    does one thing after the other."""
    for id_ in (90_001, 90_002):
        await ids_continued(conversations, heard(id_, author=CLEO, conversation="elsewhere"))


async def test_a_plain_message_continues_the_line(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """A message that replies to nothing continues from the newest messages, oldest first, and one
    more of them than is ever sent."""
    await history.append(line(8))
    async with turn_of(conversations, heard(50)) as turn:
        assert turn.context.said == line(8)[-11:]
        assert not turn.context.is_branch


async def test_a_first_message_continues_nothing(conversations: Conversations) -> None:
    """In a new conversation there is no past, even if the message replies to something unknown."""
    assert await ids_continued(conversations, heard(50)) == []
    assert await ids_continued(conversations, heard(51, reply_to=7)) == []


async def test_a_reply_to_an_older_message_takes_its_branch(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """It continues from that message, along its parents, as if the rest had not been said."""
    await history.append(line(4))
    async with turn_of(conversations, heard(50, reply_to=4)) as turn:
        assert turn.context.said == line(2)
        assert turn.context.is_branch


async def test_a_branch_has_the_same_bound(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """Along the parents, too, one more message than is ever sent is loaded."""
    await history.append(line(20))
    assert await ids_continued(conversations, heard(50, reply_to=20)) == list(range(10, 21))


async def test_a_reply_to_the_newest_is_the_plain_line(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """Replying to what was said last is what anyone does who just goes on talking."""
    await history.append([*line(2), asked(9, author=BEN), answered(10, parent_id=9)])
    async with turn_of(conversations, heard(50, reply_to=10)) as turn:
        assert [said.id for said in turn.context.said] == [1, 2, 3, 4, 9, 10]
        assert not turn.context.is_branch


def in_parts(answer: Message, *part_ids: int) -> Message:
    """Make it an answer that took several messages to show."""
    return structs.replace(answer, part_ids=part_ids)


@pytest.mark.parametrize("part_id", [4, 5, 6])
async def test_a_reply_to_a_part_of_the_newest_is_the_plain_line(
    history: SQLiteHistory, conversations: Conversations, part_id: int
) -> None:
    """Whichever part of the newest answer is replied to, the talk simply goes on, all of it."""
    *said, newest = line(2)
    await history.append([*said, in_parts(newest, 5, 6)])
    async with turn_of(conversations, heard(50, reply_to=part_id)) as turn:
        assert turn.context.said == (*said, in_parts(newest, 5, 6))
        assert not turn.context.is_branch


async def test_a_reply_to_a_part_of_an_older_answer_takes_its_branch(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """A part stands for the answer to which it belongs, and what led to it."""
    *said, older = line(2)
    await history.append([*said, in_parts(older, 5), asked(7, parent_id=4)])
    async with turn_of(conversations, heard(50, reply_to=5)) as turn:
        assert turn.context.said == (*said, in_parts(older, 5))
        assert turn.context.is_branch


async def test_a_reply_to_something_unknown_is_the_plain_line(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """A reply to what was never stored, such as what people said to each other, goes on plainly."""
    await history.append(line(2))
    assert await ids_continued(conversations, heard(50, reply_to=7)) == [1, 2, 3, 4]


@pytest.mark.parametrize("own", [0, 2])
async def test_words_of_another_conversation_stay_there(
    history: SQLiteHistory, conversations: Conversations, own: int
) -> None:
    """A reply to an id of another conversation never brings its words here."""
    await history.append(line(own))
    await history.append([asked(20, "secret", conversation="private"), answered(21)])
    assert await ids_continued(conversations, heard(50, reply_to=20, conversation="milk")) == []
    said = await ids_continued(conversations, heard(51, reply_to=20))
    assert 20 not in said


async def test_a_branch_that_came_from_elsewhere_is_not_followed(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """If a message's parents lead into another conversation, the plain line is taken instead."""
    await history.append([asked(1, "secret", conversation="private")])
    await history.append([asked(2, parent_id=1), answered(3, parent_id=2), asked(4)])
    assert await ids_continued(conversations, heard(50, reply_to=3)) == [2, 3, 4]


async def test_a_person_has_one_turn_at_a_time(conversations: Conversations) -> None:
    """A second message of the same person waits until the first is answered, and then sees it."""
    async with turn_of(conversations, heard(1)) as turn:
        waiting = asyncio.create_task(ids_continued(conversations, heard(5)))
        await everyone_has_moved(conversations)
        assert not waiting.done()
        await turn.commit([asked(1), answered(2, parent_id=1)])
    assert await waiting == [1, 2]


async def test_turns_of_a_person_come_in_order(conversations: Conversations) -> None:
    """Messages of one person are answered in the order in which they came."""
    order: list[int] = []

    async def take(id_: int) -> None:
        async with turn_of(conversations, heard(id_)):
            order.append(id_)

    async with asyncio.TaskGroup() as group:
        for id_ in (1, 2, 3):
            group.create_task(take(id_))
    assert order == [1, 2, 3]


async def test_two_people_talk_side_by_side(conversations: Conversations) -> None:
    """Nobody waits for another's answer, nor for one's own elsewhere."""
    async with (
        turn_of(conversations, heard(1)),
        turn_of(conversations, heard(2, author=BEN)),
        turn_of(conversations, heard(3, conversation="milk")),
    ):
        pass


async def test_a_reply_to_an_open_answer_waits_for_it(conversations: Conversations) -> None:
    """It begins when the answer is stored, and then continues from it."""
    async with turn_of(conversations, heard(1)) as turn:
        turn.open_answer(2)
        waiting = asyncio.create_task(
            ids_continued(conversations, heard(5, author=BEN, reply_to=2))
        )
        await everyone_has_moved(conversations)
        assert not waiting.done()
        await turn.commit([asked(1), answered(2, parent_id=1)])
    assert await waiting == [1, 2]


async def test_a_reply_to_a_part_of_an_open_answer_waits_for_it(
    conversations: Conversations,
) -> None:
    """An answer that takes several messages to show is waited for by each of them."""
    async with turn_of(conversations, heard(1)) as turn:
        turn.open_answer(2)
        turn.open_answer(3)
        waiting = asyncio.create_task(
            ids_continued(conversations, heard(5, author=BEN, reply_to=3))
        )
        await everyone_has_moved(conversations)
        assert not waiting.done()
        await turn.commit([asked(1), in_parts(answered(2, parent_id=1), 3)])
    assert await waiting == [1, 2]


async def test_a_failed_answer_lets_its_replies_go_on(conversations: Conversations) -> None:
    """Whoever waits for an answer is not left waiting when it fails."""
    with pytest.raises(RuntimeError, match="no answer"):  # noqa: PT012 - it leaves the turn
        async with turn_of(conversations, heard(1)) as turn:
            turn.open_answer(2)
            waiting = asyncio.create_task(
                ids_continued(conversations, heard(5, author=BEN, reply_to=2))
            )
            await everyone_has_moved(conversations)
            raise RuntimeError("no answer")
    assert await waiting == []


async def test_waiting_can_be_cancelled(conversations: Conversations) -> None:
    """Who is cancelled while waiting, for a turn or for an answer, harms no one else's."""
    async with turn_of(conversations, heard(1)) as turn:
        turn.open_answer(2)
        for message in (heard(5), heard(6, author=BEN, reply_to=2)):
            waiting = asyncio.create_task(ids_continued(conversations, message))
            await everyone_has_moved(conversations)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        follower = asyncio.create_task(ids_continued(conversations, heard(7)))
        await turn.commit([asked(1), answered(2, parent_id=1)])
    assert await follower == [1, 2]


async def test_a_commit_is_whole(history: SQLiteHistory, conversations: Conversations) -> None:
    """If one of a turn's messages cannot be stored, none is, and the turn learns why."""
    await history.append([asked(1)])
    async with turn_of(conversations, heard(5)) as turn:
        with pytest.raises(DuplicateMessage):
            await turn.commit([asked(5), answered(1)])
    assert await ids_continued(conversations, heard(6)) == [1]


async def test_a_history_that_fails_gives_no_turn(tmp_path: Path) -> None:
    """If the past cannot be loaded, the error is raised and the person's next turn is free."""
    async with SQLiteHistory.open(tmp_path / "closed.db") as history:
        pass
    conversations = Conversations(history, history_messages=10)
    for id_ in (1, 2):
        with pytest.raises(HistoryError):
            await ids_continued(conversations, heard(id_))
    assert conversations._people._locks == {}


async def test_the_bot_has_spoken_where_it_answered(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """It has spoken once it answered in that conversation; questions do not count."""
    await history.append([asked(1), asked(2, conversation="milk")])
    assert not await conversations.has_spoken("tea")
    await history.append([answered(3, parent_id=1)])
    assert await conversations.has_spoken("tea")
    assert not await conversations.has_spoken("milk")


async def test_a_message_was_answered_if_it_had_its_turn(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """What was stored with its answer needs no other one; what was never stored does."""
    await history.append(line(1))
    assert await conversations.was_answered(heard(1))
    assert not await conversations.was_answered(heard(7))


async def test_a_forgotten_conversation_forgets_its_turns(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """A turn that is under way when its conversation is forgotten stores nothing; others do."""
    await history.append(line(1))
    async with (
        turn_of(conversations, heard(5)) as turn,
        turn_of(conversations, heard(6, conversation="milk")) as elsewhere,
    ):
        assert await conversations.forget("tea") == 2
        await turn.commit([asked(5), answered(7, parent_id=5)])
        await elsewhere.commit([asked(6, conversation="milk")])
    assert await history.recent("tea", 10) == ()
    assert await history.recent("milk", 10) == (asked(6, conversation="milk"),)


class Person:
    """Somebody whose messages are dealt with in tasks of their own, as front ends do it. `turns`
    are those that they have got; each lasts until `may_end` is set, and is then committed."""

    def __init__(self, conversations: Conversations) -> None:
        self.conversations = conversations
        self.turns: list[Turn] = []
        self.may_end = asyncio.Event()
        self._has_more = asyncio.Event()

    async def has_turns(self, count: int) -> None:
        """Wait until they have had so many turns."""
        while len(self.turns) < count:
            self._has_more.clear()
            await self._has_more.wait()

    async def say(self, message: IncomingMessage) -> None:
        """Take the turn of a message."""
        async with self.conversations.take_turn(message) as turn:
            if turn is None:
                return
            self.turns.append(turn)
            self._has_more.set()
            turn.open_answer(message.id + 500)
            try:
                await self.may_end.wait()
            finally:
                # As an answer that was stopped: what there is of it is kept.
                question = asked(message.id, author=message.author)
                await turn.commit([question, answered(message.id + 500, parent_id=message.id)])


async def is_cancelled(task: asyncio.Task[None]) -> bool:
    """Wait for the end of a task and tell whether it was cancelled."""
    await asyncio.wait([task])
    return task.cancelled()


async def test_who_is_withdrawn_is_stopped_and_not_stored(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """All turns of a person end, wherever they are, and so does what waits for one; nothing of
    them is stored. Others go on."""
    ada, ben = Person(conversations), Person(conversations)
    messages = (heard(1), heard(2), heard(3, conversation="milk"))
    stopped = [asyncio.create_task(ada.say(message)) for message in messages]
    going_on = asyncio.create_task(ben.say(heard(4, author=BEN)))
    await ada.has_turns(2)  # the other one waits
    await ben.has_turns(1)
    async with conversations.withdrawing("17"):
        assert [await is_cancelled(task) for task in stopped] == [True, True, True]
    assert all(turn.is_withdrawn for turn in ada.turns)
    assert len(ada.turns) == 2
    ben.may_end.set()
    await going_on
    assert [said.id for said in await history.recent("tea", 10)] == [4, 504]
    assert await history.recent("milk", 10) == ()


async def test_who_is_being_withdrawn_begins_nothing(conversations: Conversations) -> None:
    """Until the block is left, what the person says waits; others need not."""
    async with conversations.withdrawing("17"):
        waiting = asyncio.create_task(ids_continued(conversations, heard(5)))
        await everyone_has_moved(conversations)
        await ids_continued(conversations, heard(6, author=BEN))
        assert not waiting.done()
    assert await waiting == []


async def test_who_withdraws_waits_for_what_is_being_stored() -> None:
    """What was on its way into the store when the person was withdrawn is there when the block
    begins, so that it can be removed."""
    history = SteppedHistory()
    conversations = Conversations(history, history_messages=10)
    ada = Person(conversations)
    answering = asyncio.create_task(ada.say(heard(1)))
    await ada.has_turns(1)
    history.before.clear()
    storing = asyncio.create_task(ada.turns[0].commit([asked(1)]))
    withdrawing = asyncio.create_task(_withdraw(conversations, history))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not withdrawing.done()
    history.before.set()
    assert await withdrawing == [1]
    assert await is_cancelled(answering)
    await storing
    assert list(history.messages) == [1]


async def _withdraw(conversations: Conversations, history: SteppedHistory) -> list[int]:
    async with conversations.withdrawing("17"):
        return list(history.messages)


async def test_a_second_withdrawal_does_not_cancel_again(conversations: Conversations) -> None:
    """Who is stopped has the time to say so, even if they are withdrawn twice."""
    saying_so, may_end = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        async with conversations.take_turn(heard(1)):
            try:
                await asyncio.Event().wait()
            finally:
                saying_so.set()
                await may_end.wait()

    task = asyncio.create_task(answer())
    await everyone_has_moved(conversations)
    for _ in range(2):
        async with conversations.withdrawing("17"):
            await saying_so.wait()
            await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    assert await is_cancelled(task)


async def test_a_withdrawal_spares_who_asks_for_it(conversations: Conversations) -> None:
    """A turn in the course of which its own person is withdrawn runs on, and stores nothing."""
    async with turn_of(conversations, heard(1)) as turn, conversations.withdrawing("17"):
        pass
    assert turn.is_withdrawn


async def test_whoever_hears_a_withdrawn_message_stops(conversations: Conversations) -> None:
    """A task that only looks whether a message needs an answer is stopped as well."""

    async def look() -> None:
        with conversations.hearing(heard(1)):
            await asyncio.Event().wait()

    looking = asyncio.create_task(look())
    await everyone_has_moved(conversations)
    async with conversations.withdrawing("18"):
        assert not looking.done()
    await conversations.withdraw_message(1)
    assert await is_cancelled(looking)


async def test_a_withdrawn_message_stops_its_turn_alone(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """The turn of that message ends and stores nothing; the person's others stay."""
    ada = Person(conversations)
    messages = (heard(1, conversation="milk"), heard(2))
    tasks = [asyncio.create_task(ada.say(message)) for message in messages]
    await ada.has_turns(2)
    await conversations.withdraw_message(1)
    assert await is_cancelled(tasks[0])
    ada.may_end.set()
    assert not await is_cancelled(tasks[1])
    assert await history.recent("tea", 10) == (asked(2), answered(502, parent_id=2))


async def test_a_forgotten_conversation_is_not_withdrawn(conversations: Conversations) -> None:
    """Whose conversation was forgotten still sees the answer."""
    async with turn_of(conversations, heard(1)) as turn:
        await conversations.forget("tea")
        assert not turn.is_withdrawn


async def test_an_answer_that_is_being_written_can_be_stopped(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """It is known by each of its messages, with who asked for it; what there is of it is kept."""
    ada = Person(conversations)
    task = asyncio.create_task(ada.say(heard(1)))
    await ada.has_turns(1)
    ada.turns[0].open_answer(502)
    assert [{*conversations.askers_of(id_)} for id_ in (1, 501, 502)] == [set(), {"17"}, {"17"}]
    conversations.stop(1)
    assert not task.cancelling()
    conversations.stop(502)
    assert await is_cancelled(task)
    assert not conversations.askers_of(501)
    assert len(await history.recent("tea", 10)) == 2


async def test_a_turn_can_be_taken_up_about_something_else(conversations: Conversations) -> None:
    """It waits for the person's own turn as any other, and learns only then what it is about."""
    context = Context(line(1), is_branch=True)
    loaded: list[int] = []

    async def load() -> tuple[tuple[IncomingMessage, ...], Context]:
        loaded.append(1)
        return (heard(7),), context

    async def take_up() -> Context:
        async with conversations.take_up(("tea", ADA.id), load) as turn:
            return turn.context

    async with turn_of(conversations, heard(5)):
        waiting = asyncio.create_task(take_up())
        await everyone_has_moved(conversations)
        assert not waiting.done()
        assert not loaded
    assert await waiting is context


async def test_a_turn_aside_waits_for_nobody(
    history: SQLiteHistory, conversations: Conversations
) -> None:
    """It knows nothing of what was said, goes on beside the person's others, and is withdrawn with
    them."""
    await history.append(line(1))
    async with (
        turn_of(conversations, heard(5)),
        conversations.take_aside(heard(7)) as aside,
        conversations.withdrawing("17"),
    ):
        assert aside.context == Context(())
        assert aside.is_withdrawn


async def test_what_is_known_of_a_forgotten_turn_is_not_stored_either(
    history: SQLiteHistory, conversations: Conversations, tmp_path: Path
) -> None:
    """A new answer in the place of a former one, and the record of it, are stored like a turn
    itself: not once it was forgotten."""
    await history.append(line(1))
    record = record_of(2, question_id=1)
    async with (
        SQLiteRecords.open(tmp_path / "records.db") as records,
        turn_of(conversations, heard(5)) as turn,
    ):
        await turn.renew(structs.replace(line(1)[1], text="Once more."))
        await turn.record(records.answers, record)
        turn.forget()
        await turn.renew(structs.replace(line(1)[1], text="Never."))
        await turn.record(records.answers, structs.replace(record, id=3))
        assert await records.answers.of("17") == (record,)
    assert [said.text for said in await history.recent("tea", 10)] == ["Hello?", "Once more."]
