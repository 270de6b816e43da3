"""Events of each kind, and metrics that hear them, over clocks that a test advances."""

import asyncio
from typing import Any, Literal, get_args, get_origin

from msgspec import structs
from tests.fakes.clock import SettableClock

from acore_bot.ops.prometheus import exposition
from acore_bot.telemetry.events import (
    STAGES,
    Event,
    HourEnded,
    Stages,
    TurnFailed,
    TurnFinished,
)
from acore_bot.telemetry.figures import BatchStats, Now
from acore_bot.telemetry.metrics import Metrics

BEGIN = 1_800_000_000  # a full hour
BATCH = BatchStats(pending_events=0, batch_size=50, batch_interval=5.0, batch_task_running=True)
EXAMPLES: dict[object, object] = {
    str: "demo/m",
    int: 3,
    float: 1.5,
    bool: False,
    Stages: Stages(**{name: 0.1 * (number + 1) for number, name in enumerate(STAGES)}),
}


def example(kind: type[Event]) -> Event:
    """Make an event of a kind: every number is known, and no claim holds."""
    fields = {field.name: _example_of(field.type) for field in structs.fields(kind)}
    return kind(**fields)


def every_kind() -> tuple[Event, ...]:
    """Make one event of each kind that there is."""
    return tuple(example(kind) for kind in get_args(Event))


def _example_of(kind: Any) -> Any:  # noqa: ANN401 - a type, and a value of it
    if get_origin(kind) is Literal:
        return get_args(kind)[-1]
    options = [each for each in get_args(kind) if each is not type(None)] or [kind]
    return EXAMPLES[options[0]]


def finished(
    *,
    model: str = "demo/m",
    seconds: float = 2.0,
    prompt_tokens: int | None = 100,
    completion_tokens: int | None = 20,
    cost: float | None = None,
    stages: Stages = Stages(),  # noqa: B008 - it is frozen
    is_shared: bool = False,
    is_cached: bool = False,
) -> TurnFinished:
    """Make a turn that was answered."""
    return TurnFinished(
        model=model,
        finish_reason="stop",
        first_delta_seconds=0.5,
        total_seconds=seconds,
        stages=stages,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost=cost,
        is_shared=is_shared,
        is_cached=is_cached,
    )


def failed(kind: str = "timeout", model: str = "demo/m") -> TurnFailed:
    """Make a turn that found no answer."""
    return TurnFailed(model=model, kind=kind, total_seconds=3.0)


class Watched:
    """Metrics over clocks that a test advances, with all that they logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, object]] = []
        self.clock = SettableClock(5000.0)
        self.wall = SettableClock(BEGIN)
        self.metrics = Metrics(self.log, clock=self.clock, wall=self.wall, sleep=self.sleep)
        self.page = exposition(self.metrics, lambda: Now(at=0.0, uptime_seconds=0.0), lambda: BATCH)
        self.hours: asyncio.Queue[HourEnded] = asyncio.Queue()

    def log(self, name: str, event: object) -> None:
        """Remember what was logged."""
        self.logged.append((name, event))
        if isinstance(event, HourEnded):
            self.hours.put_nowait(event)

    def advance(self, seconds: float) -> None:
        """Let time pass by both clocks."""
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once, and the others have their turn."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def hear(self, *events: Event) -> None:
        """Let things happen."""
        for event in events:
            self.metrics.on_event(event)

    def shown(self) -> tuple[object, ...]:
        """Show all that there is to see."""
        metrics = self.metrics
        figures = [metrics.figures(span) for span in ("hour", "day", "start")]
        return (figures, metrics.minutes(), metrics.slow_turns(), metrics.breakers, self.page())
