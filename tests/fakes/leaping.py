"""An event loop whose time passes only while everybody waits, for tests of long stories."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

STUCK_SECONDS = 5.0


class LeapingSelector(selectors.SelectSelector):
    """Waits by letting the clock leap, unless something came over a socket. A look at it takes
    `look_seconds`, which those need who look again until a moment is over."""

    def __init__(self, look_seconds: float) -> None:
        super().__init__()
        self._look_seconds = look_seconds
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once, later."""
        ready = super().select(0 if timeout is not None else STUCK_SECONDS)
        if not ready and timeout is None:
            raise AssertionError("Everybody waits, and nobody for the time.")
        if not ready and timeout is not None:
            self.now += max(timeout, self._look_seconds)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps."""

    def __init__(self, look_seconds: float) -> None:
        self._leaping = LeapingSelector(look_seconds)
        super().__init__(self._leaping)

    def time(self) -> float:
        """Tell the time, which is exact but for the looks at it."""
        return self._leaping.now


def leap(story: Callable[[], Coroutine[Any, Any, None]], *, look_seconds: float = 0.0) -> None:
    """Run a story in a time of its own, for an hour of it at the most."""

    async def bounded() -> None:
        async with asyncio.timeout(3600):
            await story()

    with asyncio.Runner(loop_factory=partial(LeapingLoop, look_seconds)) as runner:
        runner.run(bounded())


def now() -> float:
    """Tell the running loop's time."""
    return asyncio.get_running_loop().time()
