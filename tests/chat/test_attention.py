"""Which messages deserve an answer."""

import pytest
from tests.fakes.talk import heard

from acore_bot.chat.attention import Decision, decide


@pytest.mark.parametrize("text", ["", " ", "\n\t\u2003"])
def test_saying_nothing_is_not_answered(text: str) -> None:
    """A message without a word, such as a picture alone, gets no answer, not even in private."""
    message = heard(1, text, is_private=True, mentions_bot=True)
    assert decide(message) == Decision(answers=False, reason="nothing was said")


def test_everything_said_in_private_is_answered() -> None:
    """In a private conversation nobody needs to call the bot by its name."""
    message = heard(1, is_private=True, mentions_bot=False)
    assert decide(message) == Decision(answers=True, reason="said in a private conversation")


def test_among_others_a_mention_is_answered() -> None:
    """Where several people talk, what is said to the bot is answered."""
    message = heard(1, is_private=False, mentions_bot=True)
    assert decide(message) == Decision(answers=True, reason="the bot was mentioned")


def test_what_people_say_to_each_other_is_left_alone() -> None:
    """Where several people talk, the bot stays out of what is not said to it."""
    message = heard(1, is_private=False, mentions_bot=False)
    assert decide(message) == Decision(answers=False, reason="not said to the bot")
