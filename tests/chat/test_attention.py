"""Which messages deserve an answer, and by which rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.talk import a_file, heard

from acore_bot.chat.attention import DEFAULT_RULES, Decision, Rules, decide, may_belong
from acore_bot.messages import IncomingMessage, Quote

FORWARD = Quote(kind="forward", text="Look at this.")

MESSAGES = st.builds(
    heard,
    st.just(1),
    st.sampled_from(["Hello?", "", "#ignore me", "Acore, hello!"]),
    is_private=st.booleans(),
    is_thread=st.booleans(),
    mentions_bot=st.booleans(),
    replies_to_bot=st.booleans(),
    addresses_others=st.booleans(),
    author_is_bot=st.booleans(),
    attachments=st.sampled_from([(), (a_file(),)]),
)
RULES = st.builds(
    Rules,
    replies=st.booleans(),
    threads=st.booleans(),
    names=st.sampled_from([(), ("Acore",)]),
    bots=st.booleans(),
)


def among_others(text: str = "Hello?", **changes: bool) -> IncomingMessage:
    """Make a message where several people talk."""
    return structs.replace(heard(1, text, is_private=False), **changes)


@pytest.mark.parametrize("text", ["", " ", "\n\t\u2003"])
def test_saying_nothing_is_not_answered(text: str) -> None:
    """A message that brings nothing at all gets no answer, not even in private."""
    message = heard(1, text, is_private=True, mentions_bot=True)
    assert decide(message) == Decision(answers=False, reason="nothing was said")


@pytest.mark.parametrize(
    "message", [heard(1, "", attachments=(a_file(),)), heard(1, " ", quotes=(FORWARD,))]
)
def test_a_message_without_a_word_may_say_something(message: IncomingMessage) -> None:
    """A file, or a forwarded message, is answered without a word beside it."""
    assert decide(message).answers


def test_everything_said_in_private_is_answered() -> None:
    """In a private conversation nobody needs to call the bot by its name."""
    message = heard(1, is_private=True, mentions_bot=False)
    assert decide(message) == Decision(answers=True, reason="said in a private conversation")


def test_among_others_a_mention_is_answered() -> None:
    """Where several people talk, what is said to the bot is answered, whoever else is mentioned."""
    expected = Decision(answers=True, reason="the bot was mentioned")
    assert decide(among_others(mentions_bot=True)) == expected
    assert decide(among_others(mentions_bot=True, addresses_others=True)) == expected


def test_what_people_say_to_each_other_is_left_alone() -> None:
    """Where several people talk, the bot stays out of what is not said to it."""
    assert decide(among_others()) == Decision(answers=False, reason="not said to the bot")


def test_a_reply_to_the_bot_is_answered() -> None:
    """Who replies to the bot need not mention it, unless the owner wants it so."""
    message = among_others(replies_to_bot=True)
    assert decide(message) == Decision(answers=True, reason="a reply to the bot")
    assert not decide(message, Rules(replies=False)).answers


def test_in_its_thread_the_bot_answers() -> None:
    """In a thread where it has spoken it needs no mention, unless the owner wants it so."""
    message = among_others(is_thread=True)
    assert decide(message, has_spoken_here=True) == Decision(
        answers=True, reason="said in a thread to which the bot belongs"
    )
    assert not decide(message, Rules(threads=False), has_spoken_here=True).answers
    assert not decide(message, has_spoken_here=False).answers


def test_having_spoken_in_a_channel_means_nothing() -> None:
    """A channel is everyone's: that the bot spoke there does not make it answer what follows."""
    assert not decide(among_others(), has_spoken_here=True).answers


@pytest.mark.parametrize("where", [{"is_thread": True}, {"replies_to_bot": True}, {}])
def test_what_is_said_to_somebody_else_is_left_alone(where: dict[str, bool]) -> None:
    """Who mentions somebody else does not speak to the bot: not in its thread, not in a reply to
    it, not if its name is dropped."""
    message = among_others("Acore is nice.", addresses_others=True, **where)
    decision = decide(message, Rules(names=("Acore",)), has_spoken_here=True)
    assert decision == Decision(answers=False, reason="said to somebody else")


@pytest.mark.parametrize("text", ["Acore?", "hey ACORE, hello", "(acore)", "Well,acore", "C++!"])
def test_a_name_calls_the_bot(text: str) -> None:
    """One of its names, as a word of its own in whatever letters, is as good as a mention."""
    decision = decide(among_others(text), Rules(names=("Acore", "C++")))
    assert decision == Decision(answers=True, reason="the bot was called by its name")


@pytest.mark.parametrize(
    "text", ["Acoreless", "macore", "acore_bot", "A core", "C+", "zażółćacore"]
)
def test_a_name_within_a_word_calls_nobody(text: str) -> None:
    """Letters that happen to be a name, or a pattern that would match one, are no call."""
    assert not decide(among_others(text), Rules(names=("Acore", "C++"))).answers


def test_without_names_nobody_is_called() -> None:
    """The bot has no name unless its owner gives it one; an empty one is none."""
    assert not decide(among_others("Acore?")).answers
    assert not decide(among_others("Well, yes. "), Rules(names=("",))).answers


def test_bots_are_not_answered() -> None:
    """Bots that answer each other never end, so only the owner can allow them."""
    message = heard(1, is_private=True, mentions_bot=True, author_is_bot=True)
    assert decide(message) == Decision(answers=False, reason="said by a bot")
    assert decide(message, Rules(bots=True)).answers


@pytest.mark.parametrize("text", ["#ignore this", "  #Ignore", "#IGNORE\nall"])
def test_what_is_marked_is_ignored(text: str) -> None:
    """Who begins with the mark is not answered, in private and with a mention neither."""
    decision = decide(heard(1, text, mentions_bot=True, attachments=(a_file(),)))
    assert decision == Decision(answers=False, reason="begins with #ignore")
    assert decide(heard(1, f"Do not {text}")).answers


@settings(max_examples=300, deadline=None)
@given(message=MESSAGES, rules=RULES)
def test_the_past_is_asked_for_whenever_it_decides(message: IncomingMessage, rules: Rules) -> None:
    """Where what the bot said before would change the decision, it is told beforehand to look; and
    having spoken never silences it."""
    without, with_past = (decide(message, rules, has_spoken_here=spoke) for spoke in (False, True))
    assert without == with_past or may_belong(message, rules)
    assert with_past.answers or not without.answers


@settings(max_examples=300, deadline=None)
@given(message=MESSAGES, rules=RULES, has_spoken=st.booleans())
def test_every_decision_has_a_reason(
    message: IncomingMessage, rules: Rules, has_spoken: bool
) -> None:
    """Whether it answers or not, the owner can be told why; and what is allowed can only add
    answers."""
    decision = decide(message, rules, has_spoken_here=has_spoken)
    assert decision.reason
    all_allowed = Rules(names=("Acore",), bots=True)
    assert not decision.answers or decide(message, all_allowed, has_spoken_here=has_spoken).answers


def test_who_goes_on_speaking_to_the_bot_is_answered() -> None:
    """What follows a message to the bot at once belongs to it, unless it is for somebody else."""
    assert decide(among_others(), is_going_on=True).answers
    assert not decide(among_others(addresses_others=True), is_going_on=True).answers
    assert not decide(among_others("#ignore me"), is_going_on=True).answers


def test_a_mention_spares_the_look_into_the_past() -> None:
    """What is answered anyhow, or said outside of threads, reads no history."""
    assert may_belong(among_others(is_thread=True))
    assert not may_belong(among_others(is_thread=True, mentions_bot=True))
    assert not may_belong(among_others(is_thread=True), Rules(threads=False))
    assert not may_belong(among_others(), DEFAULT_RULES)
