"""Leaves an ill model alone for a while, and keeps retries from doubling an outage.

    closed ── 5 failures in a row, or half of at least 10 within 30 s ──► open
    open ── after 10 s, then 20, 40, … 300 s, each give or take 20 % ──► half open
    half open ── the one request let through is answered ──► closed
              └─ it fails ──► open, twice as long

Which errors count stands in `errors.py`. What a request reports counts only if the state is still
the one in which it began: an answer that was long under way says nothing about a server that has
died since.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from acore_bot.errors import ModelError, RateLimited, Unavailable
from acore_bot.telemetry.events import BreakerState

FAILURES_IN_A_ROW: Final = 5
MIN_CALLS: Final = 10
FAILURE_SHARE: Final = 0.5
WINDOW_SECONDS: Final = 30.0
OPEN_SECONDS: Final = 10.0
MAX_OPEN_SECONDS: Final = 300.0
JITTER: Final = 0.2
COOL_SECONDS: Final = 5.0  # where a server that refuses a request does not say for how long

RETRY_SHARE: Final = 0.2
RETRY_WINDOW_SECONDS: Final = 60.0


class Breaker:
    """The circuit breaker of one model. `on_change` hears each new state.

    `clock` is monotonic, in seconds; `random` returns numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self.state: BreakerState = "closed"
        self._clock = clock
        self._random = random
        self._on_change = on_change
        self._epoch = 0  # counts the changes of state
        self._failures_in_a_row = 0
        self._calls = _Recent(WINDOW_SECONDS, clock)
        self._failures = _Recent(WINDOW_SECONDS, clock)
        self._times_opened = 0
        self._reason: ModelError = Unavailable()  # why nobody is let in until the next:
        self._closed_until = float("-inf")
        self._is_probed = False

    def enter(self) -> "Attempt | None":
        """Let a request through, or None if the model is to be left alone now."""
        if self._clock() < self._closed_until or self._is_probed:
            return None
        if self.state == "open":
            self._change("half_open")
        self._is_probed = self.state == "half_open"
        return Attempt(self, self._epoch)

    def refusal(self) -> ModelError:
        """Tell why nobody is let in, and for how long: each time an exception of its own."""
        reason = self._reason
        return type(reason)(
            provider=reason.provider,
            model=reason.model,
            detail=reason.detail,
            remedy=reason.remedy,
            retry_after_seconds=max(0.0, self._closed_until - self._clock()),
        )

    def is_current(self, epoch: int) -> bool:
        """Whether the state is still the one of that count."""
        return epoch == self._epoch

    def succeed(self) -> int:
        """Count an answer. Return the count of the state that follows."""
        self._failures_in_a_row = 0
        self._calls.add()
        if self.state == "half_open":
            self._times_opened = 0
            self._change("closed")
        return self._epoch

    def fail(self, error: ModelError) -> None:
        """Count an error, if it is of a class that counts."""
        if isinstance(error, RateLimited):
            self._cool(error)
        if not error.counts_for_breaker:
            self.release()
            return
        self._failures_in_a_row += 1
        self._calls.add()
        self._failures.add()
        if error.opens_breaker or self.state == "half_open" or self._has_had_enough():
            self._open(error)

    def release(self) -> None:
        """Let the next request be the probe: this one has told nothing."""
        self._is_probed = False

    def _has_had_enough(self) -> bool:
        calls, failures = self._calls.count(), self._failures.count()
        return self._failures_in_a_row >= FAILURES_IN_A_ROW or (
            calls >= MIN_CALLS and failures >= FAILURE_SHARE * calls
        )

    def _open(self, error: ModelError) -> None:
        seconds = min(OPEN_SECONDS * 2.0**self._times_opened, MAX_OPEN_SECONDS)
        seconds *= 1 + JITTER * (2 * self._random() - 1)
        self._reason, self._closed_until = error, self._clock() + seconds
        # Beyond this it is five minutes anyway, and a float does not take every power.
        self._times_opened = min(self._times_opened + 1, 10)
        self._change("open")

    def _cool(self, error: RateLimited) -> None:
        told = error.retry_after_seconds
        seconds = min(COOL_SECONDS if told is None else told, MAX_OPEN_SECONDS)
        if self._clock() + seconds > self._closed_until:
            self._reason, self._closed_until = error, self._clock() + seconds

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._epoch += 1
        self._is_probed = False
        self._failures_in_a_row = 0
        self._calls.clear()
        self._failures.clear()
        self._on_change(state)


class Attempt:
    """A request that a breaker let through. Its first report counts, and later ones do nothing.

    In the end one of `succeed`, `fail` and `abandon` has to be called.
    """

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self.breaker = breaker
        self._epoch = epoch
        self._is_over = False

    @property
    def is_current(self) -> bool:
        """Whether the breaker has not changed its mind since."""
        return self.breaker.is_current(self._epoch)

    def begin_answer(self) -> None:
        """Report the first word: a model that was probed is well, however long the answer takes."""
        if self.is_current and self.breaker.state == "half_open":
            self._epoch = self.breaker.succeed()

    def succeed(self) -> None:
        """Report a whole answer."""
        if self._ends():
            self.breaker.succeed()

    def fail(self, error: ModelError) -> None:
        """Report an error."""
        if self._ends():
            self.breaker.fail(error)

    def abandon(self) -> None:
        """Report nothing: whoever asked has left."""
        if self._ends():
            self.breaker.release()

    def _ends(self) -> bool:
        was_over, self._is_over = self._is_over, True
        return self.is_current and not was_over


class RetryBudget:
    """Allows a fifth as many retries as there were first tries in the last minute, so that an
    outage does not double the load; one retry is always allowed."""

    def __init__(
        self, *, share: float = RETRY_SHARE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = share
        self._first_tries = _Recent(RETRY_WINDOW_SECONDS, clock)
        self._retries = _Recent(RETRY_WINDOW_SECONDS, clock)

    def count_first_try(self) -> None:
        """Count a request that is tried for the first time."""
        self._first_tries.add()

    def take(self) -> bool:
        """Take a retry out of the budget. False if none is left."""
        allowed = max(1.0, self._share * self._first_tries.count())
        if self._retries.count() + 1 > allowed:
            return False
        self._retries.add()
        return True


class _Recent:
    """Counts what happened in the last `seconds`."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._moments: deque[float] = deque()

    def add(self) -> None:
        self._moments.append(self._clock())
        self.count()  # so that what nobody asks about does not grow for ever

    def count(self) -> int:
        oldest = self._clock() - self._seconds
        while self._moments and self._moments[0] <= oldest:
            self._moments.popleft()
        return len(self._moments)

    def clear(self) -> None:
        self._moments.clear()
