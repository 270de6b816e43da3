"""Counts and durations in bounded memory: a tally a minute, summed up over an hour, a day and all.

A histogram has 18 bins for each doubling, so whatever it says of a duration (a percentile, the
longest) is at most 2 % away from the truth, between 0.1 ms and 120 days; what is shorter counts as
nothing there. Its mean is exact to the microsecond. The doublings begin at 0.01 s, so the bounds
that Prometheus is told fall on the edges of bins.

Sums are integers, in millionths: what was added can be taken away again and nothing remains.
"""

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import ceil, floor, log2
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, structs

from acore_bot.telemetry.figures import Minute, Quantiles, Span

BINS_PER_DOUBLING: Final = 18
MAX_ERROR: Final = 0.02
MILLION: Final = 1_000_000
SECONDS: Final = 0.01  # where the doublings of durations begin
TOKENS: Final = 1.0
MINUTE: Final = 60.0
HOUR_MINUTES: Final = 60
DAY_MINUTES: Final = 1440
MAX_COUNT: Final = 10**16
MAX_DRIFT_SECONDS: Final = 30.0

_ZERO: Final = -7 * BINS_PER_DOUBLING
_SMALLEST: Final = 2.0**-7
_LARGEST: Final = 2.0**30
_MIDDLE: Final = 2.0 / (1.0 + 2.0 ** (1.0 / BINS_PER_DOUBLING))

Label: TypeAlias = tuple[str, ...]
Key = TypeVar("Key", int, Label)


class Histogram(Struct, array_like=True):
    """How some values spread. `unit` is where the doublings begin; `millionths` is their sum."""

    unit: float = SECONDS
    count: int = 0
    millionths: int = 0
    bins: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Count a value. What is no length (below zero, or not a number) counts as zero."""
        index, bins = _ZERO, self.bins
        scaled = value / self.unit
        # Written out, since this is done a dozen times a turn: `min` and `max` doubled the time.
        if scaled > 0.0:
            if scaled > _LARGEST:  # noqa: PLR1730
                scaled = _LARGEST
            self.millionths += int(scaled * self.unit * MILLION + 0.5)
            if scaled > _SMALLEST:
                index = ceil(BINS_PER_DOUBLING * log2(scaled))
        self.count += 1
        bins[index] = bins.get(index, 0) + 1

    def merge(self, other: "Histogram", sign: int = 1) -> None:
        """Add what another one counted, or take it away."""
        self.count += sign * other.count
        self.millionths += sign * other.millionths
        _merge(self.bins, other.bins, sign)

    def quantiles(self, *shares: float) -> list[float]:
        """Return the values below which these shares lie, from 0 to 1, interpolated as numpy does
        unless told otherwise. Raises IndexError if nothing was counted."""
        indices = sorted(self.bins)
        ranks = list(accumulate(self.bins[index] for index in indices))

        def ranked(rank: int) -> float:
            return self._value(indices[bisect_right(ranks, min(rank, self.count - 1))])

        places = [(share * (self.count - 1)) for share in shares]
        lower = [ranked(floor(place)) for place in places]
        upper = [ranked(floor(place) + 1) for place in places]
        return [a + (b - a) * (p % 1.0) for a, b, p in zip(lower, upper, places, strict=True)]

    def up_to(self, doublings: int) -> int:
        """Return how many values are at most the unit doubled so many times: an exact count."""
        last = doublings * BINS_PER_DOUBLING
        return sum(count for index, count in self.bins.items() if index <= last)

    @property
    def total(self) -> float:
        """The sum of the values."""
        return self.millionths / MILLION

    def summary(self) -> Quantiles:
        """Say how the values spread."""
        if not self.count:
            return Quantiles()
        p50, p95, p99, longest = self.quantiles(0.5, 0.95, 0.99, 1.0)
        return Quantiles(self.count, self.total / self.count, p50, p95, p99, longest)

    def _value(self, index: int) -> float:
        upper: float = self.unit * 2.0 ** (index / BINS_PER_DOUBLING)
        return 0.0 if index == _ZERO else upper * _MIDDLE


class Tally(Struct, array_like=True):
    """What was counted and measured in a time, by name and by the values of its labels."""

    counts: dict[str, dict[Label, int]] = {}
    histograms: dict[str, dict[Label, Histogram]] = {}

    def count(self, name: str, *label: str, by: int = 1) -> None:
        """Count something: never less than nothing, nor more than fits into a packed tally."""
        if not 0 <= by <= MAX_COUNT:
            by = 0 if by < 0 else MAX_COUNT
        counts = self.counts.get(name)
        if counts is None:
            counts = self.counts[name] = {}
        counts[label] = counts.get(label, 0) + by

    def measure(self, name: str, value: float, *label: str, unit: float = SECONDS) -> None:
        """Count a value in its histogram."""
        histograms = self.histograms.get(name)
        if histograms is None:
            histograms = self.histograms[name] = {}
        histogram = histograms.get(label)
        if histogram is None:
            histogram = histograms[label] = Histogram(unit)
        histogram.add(value)

    def merge(self, other: "Tally", sign: int = 1) -> None:
        """Add what another one counted, or take it away."""
        for name, counts in other.counts.items():
            _merge(self.counts.setdefault(name, {}), counts, sign)
        for name, histograms in other.histograms.items():
            mine = self.histograms.setdefault(name, {})
            for label, histogram in histograms.items():
                mine.setdefault(label, Histogram(histogram.unit)).merge(histogram, sign)
                if not mine[label].count:
                    del mine[label]

    def sum(self, name: str) -> int:
        """Return how often something was counted, under whichever labels."""
        return sum(self.counts.get(name, {}).values())

    def by(self, name: str, place: int = 0) -> dict[str, int]:
        """Return how often something was counted, by the label at a place."""
        return _summed((label[place], n) for label, n in self.counts.get(name, {}).items())

    def totals(self, name: str, place: int = 0) -> dict[str, int]:
        """Return the sums of measured values, in whole units, by the label at a place."""
        histograms = self.under(name).items()
        return _summed((label[place], each.millionths // MILLION) for label, each in histograms)

    def histogram(self, name: str, *label: str) -> Histogram:
        """Return what was measured under a label."""
        return self.under(name).get(label) or Histogram()

    def under(self, name: str) -> dict[Label, Histogram]:
        """Return what was measured, by its labels. It is not to be changed."""
        return self.histograms.get(name, {})


class _Closed(NamedTuple):
    packed: bytes  # a tally of a busy minute takes a tenth of its size in this form
    minute: Minute


class Windows:
    """The tallies of the last 1,440 minutes, and their sums: of an hour, of a day, since the start.

    `describe` says what the charts show of a minute. `clock` is monotonic and decides how old a
    minute is; `wall` says when it was, in Unix seconds. If the wall clock leaps ahead, or the
    machine slept, that time counts as idle; if it is set back, the minutes are renamed.
    """

    def __init__(
        self,
        describe: Callable[[int, Tally], Minute],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._wall = wall
        self._started_at = clock()
        self._offset = wall() - self._started_at
        self._index = self._minute_now()
        self._minute = Tally()
        self._closed: deque[_Closed] = deque()
        self._sums: dict[Span, Tally] = {"hour": Tally(), "day": Tally(), "start": Tally()}
        self._hour = Tally()  # since `end_hour`
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Tally)

    def current(self) -> Tally:
        """Return the tally of this minute, to count in at once."""
        drift = self._wall() - self._clock() - self._offset
        if drift > MAX_DRIFT_SECONDS:
            self._offset += drift
        elif drift < -MAX_DRIFT_SECONDS:
            self._rename(round(drift / MINUTE))
        index = self._minute_now()
        if index != self._index:
            self._go_on_to(index)
        return self._minute

    def total(self, span: Span) -> Tally:
        """Return a copy of the sums of a span, with what this minute has had so far."""
        minute, total = self.current(), Tally()
        total.merge(self._sums[span])
        total.merge(minute)
        return total

    def seconds(self, span: Span) -> float:
        """Return how much time the sums of a span cover."""
        passed = self._clock() - self._started_at
        minutes = {"hour": HOUR_MINUTES, "day": DAY_MINUTES}.get(span)
        if minutes is None:
            return passed
        return min(passed, (minutes - 1) * MINUTE + (self._clock() + self._offset) % MINUTE)

    def minutes(self) -> tuple[Minute, ...]:
        """Return what the charts show, oldest first, without gaps: idle minutes are empty ones."""
        minute = self.current()
        now = self._describe(self._index * int(MINUTE), minute)
        return (*(closed.minute for closed in self._closed), now)

    def end_hour(self) -> Tally:
        """Return the sums of all minutes that have ended since the last call."""
        self.current()
        ended, self._hour = self._hour, Tally()
        return ended

    def _minute_now(self) -> int:
        return int((self._clock() + self._offset) // MINUTE)

    def _go_on_to(self, index: int) -> None:
        self._close()
        for idle in range(max(self._index + 1, index - DAY_MINUTES), index):
            self._index = idle
            self._close()
        self._index = index

    def _close(self) -> None:
        minute, self._minute = self._minute, Tally()
        for total in (*self._sums.values(), self._hour):
            total.merge(minute)
        described = self._describe(self._index * int(MINUTE), minute)
        self._closed.append(_Closed(self._encoder.encode(minute), described))
        if len(self._closed) >= HOUR_MINUTES:
            self._take_away("hour", self._closed[-HOUR_MINUTES])
        if len(self._closed) >= DAY_MINUTES:
            self._take_away("day", self._closed.popleft())

    def _take_away(self, span: Span, closed: _Closed) -> None:
        self._sums[span].merge(self._decoder.decode(closed.packed), -1)

    def _rename(self, minutes: int) -> None:
        self._offset += minutes * MINUTE
        self._index += minutes
        shift = minutes * int(MINUTE)
        self._closed = deque(
            _Closed(packed, structs.replace(minute, at=minute.at + shift))
            for packed, minute in self._closed
        )


def _merge(mine: dict[Key, int], others: dict[Key, int], sign: int) -> None:
    for key, count in others.items():
        total = mine.get(key, 0) + sign * count
        if total:
            mine[key] = total
        else:
            mine.pop(key, None)


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, count in pairs:
        sums[name] = sums.get(name, 0) + count
    return sums
