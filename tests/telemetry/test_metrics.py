"""What the metrics say after things happened."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from tests.fakes.happenings import BEGIN, Watched, every_kind, example, failed, finished

from acore_bot import errors
from acore_bot.telemetry.counting import MAX_LABELS
from acore_bot.telemetry.events import (
    BreakerChanged,
    Event,
    HistoryRead,
    HourEnded,
    TurnFinished,
    TurnRefused,
)
from acore_bot.telemetry.figures import BreakerNow
from acore_bot.telemetry.metrics import MODEL_IS_ILL, Metrics


@pytest.fixture
def bot() -> Watched:
    """Begin at a full hour."""
    return Watched()


@pytest.mark.parametrize("event", every_kind(), ids=lambda event: type(event).__name__)
def test_every_kind_of_event_shows(bot: Watched, event: Event) -> None:
    """No counter is there that nobody feeds, and no event that nobody counts."""
    before = bot.shown()
    bot.hear(event)
    assert bot.shown() != before


@pytest.mark.parametrize("event", every_kind(), ids=lambda event: type(event).__name__)
def test_every_event_is_logged_once_by_its_name(bot: Watched, event: Event) -> None:
    """The log tells all but reads of the history, of which there are too many."""
    bot.hear(event)
    logged = [] if isinstance(event, HistoryRead) else [event]
    assert [what for _, what in bot.logged] == logged
    assert all(name.replace("_", "") == type(event).__name__.lower() for name, _ in bot.logged)


def test_names_in_the_log_are_in_snake_case(bot: Watched) -> None:
    """Words are parted, however many there are."""
    bot.hear(finished(), example(HourEnded))
    assert [name for name, _ in bot.logged] == ["turn_finished", "hour_ended"]


def test_the_error_rate_is_of_all_requests(bot: Watched) -> None:
    """When every request fails the rate is one, and what was refused is not among them."""
    assert bot.metrics.figures("hour").error_rate == 0.0
    bot.hear(failed(), failed(), TurnRefused("rate"))
    assert bot.metrics.figures("hour").error_rate == 1.0
    bot.hear(finished(), finished())
    found = bot.metrics.figures("hour")
    assert (found.turns, found.failed, found.refused, found.error_rate) == (4, 2, 1, 0.5)
    assert bot.metrics.get_error_stats() == {
        "total_errors": 2,
        "by_type": {"timeout": 2},
        "error_rate": 50.0,
    }


def test_breakers_are_bounded_and_the_ill_ones_stay(bot: Watched) -> None:
    """The newest state of each model is told; where there are too many, a closed one goes."""
    bot.hear(BreakerChanged("demo/ill", "open"), BreakerChanged("demo/m", "open"))
    bot.hear(BreakerChanged("demo/m", "closed"))
    assert bot.metrics.breakers == (BreakerNow("demo/ill", "open"), BreakerNow("demo/m", "closed"))
    bot.hear(*(BreakerChanged(f"demo/{number}", "closed") for number in range(200)))
    assert len(bot.metrics.breakers) == MAX_LABELS
    assert BreakerNow("demo/ill", "open") in bot.metrics.breakers


def kinds_of_ill_models(error: type[errors.ModelError]) -> Iterator[str]:
    """Find the errors that tell that a model is ill."""
    if error.counts_for_breaker:
        yield error.kind
    for each in error.__subclasses__():
        yield from kinds_of_ill_models(each)


def test_a_model_is_reachable_until_it_is_ill(bot: Watched) -> None:
    """What counts for its breaker tells that nobody is reached; the next answer, that one is."""
    assert set(kinds_of_ill_models(errors.ModelError)) == MODEL_IS_ILL
    found = [bot.metrics.is_model_reachable]
    for kind in MODEL_IS_ILL:
        for event in (finished(), failed(kind)):
            bot.hear(event)
            found.append(bot.metrics.is_model_reachable)
    assert found == [None, *[True, False] * len(MODEL_IS_ILL)]


def test_what_no_model_did_says_nothing_of_its_health(bot: Watched) -> None:
    """A message that is too long, an answer given before and a stopped one change nothing."""
    stopped = TurnFinished(
        model="demo/m", finish_reason="stopped", first_delta_seconds=None, total_seconds=1.0
    )
    bot.hear(failed("too_long"), finished(is_cached=True), stopped)
    assert bot.metrics.is_model_reachable is None


def test_slow_turns_tell_what_the_loop_was_busy_with(bot: Watched) -> None:
    """Who watches the loop notes it with the metrics, and a turn of that time tells it."""
    bot.metrics.stacks.note(bot.clock() - 1.0, "a > b")
    bot.hear(finished(seconds=2.0), finished(seconds=0.5))
    assert [(turn.total_seconds, turn.stacks) for turn in bot.metrics.slow_turns()] == [
        (2.0, ("a > b",)),
        (0.5, ()),
    ]
    assert bot.metrics.slow_turns()[0].ended_at == BEGIN


def test_response_times_are_told_in_milliseconds(bot: Watched) -> None:
    """Monitors of the system before find its names, and percentiles that are right."""
    empty = bot.metrics.get_response_time_stats()
    assert empty == {"count": 0, **dict.fromkeys(["avg", "min", "max", "p50", "p95", "p99"])}
    bot.hear(finished(seconds=1.0), finished(seconds=2.0))
    found = bot.metrics.get_response_time_stats()
    assert (found["count"], found["avg"]) == (2, 1500.0)
    rest = {name: found[name] for name in ("min", "max", "p50", "p95", "p99")}
    expected = {"min": 1000, "max": 2000, "p50": 1500, "p95": 1950, "p99": 1990}
    assert rest == pytest.approx(expected, rel=0.02)


def test_the_summary_holds_the_parts(bot: Watched) -> None:
    """Tokens are counted, by model too, and all is found in one summary."""
    bot.hear(finished(), finished(model="demo/n", completion_tokens=5))
    bot.advance(90)
    summary = bot.metrics.get_summary()
    assert summary["uptime_seconds"] == 90
    assert summary["response_times"] == bot.metrics.get_response_time_stats()
    assert summary["errors"] == bot.metrics.get_error_stats()
    assert summary["token_usage"] == {
        "total_tokens": 225,
        "prompt_tokens": 200,
        "completion_tokens": 25,
        "by_model": {"demo/m": 120, "demo/n": 105},
    }


def test_events_may_come_from_any_thread(bot: Watched) -> None:
    """Nothing is lost when several threads tell of events at once."""

    def hear_many() -> None:
        for _ in range(500):
            bot.hear(finished(), HistoryRead(is_hit=True))

    threads = [threading.Thread(target=hear_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = bot.metrics.figures("hour")
    assert (found.turns, found.history_hits, found.prompt_tokens) == (2000, 2000, 200_000)
    assert len(bot.logged) == 2000


async def test_each_hour_is_summed_up_once(bot: Watched) -> None:
    """At each full hour its sums are logged; what comes later belongs to the next one."""
    bot.hear(finished(), failed(), TurnRefused("rate"), finished(cost=0.5))
    bot.metrics.start_hourly_reset()
    first = await bot.hours.get()
    bot.hear(finished(prompt_tokens=7))
    second, third = await bot.hours.get(), await bot.hours.get()
    await bot.metrics.stop_hourly_reset()
    assert (first.turns, first.failed, first.refused, first.cost) == (3, 1, 1, 0.5)
    assert (first.prompt_tokens, round(first.error_rate, 6)) == (200, 0.333333)
    assert first.p50_seconds == pytest.approx(2.0, rel=0.02)
    assert (second.turns, second.prompt_tokens) == (1, 7)
    assert (third.turns, third.p50_seconds) == (0, None)


async def test_idle_hours_are_told_too(bot: Watched) -> None:
    """An hour in which nothing happened is not missing from the trend."""
    bot.metrics.start_hourly_reset()
    for _ in range(30):
        assert (await bot.hours.get()).turns == 0
    await bot.metrics.stop_hourly_reset()
    hours = (bot.wall() - BEGIN) // 3600
    assert [name for name, _ in bot.logged] == ["hour_ended"] * int(hours)


async def test_the_hourly_reset_runs_once(bot: Watched) -> None:
    """Started twice, it runs once; stopped, it ends; and it may be started anew."""
    task = bot.metrics.start_hourly_reset()
    assert bot.metrics.start_hourly_reset() is task
    await bot.metrics.stop_hourly_reset()
    assert task.done()
    await bot.metrics.stop_hourly_reset()
    assert bot.metrics.start_hourly_reset() is not task
    await bot.hours.get()
    await bot.metrics.stop_hourly_reset()


async def test_an_hour_ends_although_the_clock_was_set(bot: Watched) -> None:
    """A wall clock set back by years does not keep the next hour from being told."""
    bot.metrics.start_hourly_reset()
    await bot.hours.get()
    bot.wall.advance(-10 * 365 * 86_400)
    bot.hear(finished())
    assert sum([(await bot.hours.get()).turns, (await bot.hours.get()).turns]) == 1
    await bot.metrics.stop_hourly_reset()


async def test_a_log_that_fails_is_not_silent(bot: Watched) -> None:
    """If the hour could not be logged, whoever stops the hourly reset hears of it."""

    def fail(name: str, event: object) -> None:
        raise OSError("The log is gone.")

    metrics = Metrics(fail, clock=bot.clock, wall=bot.wall, sleep=bot.sleep)
    task = metrics.start_hourly_reset()
    await asyncio.wait([task])
    with pytest.raises(OSError, match="The log is gone"):
        await metrics.stop_hourly_reset()
