"""Thinking between tags becomes reasoning, and nothing else does."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.providers.thinking import ThinkingFilter


def split(pieces: list[str]) -> tuple[str, str]:
    """Return the text and the reasoning of an answer that comes in these pieces."""
    thinking = ThinkingFilter()
    parts = [*(thinking.feed(piece) for piece in pieces), thinking.close()]
    return "".join(text for text, _ in parts), "".join(reasoning for _, reasoning in parts)


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        ("Hello.", "Hello.", ""),
        ("", "", ""),
        ("  Hello.", "  Hello.", ""),
        ("<think>Hm.</think>Hello.", "Hello.", "Hm."),
        ("<thinking>Hm.</thinking>Hello.", "Hello.", "Hm."),
        (" \n<think>\nHm.\n</think>\n\n Hello.", "Hello.", "\nHm.\n"),
        ("<think></think>\n", "", ""),
        ("<think>Hm. <b", "", "Hm. <b"),
        ("<think>Hm.</thi", "", "Hm.</thi"),
        ("<think>a</thinking>b</think>c", "c", "a</thinking>b"),
        ("<think>a</think><think>b</think>", "<think>b</think>", "a"),
        ("```\n<think>x</think>\n```", "```\n<think>x</think>\n```", ""),
        ("Use <think>.", "Use <think>.", ""),
        ("<thi", "<thi", ""),
        ("<thin ice>", "<thin ice>", ""),
        ("  ", "  ", ""),
    ],
)
def test_only_tags_at_the_start_hold_reasoning(answer: str, text: str, reasoning: str) -> None:
    """The first tag opens the thinking, its own closing tag ends it, and later tags are text."""
    assert split([answer]) == (text, reasoning)
    assert split(list(answer)) == (text, reasoning)


answers = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<thinking>", "</thinking>", "<", "</", "thi", ">", " ", "\n", "a"]
    ),
    max_size=12,
).map("".join)


@given(answer=answers, cuts=st.lists(st.integers(0, 100), max_size=12))
def test_any_cut_gives_the_same(answer: str, cuts: list[int]) -> None:
    """However an answer is cut into pieces, text and reasoning are the same."""
    edges = [0, *sorted(cut for cut in cuts if cut <= len(answer)), len(answer)]
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges)]
    assert split(pieces) == split([answer])


@given(answer=st.text(max_size=50))
def test_answer_without_tags_is_kept_as_it_is(answer: str) -> None:
    """Nothing is taken from an answer that does not think aloud."""
    assert split(list(answer)) == (answer, "") or answer.lstrip().startswith("<think")


def test_text_is_not_held_back() -> None:
    """As soon as no tag can come any more, text passes at once, and need not be fed."""
    thinking = ThinkingFilter()
    assert thinking.feed("H") == ("H", "")
    assert thinking.settled


def test_reasoning_is_not_held_back() -> None:
    """Reasoning is handed out while it comes, but for what may be the closing tag."""
    thinking = ThinkingFilter()
    assert thinking.feed("<think>Let me see</t") == ("", "Let me see")
    assert thinking.feed("o>") == ("", "</to>")


def test_endless_blanks_are_not_held_for_ever() -> None:
    """More blanks than any answer begins with are text like any other."""
    thinking = ThinkingFilter()
    assert thinking.feed(" " * 1001) == (" " * 1001, "")
    assert split([*" " * 1001, "<think>x"]) == split([" " * 1001 + "<think>x"])
