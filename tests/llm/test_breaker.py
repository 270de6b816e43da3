"""The circuit breaker of one model, and the budget of retries."""

import inspect
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock

from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    ModelError,
    NoCredit,
    QueueFull,
    RateLimited,
    TimedOut,
    TooLong,
    Unavailable,
)
from acore_bot.llm.breaker import Attempt, Breaker, RetryBudget
from acore_bot.llm.failover import Failover
from acore_bot.llm.limit import LimitedModel
from acore_bot.telemetry.events import BreakerState


class Patient:
    """A breaker with a clock that a test sets, and the states that it told of."""

    def __init__(self, random: Callable[[], float] = lambda: 0.5) -> None:
        self.clock = SettableClock()
        self.told: list[BreakerState] = []
        self.breaker = Breaker(clock=self.clock, random=random, on_change=self.told.append)

    def enter(self) -> Attempt:
        """Let one through who has to be let through."""
        attempt = self.breaker.enter()
        assert attempt
        return attempt

    def fail(self, times: int = 1, error: ModelError | None = None) -> None:
        """Let so many fail."""
        for _ in range(times):
            self.enter().fail(error or Unavailable(provider="tea", model="assam"))

    def succeed(self, times: int = 1) -> None:
        """Let so many be answered."""
        for _ in range(times):
            self.enter().succeed()


@pytest.fixture
def patient() -> Patient:
    """Make a breaker without jitter."""
    return Patient()


def test_five_failures_in_a_row_open_it(patient: Patient) -> None:
    """Four leave it closed; the fifth opens it, and nobody is let in."""
    patient.fail(4)
    assert patient.breaker.state == "closed"
    patient.fail()
    assert patient.breaker.enter() is None
    assert patient.told == ["open"]


def test_an_answer_ends_the_row(patient: Patient) -> None:
    """Failures with answers between them are no row."""
    patient.fail(4)
    patient.succeed()
    patient.fail(4)
    assert patient.breaker.state == "closed"


def test_half_of_ten_calls_open_it(patient: Patient) -> None:
    """Five failures among ten calls within thirty seconds open it, though never five in a row."""
    patient.succeed(4)
    patient.fail(4)
    patient.succeed()
    assert patient.told == []
    patient.fail()
    assert patient.told == ["open"]


def test_less_than_half_leave_it_closed(patient: Patient) -> None:
    """With six answers for four failures, it stays closed however long that goes on."""
    for _ in range(20):
        patient.succeed(6)
        patient.fail(4)
    assert patient.told == []


def test_what_is_long_ago_is_forgotten(patient: Patient) -> None:
    """Calls of more than thirty seconds ago count no more."""
    patient.fail(4)
    patient.succeed(5)
    patient.clock.advance(30)
    patient.fail(4)
    patient.succeed()
    assert patient.breaker.state == "closed"


def test_a_model_that_is_well_again_starts_afresh(patient: Patient) -> None:
    """What failed before it was left alone is not held against it afterwards."""
    patient.fail(5)
    patient.clock.advance(10)
    patient.succeed(4)
    patient.fail()
    assert patient.told == ["open", "half_open", "closed"]


def test_it_lets_one_through_after_ten_seconds(patient: Patient) -> None:
    """When the time is up exactly one is let through, and the others wait for what it finds."""
    patient.fail(5)
    patient.clock.advance(9.9)
    assert patient.breaker.enter() is None
    patient.clock.advance(0.1)
    probe = patient.enter()
    assert [patient.breaker.enter() for _ in range(100)] == [None] * 100
    probe.succeed()
    patient.succeed(3)
    assert patient.told == ["open", "half_open", "closed"]


def test_r16_the_pause_doubles_up_to_five_minutes(patient: Patient) -> None:
    """Each probe that fails doubles the pause; an answer takes it back to ten seconds."""
    patient.fail(5)
    for seconds in (10, 20, 40, 80, 160, 300, 300, *(300,) * 2000):
        patient.clock.advance(seconds - 0.01)
        assert patient.breaker.enter() is None
        patient.clock.advance(0.02)
        patient.fail()
    patient.clock.advance(301)
    patient.succeed()
    patient.fail(5)
    patient.clock.advance(10)
    assert patient.breaker.enter()


@given(st.floats(0, 1))
def test_the_pause_is_jittered(drawn: float) -> None:
    """The first pause is ten seconds give or take two, by the randomness that was given."""
    patient = Patient(random=lambda: drawn)
    patient.fail(5)
    patient.clock.now = 8 + 4 * drawn - 0.001
    assert patient.breaker.enter() is None
    patient.clock.now = 8 + 4 * drawn + 0.001
    assert patient.breaker.enter()


def test_the_first_word_closes_it(patient: Patient) -> None:
    """A probe's first word lets the others in; if its answer breaks off later, that counts."""
    patient.fail(5)
    patient.clock.advance(10)
    probe = patient.enter()
    probe.begin_answer()
    assert patient.told == ["open", "half_open", "closed"]
    patient.fail(4)
    probe.fail(TimedOut())
    assert patient.told[3:] == ["open"]


def test_the_first_word_of_others_counts_for_nothing(patient: Patient) -> None:
    """In a closed breaker only the end of an answer counts: failures after a word are a row."""
    for _ in range(5):
        patient.clock.advance(8)  # so that no ten calls fall into the window
        attempt = patient.enter()
        attempt.begin_answer()
        attempt.fail(TimedOut())
    assert patient.breaker.state == "open"


def test_a_probe_that_leaves_makes_way(patient: Patient) -> None:
    """A probe whose asker has left is neither good nor bad: the next one is the probe."""
    patient.fail(5)
    patient.clock.advance(10)
    patient.enter().abandon()
    probe = patient.enter()
    assert patient.breaker.enter() is None
    probe.fail(Unavailable())
    assert patient.breaker.state == "open"


@pytest.mark.parametrize("error", [TooLong(), BadRequest(), QueueFull(), RateLimited()])
def test_a_probe_with_an_error_that_does_not_count_makes_way(
    patient: Patient, error: ModelError
) -> None:
    """What says nothing about the model's health neither closes nor opens, and frees the probe."""
    patient.fail(5)
    patient.clock.advance(10)
    patient.fail(error=error)
    assert patient.breaker.state == "half_open"
    patient.clock.advance(5)
    assert patient.breaker.enter()
    assert patient.breaker.enter() is None


def test_late_reports_count_for_nothing(patient: Patient) -> None:
    """What began before the breaker opened neither closes it, nor opens it anew, nor is a probe."""
    answered, failed, left = (patient.enter() for _ in range(3))
    patient.fail(5)
    patient.clock.advance(10)
    patient.enter()
    answered.begin_answer()
    answered.succeed()
    failed.fail(Unavailable())
    left.abandon()
    assert patient.breaker.state == "half_open"
    assert patient.breaker.enter() is None


def test_a_report_counts_once(patient: Patient) -> None:
    """Only the first report of a request counts."""
    for _ in range(3):
        attempt = patient.enter()
        for _ in range(9):
            attempt.fail(Unavailable())
    assert patient.breaker.state == "closed"


@pytest.mark.parametrize("error", [AuthFailed(provider="tea"), NoCredit(provider="tea")])
def test_a_fault_of_the_account_opens_it_at_once(patient: Patient, error: ModelError) -> None:
    """A wrong key or an empty account will not be better for the next request."""
    patient.fail(error=error)
    assert patient.breaker.enter() is None
    assert type(patient.breaker.refusal()) is type(error)


def test_a_rate_limit_cools(patient: Patient) -> None:
    """A model that is asked too often is left alone for as long as it said, and is never ill."""
    for _ in range(20):
        patient.fail(error=RateLimited(retry_after_seconds=7))
        patient.clock.advance(6.9)
        assert patient.breaker.enter() is None
        patient.clock.advance(0.2)
    assert patient.breaker.enter()
    assert patient.told == []


@pytest.mark.parametrize(
    ("told", "waited"), [(None, 5.0), (0.0, 0.0), (-3.0, 0.0), (86_400.0, 300.0), (1e999, 300.0)]
)
def test_cooling_is_bounded(patient: Patient, told: float | None, waited: float) -> None:
    """Without a time it is five seconds; a day is five minutes, then we look for ourselves."""
    patient.fail(error=RateLimited(retry_after_seconds=told))
    if waited:
        patient.clock.advance(waited - 0.1)
        assert patient.breaker.enter() is None
        patient.clock.advance(0.2)
    assert patient.breaker.enter()


def test_a_shorter_cooling_does_not_end_a_longer_one(patient: Patient) -> None:
    """Of two that are refused at once, the one that was told the longer time is believed."""
    one, other = patient.enter(), patient.enter()
    one.fail(RateLimited(retry_after_seconds=9))
    other.fail(RateLimited(retry_after_seconds=2))
    patient.clock.advance(3)
    assert patient.breaker.enter() is None


@pytest.mark.parametrize("error", [TooLong(), BadRequest(), QueueFull(), RateLimited()])
def test_other_errors_count_for_nothing(patient: Patient, error: ModelError) -> None:
    """Errors that tell nothing about the model's health never open it."""
    for _ in range(30):
        patient.fail(error=error)
        patient.clock.advance(6)
    assert patient.told == []


def test_a_refusal_tells_why_and_for_how_long(patient: Patient) -> None:
    """Whoever is not let in hears of the error that closed the door and of the time left, each in
    an exception of its own."""
    patient.fail(5, TimedOut(provider="tea", model="assam:7b", remedy="Boil water."))
    patient.clock.advance(4)
    one, other = patient.breaker.refusal(), patient.breaker.refusal()
    assert isinstance(one, TimedOut)
    assert str(one) == "tea/assam:7b took too long. Boil water."
    assert one.retry_after_seconds == pytest.approx(6)
    assert one is not other


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 20)), max_size=120))
def test_there_is_never_a_second_probe(steps: list[tuple[int, float]]) -> None:
    """Whatever happens in whatever order, no two probes are out, and time always helps."""
    patient = Patient()
    out: list[Attempt] = []
    for action, seconds in steps:
        patient.clock.advance(seconds)
        if action < 2 or not out:
            was_closed = patient.breaker.state == "closed"
            if attempt := patient.breaker.enter():
                out.append(attempt)
                assert was_closed or sum(each.is_current for each in out) == 1
        elif action == 2:
            out.pop(0).succeed()
        elif action == 3:
            out.pop(0).fail(Unavailable())
        else:
            out.pop().abandon()
    for attempt in out:
        attempt.abandon()
    patient.clock.advance(400)
    assert patient.breaker.enter()


def test_retries_are_a_fifth_of_first_tries() -> None:
    """For a hundred first tries within a minute there are twenty retries."""
    budget = RetryBudget(clock=SettableClock())
    for _ in range(100):
        budget.count_first_try()
    assert sum(budget.take() for _ in range(100)) == 20


def test_a_lone_request_may_be_retried_once() -> None:
    """With next to no traffic one retry a minute is allowed."""
    clock = SettableClock()
    budget = RetryBudget(clock=clock)
    budget.count_first_try()
    assert [budget.take(), budget.take()] == [True, False]
    clock.advance(60)
    assert budget.take()


def test_the_budget_forgets_after_a_minute() -> None:
    """First tries of more than a minute ago allow nothing now."""
    clock = SettableClock()
    budget = RetryBudget(clock=clock)
    for _ in range(100):
        budget.count_first_try()
    clock.advance(60)
    assert sum(budget.take() for _ in range(100)) == 1


@pytest.mark.parametrize("kind", [Breaker, RetryBudget, Failover, LimitedModel])
def test_r22_time_is_monotonic(kind: type) -> None:
    """Unless told otherwise, everything here counts by the monotonic clock."""
    assert inspect.signature(kind).parameters["clock"].default is time.monotonic


def test_r22_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour's jump of the wall clock, either way, neither opens nor closes a breaker, nor
    empties or fills a budget."""
    breaker, budget = Breaker(), RetryBudget()
    for _ in range(5):
        attempt = breaker.enter()
        assert attempt
        attempt.fail(Unavailable())
    assert budget.take()
    for hours in (1, -1, 24):
        now = time.time() + hours * 3600
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert breaker.enter() is None
        assert breaker.state == "open"
        assert not budget.take()
