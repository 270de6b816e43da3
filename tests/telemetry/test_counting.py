"""What is counted of each event, and what figures and charts say of it."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.happenings import BEGIN, Watched, failed, finished

from acore_bot.telemetry.counting import MAX_LABEL_LENGTH, MAX_LABELS, OTHER
from acore_bot.telemetry.events import (
    CachedAnswer,
    CommandUsed,
    Event,
    FellBack,
    FlightJoined,
    GatewayChanged,
    HistoryRead,
    RateLimited,
    Stages,
    TurnFinished,
    TurnRefused,
)
from acore_bot.telemetry.figures import ModelFigures
from acore_bot.telemetry.metrics import Metrics


@pytest.fixture
def bot() -> Watched:
    """Begin at a full hour."""
    return Watched()


def test_figures_tell_what_happened(bot: Watched) -> None:
    """Each event is found in the figures of every span that it lies in."""
    stages = Stages(admitted=0.25, queued=1.0, first_delta=0.5, stream=4.0)
    bot.hear(
        finished(stages=stages, cost=0.002),
        finished(model="demo/n", prompt_tokens=None, completion_tokens=None),
        failed("overloaded"),
        FlightJoined("demo/m", 2),
        CachedAnswer("demo/m", 70),
        FellBack("demo/m", "demo/n", "timeout"),
        HistoryRead(is_hit=True),
        HistoryRead(is_hit=True),
        HistoryRead(is_hit=False),
        CommandUsed("reset", 0.1),
        CommandUsed("reset", 0.1, "not_allowed"),
        RateLimited("POST /channels", 0.3),
    )
    for span in ("hour", "day", "start"):
        found = bot.metrics.figures(span)
        assert (found.span, found.turns, found.failed) == (span, 3, 1)
        assert (found.prompt_tokens, found.completion_tokens, found.cost) == (100, 20, 0.002)
        assert (found.saved_calls, found.saved_tokens, found.fell_back) == (2, 70, 1)
        assert (found.history_hits, found.history_misses) == (2, 1)
        assert (found.errors, found.commands) == ({"overloaded": 1}, {"reset": 2})
        assert (found.rate_limited, found.reconnects) == (1, 0)
        assert (found.response.count, found.response.mean) == (2, 2.0)
        assert found.first_delta.mean == 0.5
        assert {name: each.mean for name, each in found.stages.items()} == {
            "admitted": 0.25,
            "queued": 1.0,
            "first_delta": 0.5,
            "stream": 4.0,
        }


def test_models_are_told_apart(bot: Watched) -> None:
    """Each has its own turns, tokens and cost, and its speed while it writes; the busiest leads."""
    streamed = Stages(stream=4.0)
    bot.hear(
        finished(model="demo/slow", stages=streamed, cost=0.5),
        finished(model="demo/slow", stages=streamed, cost=0.25),
        failed(model="demo/slow"),
        finished(model="demo/quiet", completion_tokens=None),
    )
    slow, quiet = bot.metrics.figures("day").models
    assert slow == ModelFigures(
        model="demo/slow",
        turns=3,
        failed=1,
        prompt_tokens=200,
        completion_tokens=40,
        cached_tokens=0,
        cost=0.75,
        tokens_per_second=5.0,
    )
    assert (quiet.model, quiet.completion_tokens, quiet.tokens_per_second) == (
        "demo/quiet",
        0,
        None,
    )


def test_a_minute_of_the_charts(bot: Watched) -> None:
    """A minute tells what happened within it, with the mean of each stage."""
    bot.hear(
        finished(stages=Stages(queued=1.0, stream=2.0), cost=0.5),
        finished(stages=Stages(queued=3.0), is_cached=True),
        failed(),
    )
    (found,) = bot.metrics.minutes()
    assert (found.at, found.turns, found.failed, found.cached) == (BEGIN, 3, 1, 1)
    assert (found.tokens, found.tokens_per_second, found.cost) == (120, 10.0, 0.5)
    assert found.stages == {"queued": 2.0, "stream": 2.0}
    assert found.p50 == pytest.approx(2.0, rel=0.02)
    assert found.first_delta_p50 == pytest.approx(0.5, rel=0.02)


def test_a_shared_answer_was_paid_once(bot: Watched) -> None:
    """Of those who share an answer, one used its tokens and the others saved them."""
    for _ in range(3):
        bot.hear(finished(cost=0.5, is_shared=True))
        bot.advance(1)
    found = bot.metrics.figures("start")
    assert (found.turns, found.shared) == (3, 3)
    assert (found.prompt_tokens, found.completion_tokens, found.cost) == (100, 20, 0.5)
    assert found.saved_tokens == 240
    # The same again, later or in other words, is another answer.
    bot.advance(60)
    bot.hear(finished(is_shared=True), finished(completion_tokens=21, is_shared=True))
    assert bot.metrics.figures("start").prompt_tokens == 300


def test_answers_that_nobody_shared_are_all_paid(bot: Watched) -> None:
    """That two answers took as many tokens does not make them one."""
    bot.hear(finished(), finished())
    assert bot.metrics.figures("start").prompt_tokens == 200


def test_an_answer_given_before_used_nothing(bot: Watched) -> None:
    """Its tokens are saved ones, as the cache tells."""
    bot.hear(CachedAnswer("demo/m", 120), finished(is_cached=True))
    found = bot.metrics.figures("start")
    assert (found.prompt_tokens, found.saved_tokens, found.cached) == (0, 120, 1)


@pytest.mark.parametrize(
    ("make", "labels"),
    [
        (lambda name: finished(model=name), lambda it: [m.model for m in it.figures("day").models]),
        (failed, lambda it: it.figures("day").errors),
        (lambda name: CommandUsed(name, 0.1), lambda it: it.figures("day").commands),
        (TurnRefused, lambda it: it.total("day").by("refused")),
        (lambda name: RateLimited(name, 1.0), lambda it: it.total("day").totals("rate_limited")),
    ],
    ids=["models", "errors", "commands", "reasons", "routes"],
)
def test_names_are_bounded(
    bot: Watched, make: Callable[[str], Event], labels: Callable[[Metrics], Iterator[str]]
) -> None:
    """However many models, errors or commands there are, 64 are told apart, the rest together."""
    for number in range(3 * MAX_LABELS):
        bot.hear(make(f"{number:03}" + "x" * 1000))
    found = list(labels(bot.metrics))
    assert len(found) == MAX_LABELS + 1
    assert OTHER in found
    assert all(len(name) <= MAX_LABEL_LENGTH for name in found)


def test_nothing_is_lost_among_the_others(bot: Watched) -> None:
    """What is told together is still counted."""
    bot.hear(*(failed(f"kind {number}") for number in range(200)))
    assert bot.metrics.figures("hour").errors[OTHER] == 200 - MAX_LABELS
    assert bot.metrics.figures("hour").failed == 200


def test_only_a_connection_found_again_is_a_reconnect(bot: Watched) -> None:
    """The first connection of each shard is none."""
    bot.hear(GatewayChanged(0, "ready"), GatewayChanged(1, "ready"))
    assert bot.metrics.figures("hour").reconnects == 0
    bot.hear(GatewayChanged(0, "lost"), GatewayChanged(0, "resumed"))
    bot.hear(GatewayChanged(1, "lost"), GatewayChanged(1, "ready"))
    assert bot.metrics.figures("hour").reconnects == 2


wild = st.none() | st.floats() | st.integers(-(2**70), 2**70).map(float)
counts = st.none() | st.integers(-(2**70), 2**70)


@given(
    st.lists(
        st.builds(
            TurnFinished,
            model=st.text(st.characters()),
            finish_reason=st.text(),
            first_delta_seconds=wild,
            total_seconds=st.floats(),
            stages=st.builds(Stages, queued=wild, first_delta=wild, stream=wild),
            prompt_tokens=counts,
            completion_tokens=counts,
            cached_tokens=counts,
            cost=wild,
            is_shared=st.booleans(),
        ),
        max_size=8,
    )
)
def test_wild_events_break_nothing(events: list[TurnFinished]) -> None:
    """Whatever a server tells of its answers, it is counted, shown and forgotten again."""
    bot = Watched()
    for event in events:
        bot.hear(event)
        bot.advance(60)
    bot.shown()
    bot.advance(2 * 86_400)
    assert bot.metrics.figures("day").models == ()
    assert bot.metrics.figures("start").turns == len(events)
