"""The slowest turns of the last day, with what the event loop was busy with meanwhile."""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from acore_bot.telemetry.counting import label
from acore_bot.telemetry.events import TurnFailed, TurnFinished
from acore_bot.telemetry.figures import SlowTurn

KEPT_TURNS: Final = 20
KEPT_STACKS: Final = 256
STACKS_PER_TURN: Final = 8
HOUR_SECONDS: Final = 3600.0
DAY_SECONDS: Final = 86_400.0


class SeenStacks:
    """What the loop was caught at, lately: the newest 256 stacks. Any thread may note or ask.

    Times are seconds of the monotonic clock that the turns are told by.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, str]] = deque(maxlen=KEPT_STACKS)

    def note(self, at: float, stack: str) -> None:
        """Remember what ran at a time."""
        self._seen.append((at, stack))

    def between(self, begin: float, end: float) -> tuple[str, ...]:
        """Return the newest eight that were seen within a time, oldest first, each once."""
        seen = dict.fromkeys(stack for at, stack in self._seen.copy() if begin <= at <= end)
        return tuple(seen)[-STACKS_PER_TURN:]


class _Kept(NamedTuple):
    seconds: float
    number: int  # decides between equals, so that turns themselves are never compared
    at: float
    turn: SlowTurn


class SlowTurns:
    """The 20 slowest turns of the last day, exactly.

    Each hour keeps its own 20, so one that grows too old makes room for one that was kept too;
    500 turns are held at the most.
    """

    def __init__(self, stacks: Callable[[float, float], tuple[str, ...]]) -> None:
        self._stacks = stacks
        self._numbers = count()
        self._hours: deque[tuple[int, list[_Kept]]] = deque()

    def add(self, event: TurnFinished | TurnFailed, *, now: float, wall: float) -> None:
        """Keep a turn that has just ended, if it is slow. `now` is monotonic and never goes back;
        `wall` is Unix seconds."""
        kept = self._hour_of(now)
        if len(kept) >= KEPT_TURNS and event.total_seconds <= kept[0].seconds:
            return
        turn = self._describe(event, now, wall)
        entry = _Kept(event.total_seconds, next(self._numbers), now, turn)
        if len(kept) < KEPT_TURNS:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)

    def slowest(self, now: float) -> tuple[SlowTurn, ...]:
        """Return the slowest ones that ended within the day before `now`, slowest first."""
        recent = [each for _, kept in self._hours for each in kept if each.at > now - DAY_SECONDS]
        return tuple(each.turn for each in heapq.nlargest(KEPT_TURNS, recent))

    def _hour_of(self, now: float) -> list[_Kept]:
        hour = int(now // HOUR_SECONDS)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, []))
        while self._hours[0][0] < hour - DAY_SECONDS // HOUR_SECONDS:
            self._hours.popleft()
        return self._hours[-1][1]

    def _describe(self, event: TurnFinished | TurnFailed, now: float, wall: float) -> SlowTurn:
        return SlowTurn(
            ended_at=wall,
            model=label(event.model),
            total_seconds=event.total_seconds,
            stages=event.stages,
            kind=label(event.kind) if isinstance(event, TurnFailed) else "",
            place=label(event.place),
            stacks=self._stacks(now - event.total_seconds, now),
        )
