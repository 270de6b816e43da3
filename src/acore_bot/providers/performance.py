"""How a provider has done lately: times, speed, and what went wrong.

A request costs a few reads of the clock and three appends, a piece of its answer nothing. Speed is
the tokens that the server counted over the whole time of the answer, the wait for its first piece
included: a rate over the pieces alone would be wild where they arrive together.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from acore_bot.contracts import Percentiles, PerformanceStats
from acore_bot.errors import AcoreError, Unexpected
from acore_bot.messages import End

_WINDOW = 512


class Measurement:
    """What one request came to. Its provider, and whoever reads its answer, note it here."""

    def __init__(self, model: str, clock: Callable[[], float]) -> None:
        self.model = model
        self.is_open = False
        self.first_delta_seconds: float | None = None
        self.seconds: float | None = None
        self.end: End | None = None
        self.error_kind = ""
        self._clock = clock
        self._began_at = clock()

    def note_open(self) -> None:
        """From here on only the stream tells errors: what else is raised is its reader's."""
        self.is_open = True

    def note_first_delta(self) -> None:
        """Text or reasoning has come."""
        self.first_delta_seconds = self._clock() - self._began_at

    def note_end(self, end: End) -> None:
        """The answer is over."""
        self.seconds = self._clock() - self._began_at
        self.end = end

    def note_error(self, error: Exception) -> None:
        """There is no answer, or no more of it."""
        self.error_kind = error.kind if isinstance(error, AcoreError) else Unexpected.kind


class PerformanceLog:
    """The figures of one provider since it was made or reset. `clock` tells monotonic seconds.

    Percentiles are of the last 512 answers. An answer that breaks off counts as an error of the
    kind `truncated`; one that its reader left before the end as cancelled, and as no error.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_deltas = deque[float](maxlen=_WINDOW)
        self._responses = deque[float](maxlen=_WINDOW)
        self._speeds = deque[float](maxlen=_WINDOW)
        self._errors = Counter[str]()
        self.reset()

    def reset(self) -> None:
        """Forget all. A request that is under way counts once it is over."""
        self._began_at = self._clock()
        for window in (self._first_deltas, self._responses, self._speeds):
            window.clear()
        self._errors.clear()
        self._requests = self._cancelled = self._answered = self._tokens = 0
        self._answer_seconds = self._last_seconds = self._last_speed = 0.0
        self._model = ""

    @contextmanager
    def measured(self, model: str) -> Iterator[Measurement]:
        """Count what happens within the block as one request, whatever becomes of it."""
        measurement = Measurement(model, self._clock)
        try:
            yield measurement
        except Exception as error:
            if not measurement.is_open:
                measurement.note_error(error)
            raise
        finally:
            self._add(measurement)

    def stats(self) -> PerformanceStats:
        """Return the figures of now."""
        average = self._answer_seconds / self._answered if self._answered else 0.0
        return PerformanceStats(
            last_response_time_seconds=self._last_seconds,
            last_response_time_ms=self._last_seconds * 1000,
            last_tps=self._last_speed,
            average_response_time_seconds=average,
            average_response_time_ms=average * 1000,
            total_requests=self._requests,
            total_tokens_generated=self._tokens,
            model=self._model,
            first_delta_seconds=_percentiles(self._first_deltas),
            tokens_per_second=_percentiles(self._speeds),
            response_time_seconds=_percentiles(self._responses),
            errors=dict(self._errors),
            cancelled_requests=self._cancelled,
            uptime_seconds=self._clock() - self._began_at,
        )

    def _add(self, measurement: Measurement) -> None:
        self._requests += 1
        self._model = measurement.model
        if measurement.first_delta_seconds is not None:
            self._first_deltas.append(measurement.first_delta_seconds)
        if measurement.error_kind:
            self._errors[measurement.error_kind] += 1
        elif measurement.end is None or measurement.seconds is None:
            self._cancelled += 1
        elif measurement.end.finish_reason == "truncated":
            self._errors["truncated"] += 1
        else:
            self._add_answer(measurement.end, measurement.seconds)

    def _add_answer(self, end: End, seconds: float) -> None:
        self._answered += 1
        self._answer_seconds += seconds
        self._last_seconds = seconds
        self._last_speed = 0.0
        self._responses.append(seconds)
        if end.usage is not None:
            self._tokens += end.usage.completion_tokens
            if seconds > 0:
                self._last_speed = end.usage.completion_tokens / seconds
                self._speeds.append(self._last_speed)


def _percentiles(window: Iterable[float]) -> Percentiles:
    ordered = sorted(window)
    return Percentiles(p50=_nearest_rank(ordered, 50), p95=_nearest_rank(ordered, 95))


def _nearest_rank(ordered: list[float], percent: int) -> float | None:
    """Return the smallest value that so many percent of all do not exceed; None of nothing."""
    return ordered[math.ceil(percent * len(ordered) / 100) - 1] if ordered else None
