"""Discord's limits of how often one may ask, as fixed windows that begin with a first request."""

import hashlib
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_INVALID_WINDOW_SECONDS = 600.0


@dataclass(frozen=True)
class Limit:
    """How many requests are served in a window of so many seconds."""

    requests: int
    seconds: float


@dataclass
class _Window:
    ends_at: float = -math.inf
    used: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether a request is served (`retry_after` is None), and the headers that tell how things
    stand."""

    headers: dict[str, str]
    retry_after: float | None = None
    is_global: bool = False


class Limits:
    """Keeps the windows. `by_route` may be changed at any time; a route that it does not name has
    the global limit only. A window belongs to a route and a channel."""

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.by_route = {
            "create_message": Limit(5, 5.0),
            "edit_message": Limit(5, 5.0),
            "delete_message": Limit(5, 1.0),
            "typing": Limit(5, 5.0),
        }
        self.everything = Limit(50, 1.0)
        self.invalid_requests = 10_000
        self._clock = clock
        self._wall_clock = wall_clock
        self._windows: dict[tuple[str, int], _Window] = {}
        self._global = _Window()
        self._invalid_at: deque[float] = deque()

    def take(self, route: str, major_id: int) -> Verdict:
        """Count a request in, or refuse it."""
        wait = self._use(self._global, self.everything)
        if wait is not None:
            headers = {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
            return Verdict(headers, wait, is_global=True)
        limit = self.by_route.get(route)
        if limit is None:
            return Verdict({})
        window = self._windows.setdefault((route, major_id), _Window())
        wait = self._use(window, limit)
        headers = self._headers(route, window, limit)
        if wait is not None:
            headers["X-RateLimit-Scope"] = "user"
        return Verdict(headers, wait)

    def note_invalid(self) -> None:
        """Count a request that was answered with 401, 403 or 429."""
        self._invalid_at.append(self._clock())

    def invalid_lately(self) -> int:
        """Return how many invalid requests came within the latest ten minutes."""
        while self._invalid_at and self._clock() - self._invalid_at[0] >= _INVALID_WINDOW_SECONDS:
            self._invalid_at.popleft()
        return len(self._invalid_at)

    def is_banned(self) -> bool:
        """Tell whether so many requests were invalid that none is served any more."""
        return self.invalid_lately() >= self.invalid_requests

    def _use(self, window: _Window, limit: Limit) -> float | None:
        """Take a place in a window; return how long to wait if it has none."""
        now = self._clock()
        if now >= window.ends_at:
            window.ends_at, window.used = now + limit.seconds, 0
        if window.used >= limit.requests:
            return window.ends_at - now
        window.used += 1
        return None

    def _headers(self, route: str, window: _Window, limit: Limit) -> dict[str, str]:
        # Rounded up: a client that comes back at the told moment must not be too early.
        left = math.ceil((window.ends_at - self._clock()) * 1000) / 1000
        return {
            "X-RateLimit-Limit": str(limit.requests),
            "X-RateLimit-Remaining": str(limit.requests - window.used),
            "X-RateLimit-Reset": f"{self._wall_clock() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(route.encode()).hexdigest()[:32],
        }
