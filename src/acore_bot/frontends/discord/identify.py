"""How often a bot may begin a new session: Discord allows a thousand identifies a day, and a bot
that a supervisor starts again and again would use them up and be locked out.

So what was begun is remembered across processes, and whoever begins too often waits before the next
connection: 60 starts in 24 hours are free, further ones are 36 minutes apart. That makes at most 60
+ 86,400 / 2,160 = 100 a day. Every shard begins a session of its own; of those, 900 a day are the
most. Source of the limit: Discord's gateway documentation, `session_start_limit`.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
FREE_STARTS = 60
SPACING_SECONDS = 2_160.0
MOST_IDENTIFIES = 900

LoadIdentifies = Callable[[], Awaitable[Sequence[float]]]
SaveIdentifies = Callable[[Sequence[float]], Awaitable[None]]


async def never() -> Sequence[float]:
    """Remember no session."""
    return ()


async def keep_nowhere(_: Sequence[float]) -> None:
    """Keep nothing."""


class IdentifyBudget:
    """Knows when sessions began, in seconds since 1970, and when the next one may.

    `load` and `save` keep it across processes; `wall` is the time of day, which may be set back: a
    session that is yet to come is taken for one of now.
    """

    def __init__(
        self,
        load: LoadIdentifies,
        save: SaveIdentifies,
        *,
        sleep: Callable[[float], Awaitable[None]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._load, self._save = load, save
        self._sleep, self._wall = sleep, wall

    async def wait(self, shards: int) -> None:
        """Return when a bot of so many shards may begin its sessions."""
        pause = self.pause(await self._lately(), max(shards, 1))
        if pause > 0:
            log.warning(
                "This bot was started %d times or more within a day, and Discord locks out who "
                "connects too often, so the next connection waits for %.0f minutes.",
                FREE_STARTS,
                pause / 60,
            )
            await self._sleep(pause)

    def pause(self, lately: Sequence[float], shards: int) -> float:
        """Say for how many seconds to wait, given when the sessions of the last day began."""
        now, pause = self._wall(), 0.0
        if len(lately) >= FREE_STARTS * shards:
            pause = lately[-1] + SPACING_SECONDS - now
        if (surplus := len(lately) + shards - MOST_IDENTIFIES) > 0 and lately:
            pause = max(pause, lately[min(surplus, len(lately)) - 1] + DAY_SECONDS - now)
        return max(pause, 0.0)

    async def note(self) -> None:
        """Remember that a session begins now."""
        await self._save([*await self._lately(), self._wall()])

    async def _lately(self) -> list[float]:
        now = self._wall()
        return sorted(min(at, now) for at in await self._load() if at > now - DAY_SECONDS)
