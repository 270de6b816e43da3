"""The estimate of tokens: a little high at first, then what servers report."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acore_bot.chat.tokens import (
    HIGHEST_RATE,
    LOWEST_RATE,
    TOKENS_PER_IMAGE,
    TokenEstimator,
    raw_message_tokens,
    raw_tokens,
    raw_total,
)
from acore_bot.messages import ChatMessage, Image

MODEL = "scripted/script"
PROMPT = (ChatMessage("system", "You are Acore."), ChatMessage("user", "How are you today?"))


def test_long_words_count_by_their_letters() -> None:
    """A text of few long words takes its characters / 3.5, and 4 for its role marks."""
    assert raw_tokens("x" * 35) == pytest.approx(14)


def test_short_words_count_by_their_number() -> None:
    """A text of many short words takes its words x 1.35, and 4 for its role marks."""
    assert raw_tokens("a " * 100) == pytest.approx(139)


def test_an_empty_message_still_takes_its_marks() -> None:
    """Each message of a prompt costs something."""
    assert raw_total([ChatMessage("user", ""), ChatMessage("assistant", "")]) == 8


def test_a_picture_counts_apart_from_the_words() -> None:
    """Each picture of a message adds the same, whatever is said with it."""
    images = (Image("image/png", b"1"), Image("image/jpeg", b"2" * 9_999))
    shown, told = (ChatMessage("user", "Look!", shown) for shown in (images, ()))
    assert raw_message_tokens(told) == raw_tokens("Look!")
    assert raw_message_tokens(shown) == raw_tokens("Look!") + 2 * TOKENS_PER_IMAGE
    assert raw_total([shown, told]) == raw_message_tokens(shown) + raw_message_tokens(told)


@settings(max_examples=50, deadline=None)
@given(one=st.text(max_size=300), other=st.text(max_size=300))
def test_merging_messages_never_costs_more(one: str, other: str) -> None:
    """Two messages merged into one are never estimated higher than the two."""
    assert raw_tokens(f"{one}\n\n{other}") <= raw_tokens(one) + raw_tokens(other)


def test_an_unknown_model_is_taken_as_estimated() -> None:
    """Of a model that was never asked, the estimate stands and the window is unknown."""
    estimator = TokenEstimator()
    assert estimator.rate(MODEL) == 1
    assert estimator.context_tokens(MODEL) is None


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.5, 10))
def test_the_rate_follows_what_servers_report(rate: float) -> None:
    """After many reports that agree, the rate is theirs."""
    estimator = TokenEstimator()
    prompt = [ChatMessage("user", "word " * 1_000)]
    for _ in range(60):
        estimator.observe(MODEL, prompt, round(raw_total(prompt) * rate))
    assert estimator.rate(MODEL) == pytest.approx(rate, rel=0.01)


def test_one_report_moves_the_rate_by_a_quarter() -> None:
    """A single report is heard, not obeyed."""
    estimator = TokenEstimator()
    prompt = [ChatMessage("user", "x" * 336)]  # estimated at 100
    estimator.observe(MODEL, prompt, 200)
    assert estimator.rate(MODEL) == pytest.approx(1.25)


@settings(max_examples=50, deadline=None)
@given(reports=st.lists(st.integers(-(10**9), 10**12), max_size=30))
def test_odd_reports_cannot_ruin_the_rate(reports: list[int]) -> None:
    """Whatever servers report, the rate stays where prompts can still be built."""
    estimator = TokenEstimator()
    for tokens in reports:
        estimator.observe(MODEL, PROMPT, tokens)
        estimator.refused(MODEL, PROMPT, tokens if tokens > 0 else None, None)
    assert LOWEST_RATE <= estimator.rate(MODEL) <= HIGHEST_RATE


def test_a_report_of_nothing_is_ignored() -> None:
    """A server that reports no tokens, as some do when they do not count, teaches nothing."""
    estimator = TokenEstimator()
    estimator.observe(MODEL, PROMPT, 0)
    assert estimator.rate(MODEL) == 1


def test_a_refusal_is_believed_at_once() -> None:
    """The figures of a refusal hold from then on, in full."""
    estimator = TokenEstimator()
    prompt = [ChatMessage("user", "x" * 336)]  # estimated at 100
    estimator.refused(MODEL, prompt, 300, 250)
    assert estimator.rate(MODEL) == pytest.approx(3)
    assert estimator.context_tokens(MODEL) == 250


def test_a_refusal_without_figures_forgets_nothing() -> None:
    """What was learned before stays if a refusal tells nothing."""
    estimator = TokenEstimator()
    prompt = [ChatMessage("user", "x" * 336)]  # estimated at 100
    estimator.refused(MODEL, prompt, 300, 250)
    estimator.refused(MODEL, prompt, None, None)
    assert estimator.rate(MODEL) == pytest.approx(3)
    assert estimator.context_tokens(MODEL) == 250


def test_a_report_does_not_forget_the_window() -> None:
    """A window that was named stays known while reports move the rate."""
    estimator = TokenEstimator()
    estimator.refused(MODEL, PROMPT, None, 250)
    estimator.observe(MODEL, PROMPT, 20)
    assert estimator.context_tokens(MODEL) == 250


def test_models_do_not_mix() -> None:
    """What one model teaches says nothing of another."""
    estimator = TokenEstimator()
    estimator.refused(MODEL, PROMPT, 99, 250)
    assert estimator.rate("scripted/other") == 1
    assert estimator.context_tokens("scripted/other") is None


def test_only_so_many_models_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, the model that was heard of longest ago is forgotten."""
    monkeypatch.setattr("acore_bot.chat.tokens.MAX_MODELS", 2)
    estimator = TokenEstimator()
    for model in ("a/a", "b/b", "a/a", "c/c"):
        estimator.refused(model, PROMPT, None, 250)
    assert [estimator.context_tokens(model) for model in ("a/a", "b/b", "c/c")] == [250, None, 250]


def test_an_absurd_window_is_not_believed() -> None:
    """A refusal whose window was misread does not mute the model."""
    estimator = TokenEstimator()
    estimator.refused(MODEL, PROMPT, None, 1)
    assert estimator.context_tokens(MODEL) is None
