"""A clock that stands still until it is told otherwise."""

import asyncio


class SettableClock:
    """Tells `now`, in seconds, which a test may set or advance."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once, and the others have their turn."""
        self.now += seconds
        await asyncio.sleep(0)
