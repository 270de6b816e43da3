"""Whose turn it is, what a turn continues from, and that nothing is left at rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.talk import BEN, CLEO, answered, asked, heard, line

from acore_bot.chat.conversation import Choice, Choices, Conversations, Turn
from acore_bot.errors import DuplicateMessage, HistoryError
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import IncomingMessage, Message


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
    assert conversations._people._locks == {}
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


DEFAULT = Choice("acore", "scripted/script")


def test_choices_begin_with_the_default() -> None:
    """A conversation that chose nothing has the owner's choice."""
    assert Choices(DEFAULT).of("tea") == DEFAULT


def test_a_choice_is_one_conversations_own() -> None:
    """What one conversation chooses changes no other, and persona and model do not mix."""
    choices = Choices(DEFAULT)
    choices.choose("tea", persona="tutor")
    choices.choose("tea", model="scripted/other")
    choices.choose("tea", persona="storyteller")
    assert choices.of("tea") == Choice("storyteller", "scripted/other")
    assert choices.of("milk") == DEFAULT


def test_the_latest_choices_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, the conversation that chose longest ago has the default again."""
    monkeypatch.setattr("acore_bot.chat.conversation.MAX_CHOICES", 2)
    choices = Choices(DEFAULT)
    for conversation in ("tea", "milk", "tea", "water"):
        choices.choose(conversation, persona="tutor")
    chosen = [choices.of(name).persona for name in ("tea", "milk", "water")]
    assert chosen == ["tutor", "acore", "tutor"]
