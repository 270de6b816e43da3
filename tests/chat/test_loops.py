"""Bots that answer each other come to an end."""

from tests.fakes.talk import ADA, BEN, CLEO, heard

from acore_bot.chat.loops import MAX_CONVERSATIONS, LoopGuard
from acore_bot.messages import Author, IncomingMessage


def said(author: Author, conversation: str = "tea", *, is_bot: bool = False) -> IncomingMessage:
    """Hear somebody in a conversation."""
    return heard(1, author=author, conversation=conversation, author_is_bot=is_bot)


def test_a_bot_gets_one_answer_until_a_person_speaks() -> None:
    """However many bots take turns, one of them is answered, and the next after a person spoke."""
    guard = LoopGuard()
    for _ in range(3):
        answers = []
        for bot in (BEN, CLEO, BEN, CLEO):
            guard.hear(said(bot, is_bot=True))
            answers.append(guard.allows(said(bot, is_bot=True)))
        assert answers == [True, False, False, False]
        guard.hear(said(ADA))


def test_people_are_always_answered() -> None:
    """The guard is for bots alone, and for each conversation by itself."""
    guard = LoopGuard()
    assert guard.allows(said(BEN, is_bot=True))
    assert all(guard.allows(said(ADA)) for _ in range(10))
    assert guard.allows(said(BEN, "milk", is_bot=True))


def test_it_forgets_the_oldest_conversations() -> None:
    """What it remembers is bounded."""
    guard = LoopGuard()
    for number in range(MAX_CONVERSATIONS + 1):
        assert guard.allows(said(BEN, str(number), is_bot=True))
    assert len(guard._answered) == MAX_CONVERSATIONS
    assert guard.allows(said(BEN, "0", is_bot=True))
