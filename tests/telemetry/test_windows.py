"""How counts and durations are kept in bounded memory, and how far from the truth they may be."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock

from acore_bot.telemetry.figures import Minute, Quantiles, Span
from acore_bot.telemetry.windows import MAX_ERROR, TOKENS, Histogram, Tally, Windows

BEGIN = 1_800_000_000  # a full minute and a full hour, in Unix seconds
MINUTES: dict[Span, int] = {"hour": 60, "day": 1440, "start": 1_000_000}

durations = st.floats(min_value=1e-4, max_value=1e6)
lengths = st.lists(durations, min_size=1, max_size=60)


def measured(values: Sequence[float], unit: float = 0.01) -> Histogram:
    """Put values into a histogram."""
    histogram = Histogram(unit)
    for value in values:
        histogram.add(value)
    return histogram


def exact(values: Sequence[float], share: float) -> float:
    """Find a percentile by its definition, interpolating between the two nearest ranks."""
    values, place = sorted(values), share * (len(values) - 1)
    lower, upper = values[math.floor(place)], values[math.ceil(place)]
    return lower + (upper - lower) * (place % 1.0)


class Days:
    """Windows whose clocks a test advances, and the minutes in which something was counted."""

    def __init__(self) -> None:
        self.clock = SettableClock(5000.0)
        self.wall = SettableClock(BEGIN)
        self.windows = Windows(self.describe, clock=self.clock, wall=self.wall)
        self.counted: list[int] = []

    def describe(self, at: int, tally: Tally) -> Minute:
        """Show of a minute how often something was counted in it."""
        return Minute(at=at, turns=tally.sum("turns"))

    def advance(self, seconds: float) -> None:
        """Let time pass by both clocks."""
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def count(self) -> None:
        """Count something, and remember in which minute."""
        self.windows.current().count("turns", "m")
        self.windows.current().measure("response", 1.5)
        self.counted.append(int(self.wall() // 60))

    def turns(self, span: Span) -> int:
        """Tell how much the windows say was counted."""
        total = self.windows.total(span)
        assert total.histogram("response").count == total.sum("turns")
        return total.sum("turns")


@pytest.fixture
def days() -> Days:
    """Begin at a full hour."""
    return Days()


@given(lengths, st.floats(min_value=0.0, max_value=1.0))
def test_percentiles_are_at_most_two_percent_off(values: list[float], share: float) -> None:
    """Whatever was measured, a percentile is the one of numpy's linear method, give or take 2 %."""
    found = measured(values).quantiles(share)[0]
    assert found == pytest.approx(exact(values, share), rel=MAX_ERROR, abs=1e-9)


def test_the_middle_of_one_and_two_is_one_and_a_half() -> None:
    """The median of two values lies between them, and is not the larger one."""
    found = measured([1.0, 2.0]).summary()
    assert found.p50 == pytest.approx(1.5, rel=MAX_ERROR)
    assert found.longest == pytest.approx(2.0, rel=MAX_ERROR)
    assert (found.count, found.mean) == (2, 1.5)


def test_a_summary_names_each_percentile_rightly() -> None:
    """Of the lengths 1 to 100 seconds, half, 95 and 99 of 100 lie below what is said to be so, and
    the longest is the longest."""
    found = measured([float(length) for length in range(1, 101)]).summary()
    assert (found.count, found.mean) == (100, 50.5)
    told = (found.p50, found.p95, found.p99, found.longest)
    assert told == pytest.approx((50.5, 95.05, 99.01, 100.0), rel=MAX_ERROR)


@given(lengths)
def test_means_are_exact(values: list[float]) -> None:
    """No error of the bins enters the mean; it is right to the microsecond."""
    mean = measured(values).summary().mean
    assert mean == pytest.approx(sum(values) / len(values), rel=1e-12, abs=1e-6)


def test_without_values_nothing_is_said() -> None:
    """Where nothing was measured there is no percentile, and zero is not one."""
    assert Histogram().summary() == Quantiles()
    assert Histogram().summary().p50 is None


def test_nothing_is_measured_as_nothing() -> None:
    """A stage that took no time took none."""
    found = measured([0.0, 0.0, 1e-5]).summary()
    assert (found.p50, found.longest) == (0.0, 0.0)


@given(st.lists(st.floats() | st.integers(-(10**30), 10**30).map(float), max_size=20))
def test_wild_values_do_no_harm(values: list[float]) -> None:
    """What is not a length, or is endless, is counted, and the rest is told as before."""
    histogram = measured([*values, 1.0, 1.0])
    assert histogram.count == len(values) + 2
    assert math.isfinite(histogram.total)
    assert histogram.total >= 2.0
    assert all(math.isfinite(each) for each in histogram.quantiles(0.0, 0.5, 1.0))
    assert len(measured(values).bins) <= 37 * 18 + 1


@given(
    st.lists(durations | st.integers(0, 13).map(lambda n: 0.01 * 2**n), max_size=30),
    st.integers(0, 13),
)
def test_what_is_below_a_bound_is_counted_exactly(values: list[float], doublings: int) -> None:
    """The bounds that Prometheus is told lie between bins, and what is equal to one is below it."""
    bound = 0.01 * 2**doublings
    # Just above a bound, the logarithm is that of the bound itself.
    values = [value for value in values if value == bound or abs(value / bound - 1) > 1e-12]
    assert measured(values).up_to(doublings) == sum(value <= bound for value in values)


@pytest.mark.parametrize("tokens", [1, 4, 16, 65_536, 4**13])
def test_tokens_have_bounds_too(tokens: int) -> None:
    """Numbers of tokens are counted by powers of two from one on."""
    histogram = measured([tokens, tokens + 1], TOKENS)
    assert histogram.up_to(tokens.bit_length() - 1) == 1


labels = st.lists(st.sampled_from("abc"), max_size=2)
happenings = st.lists(st.tuples(st.sampled_from("xyz"), labels, durations), max_size=30)


def tally_of(what: list[tuple[str, list[str], float]]) -> Tally:
    """Count and measure some things."""
    tally = Tally()
    for name, label, value in what:
        tally.count(name, *label, by=1 + int(value))
        tally.measure(name, value, *label)
    return tally


@given(happenings, happenings)
def test_what_was_added_can_be_taken_away(
    some: list[tuple[str, list[str], float]], more: list[tuple[str, list[str], float]]
) -> None:
    """After another tally was added and taken away again, all is as it was, to the last bit."""
    tally, other = tally_of(some), tally_of(more)
    tally.merge(other)
    assert tally.sum("x") == tally_of([*some, *more]).sum("x")
    tally.merge(other, -1)
    for name in "xyz":
        assert tally.counts.get(name, {}) == tally_of(some).counts.get(name, {})
        assert tally.under(name) == tally_of(some).under(name)


def test_a_count_never_falls() -> None:
    """A server that tells a negative number of tokens, or an absurd one, breaks no counter."""
    tally = Tally()
    tally.count("tokens", by=3)
    tally.count("tokens", by=-5)
    assert tally.sum("tokens") == 3
    tally.count("tokens", by=10**40)
    assert 3 < tally.sum("tokens") < 10**18


steps = st.sampled_from([0.0, 0.5, 20.0, 60.0, 61.0, 600.0, 3541.0, 3600.0, 86_340.0, 200_000.0])


@given(st.lists(st.tuples(st.integers(0, 3), steps), max_size=25))
def test_windows_hold_what_happened_within_them(story: list[tuple[int, float]]) -> None:
    """An hour is 60 minutes and a day 1,440, the present one among them, whenever things
    happened; and nothing is forgotten of what was since the start."""
    days = Days()
    for times, seconds in story:
        for _ in range(times):
            days.count()
        days.advance(seconds)
        now = int(days.wall() // 60)
        for span, minutes in MINUTES.items():
            assert days.turns(span) == sum(each > now - minutes for each in days.counted)


def test_charts_have_no_gaps(days: Days) -> None:
    """Minutes come oldest first, one after the other; idle ones are there, and empty."""
    days.count()
    days.advance(180)
    days.count()
    days.count()
    found = [(each.at - BEGIN, each.turns) for each in days.windows.minutes()]
    assert found == [(0, 1), (60, 0), (120, 0), (180, 2)]


def test_charts_are_of_a_day(days: Days) -> None:
    """However long the bot runs, or was asleep, there are 1,440 minutes and no more."""
    for _ in range(3000):
        days.count()
        days.advance(60)
    days.advance(10 * 86_400)
    days.count()
    found = days.windows.minutes()
    assert len(found) == 1440
    assert {later.at - earlier.at for earlier, later in pairwise(found)} == {60}
    assert found[-1] == Minute(at=int(days.wall()), turns=1)
    assert days.turns("day") == 1
    assert days.turns("start") == 3001


def test_a_clock_that_leaps_ahead_leaves_idle_minutes(days: Days) -> None:
    """After the machine slept, the minutes before it are as old as the wall clock says."""
    days.count()
    days.wall.advance(3 * 3600)
    days.count()
    assert (days.turns("hour"), days.turns("day")) == (1, 2)
    assert days.windows.minutes()[-1].at == BEGIN + 3 * 3600


def test_a_clock_set_back_renames_the_minutes(days: Days) -> None:
    """A wall clock set back by years hides nothing, and the charts still go forward."""
    days.count()
    days.advance(60)
    days.count()
    days.wall.advance(-10 * 365 * 86_400)
    days.advance(60)
    days.count()
    found = days.windows.minutes()
    assert [each.turns for each in found] == [1, 1, 1]
    assert [each.at - int(days.wall()) for each in found] == [-120, -60, 0]
    assert days.turns("hour") == 3


def test_small_corrections_of_the_clock_change_nothing(days: Days) -> None:
    """A clock that is set a few seconds back or ahead neither adds nor renames a minute."""
    days.advance(30)
    for seconds in (-20.0, 40.0, -29.0):
        days.wall.advance(seconds)
        days.count()
    assert [(each.at, each.turns) for each in days.windows.minutes()] == [(BEGIN, 3)]


def test_an_hour_is_told_once(days: Days) -> None:
    """The sums of an hour hold the minutes that ended since the last ones, and leave out the
    present one."""
    days.count()
    days.advance(3600)
    days.count()
    assert days.windows.end_hour().sum("turns") == 1
    assert days.windows.end_hour().sum("turns") == 0
    days.advance(7200)
    assert days.windows.end_hour().sum("turns") == 1


def test_a_span_tells_how_much_time_it_covers(days: Days) -> None:
    """No span covers more time than the bot has run, and an hour hardly more than 59 minutes."""
    days.advance(90)
    assert [days.windows.seconds(span) for span in MINUTES] == [90, 90, 90]
    days.advance(86_400)
    assert days.windows.seconds("hour") == 59 * 60 + 30
    assert days.windows.seconds("day") == 1439 * 60 + 30
    assert days.windows.seconds("start") == 86_490
