"""Counts what happens, and says how the bot has done in the last hour, the last day, or altogether.

Percentiles are at most 2 % away from the truth (see `windows`). Labels are bounded: of each sort
the first 64 are told apart, and what comes after them is "other".
"""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, get_args

from acore_bot.telemetry.counting import MAX_LABELS, Counting, label
from acore_bot.telemetry.events import (
    BreakerChanged,
    BreakerState,
    Event,
    HistoryRead,
    TurnFailed,
    TurnFinished,
)
from acore_bot.telemetry.figures import BreakerNow, Figures, Minute, SlowTurn, Span
from acore_bot.telemetry.slow_turns import SeenStacks, SlowTurns
from acore_bot.telemetry.summaries import figures_of, hour_of, minute_of
from acore_bot.telemetry.windows import Tally, Windows

HOUR_SECONDS: Final = 3600.0
LONGEST_SLEEP_SECONDS: Final = 60.0  # so that an hour ends in time although a clock was set
MODEL_IS_ILL: Final = frozenset(
    {"unavailable", "timeout", "overloaded", "broken_stream", "auth", "key_missing", "no_credit"}
)
EVENT_NAMES: Final = {
    kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Event)
}

Log: TypeAlias = Callable[[str, object], None]
Stats: TypeAlias = dict[str, float | None]


def keep_no_log(event_type: str, event_data: object) -> None:
    """Write nothing down."""


class Metrics:
    """What the bot did: hears events from any thread, and tells figures to any.

    `log` gets each event with its name in snake case, but for `HistoryRead`, of which there are too
    many. `clock` is monotonic, `wall` tells Unix seconds. Whoever watches the loop notes in
    `stacks` what it was busy with.
    """

    def __init__(
        self,
        log: Log = keep_no_log,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.stacks = SeenStacks()
        self._log = log
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._lock = threading.Lock()
        self._counting = Counting()
        self._windows = Windows(minute_of, clock=clock, wall=wall)
        self._slow_turns = SlowTurns(self.stacks.between)
        self._breakers: dict[str, BreakerState] = {}
        self._is_model_reachable: bool | None = None
        self._hourly_reset: asyncio.Task[None] | None = None

    def on_event(self, event: Event) -> None:
        """Count an event and hand it to the log."""
        with self._lock:
            now = self._clock()
            self._counting.write(self._windows.current(), event, now)
            if isinstance(event, TurnFinished | TurnFailed):
                self._slow_turns.add(event, now=now, wall=self._wall())
                self._judge(event)
            elif isinstance(event, BreakerChanged):
                self._note_breaker(event)
        if not isinstance(event, HistoryRead):
            self._log(EVENT_NAMES[type(event)], event)

    @property
    def breakers(self) -> tuple[BreakerNow, ...]:
        """The state of each model's breaker that ever changed, by name."""
        with self._lock:
            return tuple(BreakerNow(*each) for each in sorted(self._breakers.items()))

    @property
    def is_model_reachable(self) -> bool | None:
        """Whether a model gave the newest answer, or was too ill to. What is the asker's matter,
        such as a message that is too long, changes nothing. None before anybody has asked."""
        return self._is_model_reachable

    def total(self, span: Span) -> Tally:
        """Return a copy of all that was counted in a span."""
        with self._lock:
            return self._windows.total(span)

    def figures(self, span: Span) -> Figures:
        """Sum up a span. It ends now; an hour and a day begin with a full minute."""
        with self._lock:
            seconds, tally = self._windows.seconds(span), self._windows.total(span)
        return figures_of(span, seconds, tally)

    def minutes(self) -> tuple[Minute, ...]:
        """Return the minutes of the last day, oldest first, or those since the start. None is left
        out: idle ones are empty. The last one is still under way."""
        with self._lock:
            return self._windows.minutes()

    def slow_turns(self) -> tuple[SlowTurn, ...]:
        """Return the 20 slowest turns of the last day, failed ones too, slowest first."""
        with self._lock:
            return self._slow_turns.slowest(self._clock())

    def get_summary(self) -> dict[str, object]:
        """Return what has happened since the start, under the names that monitors may know."""
        return {
            "uptime_seconds": self.figures("start").seconds,
            "response_times": self.get_response_time_stats(),
            "token_usage": self.get_token_usage(),
            "errors": self.get_error_stats(),
        }

    def get_response_time_stats(self) -> Stats:
        """Return `avg`, `min`, `max`, `p50`, `p95` and `p99` of all answers since the start, in
        milliseconds and None without any, and their `count`."""
        histogram = self.total("start").histogram("response")
        shares = {"min": 0.0, "max": 1.0, "p50": 0.5, "p95": 0.95, "p99": 0.99}
        if not histogram.count:
            return {"count": 0, "avg": None, **dict.fromkeys(shares)}
        average = histogram.total / histogram.count * 1000
        values = [value * 1000 for value in histogram.quantiles(*shares.values())]
        return {"count": histogram.count, "avg": average, **dict(zip(shares, values, strict=True))}

    def get_error_stats(self) -> dict[str, object]:
        """Return `total_errors`, `by_type`, and `error_rate` in percent of all turns since the
        start."""
        figures = self.figures("start")
        return {
            "total_errors": figures.failed,
            "by_type": figures.errors,
            "error_rate": figures.error_rate * 100,
        }

    def get_token_usage(self) -> dict[str, object]:
        """Return the tokens since the start: `total_tokens`, `prompt_tokens`, `completion_tokens`,
        and `by_model` the total of each."""
        figures = self.figures("start")
        return {
            "total_tokens": figures.prompt_tokens + figures.completion_tokens,
            "prompt_tokens": figures.prompt_tokens,
            "completion_tokens": figures.completion_tokens,
            "by_model": {
                each.model: each.prompt_tokens + each.completion_tokens for each in figures.models
            },
        }

    def start_hourly_reset(self) -> asyncio.Task[None]:
        """Log an `hour_ended` at each full hour from now on, until `stop_hourly_reset`. Once is
        enough; return the task that does it."""
        if self._hourly_reset is None:
            self._hourly_reset = asyncio.create_task(self._end_hours(), name="hourly reset")
        return self._hourly_reset

    async def stop_hourly_reset(self) -> None:
        """End it. Raises what kept it from going on, if something did."""
        task, self._hourly_reset = self._hourly_reset, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _end_hours(self) -> None:
        hour = self._wall() // HOUR_SECONDS
        while True:
            left = (hour + 1) * HOUR_SECONDS - self._wall()
            await self._sleep(min(max(left, 0.0), LONGEST_SLEEP_SECONDS))
            now = self._wall() // HOUR_SECONDS
            if now != hour:
                hour = now
                with self._lock:
                    ended = self._windows.end_hour()
                self.on_event(hour_of(ended))

    def _judge(self, event: TurnFinished | TurnFailed) -> None:
        if isinstance(event, TurnFailed):
            if event.kind in MODEL_IS_ILL:
                self._is_model_reachable = False
        elif not event.is_cached and event.first_delta_seconds is not None:
            self._is_model_reachable = True

    def _note_breaker(self, event: BreakerChanged) -> None:
        breakers, model = self._breakers, label(event.model)
        if model not in breakers and len(breakers) >= MAX_LABELS:
            # Who is well is the least missed.
            closed = (each for each, state in breakers.items() if state == "closed")
            del breakers[next(closed, next(iter(breakers)))]
        breakers[model] = event.state
