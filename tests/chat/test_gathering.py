"""Rapid messages of one person become one turn, and none of them is lost or answered twice."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs
from tests.fakes.plain_history import PlainHistory
from tests.fakes.talk import ADA, BEN, a_file, answered, asked, heard, line

from acore_bot.chat.conversation import Conversations
from acore_bot.chat.gathering import MAX_GATHERED, NO_PATIENCE, Patience
from acore_bot.messages import Author, IncomingMessage

PATIENCE = Patience(pause_seconds=2, longest_seconds=5)
NEVER = 1_000_000.0


class HeldTime:
    """Time that stands still until a test lets it pass; sleepers wake one after the other."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def clock(self) -> float:
        """Tell the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Sleep until so much time was let pass."""
        wakes = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), wakes))
        await wakes.wait()

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and everyone go on as far as they can at each moment."""
        until = self.now + seconds
        await everyone_has_moved()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now, _, wakes = heapq.heappop(self._sleepers)
            wakes.set()
            await everyone_has_moved()
        self.now = until


async def everyone_has_moved() -> None:
    """Let every task run until it waits: nothing here waits for more than others' tasks."""
    for _ in range(40):
        await asyncio.sleep(0)


class Talk:
    """Conversations at a time that stands, and the turns that were taken in them, in order.

    A turn lasts `answer_seconds`. `taken_along` are the messages that had no turn of their own.
    """

    def __init__(self, patience: Patience = PATIENCE, *, answer_seconds: float = 0) -> None:
        self.time = HeldTime()
        self.history = PlainHistory()
        self.conversations = Conversations(
            self.history,
            history_messages=10,
            patience=patience,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )
        self.answer_seconds = answer_seconds
        self.turns: list[tuple[IncomingMessage, ...]] = []
        self.began_at: list[float] = []
        self.pasts: list[list[int]] = []
        self.taken_along: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def taken(self) -> list[tuple[int, ...]]:
        """The ids of each turn's messages."""
        return [tuple(message.id for message in messages) for messages in self.turns]

    async def say(self, *messages: IncomingMessage) -> None:
        """Let messages arrive, one after the other, at the same moment."""
        for message in messages:
            self.tasks[message.id] = asyncio.create_task(self._hear(message))
            await everyone_has_moved()

    async def withdraw(self, id_: int) -> None:
        """Cancel what a message called for."""
        self.tasks[id_].cancel()
        await everyone_has_moved()

    async def end(self) -> None:
        """Let everything come to its end, and see that nobody is left and nothing remembered."""
        await self.time.pass_by(NEVER)
        assert all(task.done() for task in self.tasks.values())
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert self.conversations._gatherings._open == {}
        assert self.conversations._people._locks == {}
        assert self.conversations._open_turns == {}

    async def aclose(self) -> None:
        """Stop whoever a failed test left behind."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _hear(self, message: IncomingMessage) -> None:
        async with self.conversations.take_turn(message) as turn:
            if turn is None:
                self.taken_along.append(message.id)
                return
            self.turns.append(turn.messages)
            self.began_at.append(self.time.now)
            self.pasts.append([said.id for said in turn.context.said])
            if self.answer_seconds:
                await self.time.sleep(self.answer_seconds)
            await turn.commit(
                [asked(one.id, conversation=one.conversation) for one in turn.messages]
            )


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    """People who pause for two seconds at most, and for five from the first word on."""
    talking = Talk()
    yield talking
    try:
        await talking.end()
    finally:
        await talking.aclose()


async def test_a_message_alone_waits_for_the_next_one(talk: Talk) -> None:
    """It has its turn when its author has paused, and not before."""
    await talk.say(heard(1))
    await talk.time.pass_by(1.9)
    assert talk.taken == []
    await talk.time.pass_by(0.1)
    assert talk.taken == [(1,)]


async def test_rapid_messages_become_one_turn(talk: Talk) -> None:
    """Each message starts the pause anew; the newest takes all along, in order, and the others end
    when it does."""
    for id_ in (1, 2, 3):
        await talk.say(heard(id_))
        await talk.time.pass_by(1.5)
    assert talk.taken == []
    assert talk.taken_along == []
    await talk.time.pass_by(0.5)
    assert talk.taken == [(1, 2, 3)]
    assert sorted(talk.taken_along) == [1, 2]
    assert talk.began_at == [5.0]


async def test_each_is_answered_by_its_newest_words(talk: Talk) -> None:
    """What is edited while its author goes on speaking is taken along as it is by then, and nothing
    is remembered of it afterwards."""
    await talk.say(heard(1, "tpyo"), heard(2))
    assert talk.conversations.reword(1, "tipo")
    assert talk.conversations.reword(1, "typo")
    await talk.time.pass_by(2)
    assert [[one.text for one in turn] for turn in talk.turns] == [["typo", "Hello?"]]
    assert not talk.conversations.reword(1, "late")
    assert talk.conversations._rewordings == {}


async def test_after_a_pause_a_turn_begins_anew(talk: Talk) -> None:
    """What comes after the pause is another thought."""
    await talk.say(heard(1))
    await talk.time.pass_by(2)
    await talk.say(heard(2))
    await talk.time.pass_by(2)
    assert talk.taken == [(1,), (2,)]


async def test_nobody_waits_longer_than_the_longest(talk: Talk) -> None:
    """Who never pauses is answered all the same, five seconds after the first word."""
    for id_ in range(1, 9):
        await talk.say(heard(id_))
        await talk.time.pass_by(1)
    assert talk.taken == [(1, 2, 3, 4, 5)]
    assert talk.began_at == [5.0]


async def test_a_file_is_the_end_of_a_thought(talk: Talk) -> None:
    """A message with a file is answered at once, with all that came before it."""
    await talk.say(heard(1), heard(2), heard(3, attachments=(a_file(),)))
    assert talk.taken == [(1, 2, 3)]
    assert talk.began_at == [0]


async def test_a_reply_begins_anew(talk: Talk) -> None:
    """A reply says what it continues, so it is answered apart from what was said before, after it;
    what is said next belongs to it."""
    await talk.history.append(line(2, first_id=1))
    await talk.say(heard(11), heard(12, reply_to=2), heard(13))
    await talk.time.pass_by(2)
    assert talk.taken == [(11,), (12, 13)]
    assert talk.pasts[1] == [1, 2]


async def test_what_was_missed_is_answered_alone(talk: Talk) -> None:
    """What was said while the bot was away waits for nothing and takes nothing along."""
    await talk.say(heard(5), heard(1, is_late=True), heard(2, is_late=True))
    assert talk.taken == [(1,), (2,)]
    await talk.say(heard(6))
    await talk.time.pass_by(2)
    assert talk.taken == [(1,), (2,), (5, 6)]


async def test_only_so_many_are_gathered(talk: Talk) -> None:
    """What is more than can be gathered becomes the next turn."""
    await talk.say(*(heard(id_) for id_ in range(1, MAX_GATHERED + 3)))
    await talk.time.pass_by(2)
    assert [len(ids) for ids in talk.taken] == [MAX_GATHERED, 2]
    assert [id_ for ids in talk.taken for id_ in ids] == [*range(1, MAX_GATHERED + 3)]


async def test_two_people_are_never_gathered_together(talk: Talk) -> None:
    """Who speaks, and where, is kept apart, however they speak in between each other."""
    await talk.say(
        heard(1),
        heard(2, author=BEN),
        heard(3, conversation="milk"),
        heard(4),
        heard(5, author=BEN),
    )
    await talk.time.pass_by(2)
    assert sorted(talk.taken) == [(1, 4), (2, 5), (3,)]


async def test_messages_that_overtook_each_other_stand_in_order(talk: Talk) -> None:
    """The network may turn two messages round; their ids tell which was said first."""
    await talk.say(heard(2), heard(1))
    await talk.time.pass_by(2)
    assert talk.taken == [(1, 2)]


async def test_without_patience_each_is_answered_alone() -> None:
    """Nothing waits and nothing is gathered, also while an answer is being written."""
    talk = Talk(NO_PATIENCE, answer_seconds=1)
    await talk.say(heard(1), heard(2), heard(3))
    await talk.end()
    assert talk.taken == [(1,), (2,), (3,)]
    assert talk.taken_along == []
    assert talk.began_at == [0, 1, 2]


async def test_what_comes_during_an_answer_is_one_turn_afterwards() -> None:
    """However long the author's last answer takes, what is said meanwhile is one turn, which begins
    when it is over and sees it; the longest wait is over by then."""
    talk = Talk(answer_seconds=60)
    await talk.say(heard(1))
    await talk.time.pass_by(10)
    for id_ in (2, 3, 4):
        await talk.say(heard(id_))
        await talk.time.pass_by(10)
    assert talk.taken == [(1,)]
    await talk.end()
    assert talk.taken == [(1,), (2, 3, 4)]
    assert talk.began_at == [2, 62]
    assert talk.pasts == [[], [1]]


async def test_the_last_word_during_an_answer_is_waited_for() -> None:
    """If the author is not done when the last answer is, the pause is waited for."""
    talk = Talk(answer_seconds=10)
    await talk.say(heard(1))
    await talk.time.pass_by(9)
    await talk.say(heard(2))
    await talk.time.pass_by(2.5)
    await talk.say(heard(3))
    await talk.end()
    assert talk.taken == [(1,), (2, 3)]
    assert talk.began_at == [2, 13.5]


async def test_who_answers_another_is_not_waited_for() -> None:
    """An answer to one person holds up no other."""
    talk = Talk(answer_seconds=60)
    await talk.say(heard(1), heard(2, author=BEN))
    await talk.time.pass_by(2)
    assert sorted(talk.taken) == [(1,), (2,)]
    await talk.end()


@pytest.mark.parametrize(
    ("withdrawn", "taken", "at"), [(1, (2, 3), 3), (2, (1, 3), 3), (3, (1, 2), 2.5)]
)
async def test_a_withdrawn_message_loses_no_other(
    talk: Talk, withdrawn: int, taken: tuple[int, ...], at: float
) -> None:
    """Whichever is cancelled while it waits, first, middle or newest, the others are answered
    together, and it is not."""
    for id_ in (1, 2, 3):
        await talk.say(heard(id_))
        await talk.time.pass_by(0.5)
    await talk.withdraw(withdrawn)
    await talk.end()
    assert talk.taken == [taken]
    assert talk.began_at == [at]


async def test_who_waits_for_a_newer_one_takes_its_place(talk: Talk) -> None:
    """If the newest is withdrawn after the others have paused, the newest of these goes on at
    once."""
    await talk.say(heard(1))
    await talk.time.pass_by(1.5)
    await talk.say(heard(2))
    await talk.time.pass_by(1.5)
    assert talk.taken == []
    await talk.withdraw(2)
    assert talk.taken == [(1,)]
    assert talk.began_at == [3]


async def test_a_message_withdrawn_during_an_answer_loses_no_other() -> None:
    """The same holds for those that wait for the author's last answer."""
    talk = Talk(answer_seconds=60)
    await talk.say(heard(1))
    await talk.time.pass_by(2)
    await talk.say(heard(2), heard(3), heard(4))
    await talk.time.pass_by(10)
    await talk.withdraw(4)
    await talk.withdraw(2)
    await talk.end()
    assert talk.taken == [(1,), (3,)]


async def test_a_turn_that_fails_answers_none_twice(talk: Talk) -> None:
    """If the past cannot be loaded, the newest meets the error, and those that it took along are
    done with; the next turn is free."""
    await talk.history.append([asked(2)])  # so that the commit fails
    await talk.say(heard(1), heard(2))
    await talk.time.pass_by(2)
    await everyone_has_moved()
    assert talk.taken_along == [1]
    assert talk.tasks[2].exception() is not None
    await talk.say(heard(3))
    await talk.time.pass_by(2)
    assert talk.taken == [(1, 2), (3,)]


async def test_all_withdrawn_is_nothing_said(talk: Talk) -> None:
    """If all are cancelled, nobody is answered and what comes next begins anew."""
    await talk.say(heard(1), heard(2))
    await talk.withdraw(1)
    await talk.withdraw(2)
    assert talk.conversations._gatherings._open == {}
    await talk.say(heard(3))
    await talk.end()
    assert talk.taken == [(3,)]


async def test_a_reply_to_an_open_answer_is_one_turn_with_what_follows() -> None:
    """Ben replies to what Ada is still being told, in two messages: they wait for it together."""
    talk = Talk()
    async with talk.conversations.take_turn(heard(1, attachments=(a_file(),))) as turn:
        assert turn is not None
        turn.open_answer(2)
        await talk.say(heard(5, author=BEN, reply_to=2), heard(6, author=BEN))
        await talk.time.pass_by(10)
        assert talk.taken == []
        await turn.commit([asked(1), answered(2, parent_id=1)])
    await talk.end()
    assert talk.taken == [(5, 6)]
    assert talk.pasts == [[1, 2]]


async def test_a_message_withdrawn_while_an_answer_is_waited_for_loses_no_other() -> None:
    """Of those that wait together for what one replies to, the newest can leave alone."""
    talk = Talk()
    async with talk.conversations.take_turn(heard(1, attachments=(a_file(),))) as turn:
        assert turn is not None
        turn.open_answer(2)
        await talk.say(heard(5, author=BEN, reply_to=2), heard(6, author=BEN))
        await talk.time.pass_by(10)
        await talk.say(heard(7, author=BEN))
        await talk.withdraw(6)
        await talk.withdraw(7)
    await talk.end()
    assert talk.taken == [(5,)]


class Step(Struct, frozen=True):
    """What happens after a while: somebody says something, or an earlier message is withdrawn."""

    after: float
    author: Author
    conversation: str
    kind: str


WHO = {"author": st.sampled_from([ADA, BEN]), "conversation": st.sampled_from(["tea", "milk"])}
AFTER = st.sampled_from([0, 0, 0.5, 1, 2, 3, 7])
PLAIN_STEPS = st.builds(Step, after=AFTER, kind=st.sampled_from(["plain", "plain", "reply"]), **WHO)
KINDS = ["plain", "plain", "reply", "file", "late", "withdraw"]
STEPS = st.builds(Step, after=AFTER, kind=st.sampled_from(KINDS), **WHO)
PATIENCES = st.builds(
    Patience,
    pause_seconds=st.sampled_from([0, 0.5, 2]),
    longest_seconds=st.sampled_from([0, 1, 5]),
)


def said_in(step: Step, id_: int) -> IncomingMessage:
    """Make the message of a step."""
    message = heard(id_, author=step.author, conversation=step.conversation)
    match step.kind:
        case "reply":
            return structs.replace(message, reply_to=max(id_ // 2, 1))
        case "file":
            return structs.replace(message, attachments=(a_file(),))
        case "late":
            return structs.replace(message, is_late=True)
        case _:
            return message


async def played(talk: Talk, steps: Sequence[Step]) -> tuple[list[int], list[int]]:
    """Play steps to the end; return the ids that were said, and those that were withdrawn before
    they were done."""
    said: list[int] = []
    withdrawn: list[int] = []
    for id_, step in enumerate(steps, start=1):
        await talk.time.pass_by(step.after)
        if step.kind != "withdraw":
            said.append(id_)
            await talk.say(said_in(step, id_))
        elif said and not talk.tasks[target := said[-1 - id_ % min(3, len(said))]].done():
            withdrawn.append(target)
            await talk.withdraw(target)
    await talk.end()
    return said, withdrawn


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=25), patience=PATIENCES, seconds=st.sampled_from([0, 1, 3, 20])
)
async def test_every_message_is_taken_once(
    steps: list[Step], patience: Patience, seconds: float
) -> None:
    """However messages arrive and are withdrawn, each one that was not withdrawn is in one turn,
    each withdrawn one in one at most; a turn is of one person in one conversation, in order."""
    talk = Talk(patience, answer_seconds=seconds)
    try:
        said, withdrawn = await played(talk, steps)
    finally:
        await talk.aclose()
    taken = [id_ for ids in talk.taken for id_ in ids]
    assert len(set(taken)) == len(taken)
    assert set(said) - set(withdrawn) <= set(taken) <= set(said)
    assert sorted(talk.taken_along) == sorted(
        id_ for *others, _ in talk.taken for id_ in others if id_ not in withdrawn
    )
    for messages in talk.turns:
        assert len({(message.author, message.conversation) for message in messages}) == 1
        assert [m.id for m in messages] == sorted(m.id for m in messages)
        assert all(message.reply_to is None for message in messages[1:])
        assert len(messages) == 1 or not any(message.is_late for message in messages)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(PLAIN_STEPS, max_size=30),
    patience=PATIENCES,
    seconds=st.sampled_from([0, 1, 3, 20]),
)
async def test_a_person_is_answered_in_order(
    steps: list[Step], patience: Patience, seconds: float
) -> None:
    """What one person says in one conversation is answered in the order in which it was said."""
    talk = Talk(patience, answer_seconds=seconds)
    try:
        said, _ = await played(talk, steps)
    finally:
        await talk.aclose()
    order: dict[tuple[str, str], list[int]] = {}
    for messages in talk.turns:
        for message in messages:
            order.setdefault((message.author.id, message.conversation), []).append(message.id)
    assert sum(map(len, order.values())) == len(said)
    assert all(ids == sorted(ids) for ids in order.values())


async def test_a_message_that_is_withdrawn_is_not_taken_along(talk: Talk) -> None:
    """Who takes the others along just then leaves it out, though its task has not noticed yet."""
    await talk.say(heard(1))
    await talk.say(heard(2))
    talk.time.now += 2  # the second one's pause is over, and it will move before the first
    talk.time._sleepers[-1][-1].set()
    await talk.conversations.withdraw_message(1)
    await everyone_has_moved()
    assert talk.taken == [(2,)]
    assert talk.tasks[1].cancelled()


async def test_a_message_that_was_taken_along_stops_the_turn() -> None:
    """What is answered together is stopped together: the answer would still be to it."""
    talk = Talk(answer_seconds=10)
    await talk.say(heard(1), heard(2))
    await talk.time.pass_by(2)
    assert talk.taken == [(1, 2)]
    await talk.conversations.withdraw_message(1)
    await talk.end()
    assert talk.tasks[2].cancelled()
    assert talk.history.messages == {}


async def test_all_that_a_person_says_is_withdrawn(talk: Talk) -> None:
    """What waits for the next message is withdrawn as well, and nobody else's."""
    await talk.say(heard(1), heard(2), heard(3, author=BEN))
    async with talk.conversations.withdrawing("17"):
        pass
    await talk.time.pass_by(2)
    assert talk.taken == [(3,)]
