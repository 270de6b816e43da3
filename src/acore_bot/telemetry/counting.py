"""Writes events into tallies, under labels that are bounded.

An answer that several people shared was asked for, and paid, once: of the turns that tell the same
usage by the same model within a minute, the first one counts as having used it, and the others as
having saved it.
"""

from typing import Final, TypeAlias, assert_never

from acore_bot.telemetry.events import (
    STAGES,
    BreakerChanged,
    CachedAnswer,
    CommandUsed,
    Event,
    FellBack,
    FlightJoined,
    GatewayChanged,
    HistoryEvicted,
    HistoryRead,
    HourEnded,
    LoopLagged,
    ModelLoaded,
    ModelLoading,
    PromptTrimmed,
    RateLimited,
    TurnFailed,
    TurnFinished,
    TurnRefused,
)
from acore_bot.telemetry.windows import MILLION, TOKENS, Tally

MAX_LABELS: Final = 64
MAX_LABEL_LENGTH: Final = 100
OTHER: Final = "other"
SHARED_SECONDS: Final = 60.0
MAX_SUMMAND: Final = 10_000.0  # dollars, or seconds of streaming
TRILLION: Final = 10**12

_OfMachines: TypeAlias = (
    ModelLoading
    | ModelLoaded
    | BreakerChanged
    | FellBack
    | RateLimited
    | GatewayChanged
    | LoopLagged
)
_AroundTurns: TypeAlias = (
    HistoryRead | HistoryEvicted | PromptTrimmed | CommandUsed | HourEnded | _OfMachines
)


def label(name: str) -> str:
    """Make a label of a name: not too long, and fit to be written anywhere."""
    return name[:MAX_LABEL_LENGTH].encode("utf-8", "replace").decode()


class Labels:
    """The values of one sort of label: 64 of them, and "other"."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return what a name is counted under."""
        name = name[:MAX_LABEL_LENGTH]
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= MAX_LABELS:
                return OTHER
            known = self._known[name] = label(name)
        return known


class Counting:
    """Writes events into tallies. Not for several threads at once."""

    def __init__(self) -> None:
        self._model = Labels()
        self._kind = Labels()
        self._reason = Labels()
        self._command = Labels()
        self._route = Labels()
        self._shared: dict[tuple[object, ...], float] = {}
        self._connected: set[int] = set()

    def write(self, tally: Tally, event: Event, now: float) -> None:
        """Count what an event says; `now` is monotonic."""
        match event:
            case TurnFinished():
                self._finished(tally, event, now)
            case TurnFailed(model=model, kind=kind):
                model, kind = self._model(model), self._kind(kind)
                tally.count("failed", model, kind)
                tally.measure("operation", _operation_seconds(event), model, kind)
                self._stages(tally, event)
            case TurnRefused(kind):
                tally.count("refused", self._kind(kind))
            case FlightJoined(model):
                tally.count("saved_calls", self._model(model), "shared")
            case CachedAnswer(model, tokens):
                tally.count("saved_calls", self._model(model), "cached")
                tally.count("saved_tokens", "cached", by=tokens)
            case _:
                self._around_turns(tally, event)

    def _around_turns(self, tally: Tally, event: "_AroundTurns") -> None:
        match event:
            case HistoryRead(is_hit):
                tally.count("history_reads", "hit" if is_hit else "miss")
            case HistoryEvicted(conversations):
                tally.count("history_evictions", by=conversations)
            case PromptTrimmed(dropped_messages=dropped):
                tally.count("prompt_trims")
                tally.count("prompt_dropped_messages", by=dropped)
            case CommandUsed(name, seconds, kind):
                tally.measure("command", seconds, self._command(name))
                if kind:
                    tally.count("command_errors", self._kind(kind))
            case HourEnded():
                tally.count("hours")
            case _:
                self._of_machines(tally, event)

    def _of_machines(self, tally: Tally, event: "_OfMachines") -> None:
        match event:
            case ModelLoading(model):
                tally.count("model_loads", self._model(model))
            case ModelLoaded(model, seconds):
                tally.measure("model_load", seconds, self._model(model))
            case BreakerChanged(model, state):
                tally.count("breaker_changes", self._model(model), state)
            case FellBack(asked=asked, kind=kind):
                tally.count("fell_back", self._model(asked), self._kind(kind))
            case RateLimited(route, seconds, is_global):
                scope = "global" if is_global else "route"
                tally.measure("rate_limited", seconds, self._route(route), scope)
            case GatewayChanged(shard, state):
                tally.count("gateway_changes", state)
                self._connection(tally, shard, is_up=state != "lost")
            case LoopLagged(seconds):
                tally.measure("loop_stall", seconds)
            case _:
                assert_never(event)

    def _connection(self, tally: Tally, shard: int, *, is_up: bool) -> None:
        if is_up and shard in self._connected:
            tally.count("reconnects")
        elif is_up:
            self._connected.add(shard)

    def _finished(self, tally: Tally, event: TurnFinished, now: float) -> None:
        model = self._model(event.model)
        tally.count("finished", model, self._reason(event.finish_reason))
        tally.measure("response", event.total_seconds)
        if event.first_delta_seconds is not None:
            tally.measure("first_delta", event.first_delta_seconds)
        self._stages(tally, event)
        if event.is_shared:
            tally.count("shared")
        if event.is_cached:
            tally.count("cached")
        if self._is_anothers(event, now):
            tokens = (event.prompt_tokens or 0) + (event.completion_tokens or 0)
            tally.count("saved_tokens", "shared", by=tokens)
        elif not event.is_cached:
            self._used(tally, event, model)

    def _used(self, tally: Tally, event: TurnFinished, model: str) -> None:
        tally.measure("operation", _operation_seconds(event), model, "")
        first = event.stages.first_delta
        first = event.first_delta_seconds if first is None else first
        if first is not None:
            tally.measure("first_chunk", first, model)
        if event.prompt_tokens is not None:
            tally.measure("tokens", event.prompt_tokens, model, "input", unit=TOKENS)
        if event.cached_tokens:
            tally.count("cached_tokens", model, by=event.cached_tokens)
        if event.cost:
            tally.count("cost_trillionths", model, by=_whole(event.cost, TRILLION))
        if event.completion_tokens is not None:
            tally.measure("tokens", event.completion_tokens, model, "output", unit=TOKENS)
            if event.stages.stream:
                tally.count("streamed_tokens", model, by=event.completion_tokens)
                tally.count("streamed_millionths", model, by=_whole(event.stages.stream, MILLION))

    def _is_anothers(self, event: TurnFinished, now: float) -> bool:
        """Tell whether the answer was asked for in another's turn, which has been counted."""
        if not event.is_shared:
            return False
        key = (event.model, event.prompt_tokens, event.completion_tokens)
        counted_at = self._shared.pop(key, None)
        is_anothers = counted_at is not None and now - counted_at < SHARED_SECONDS
        self._shared[key] = counted_at if counted_at is not None and is_anothers else now
        if len(self._shared) > MAX_LABELS:
            del self._shared[next(iter(self._shared))]
        return is_anothers

    def _stages(self, tally: Tally, event: TurnFinished | TurnFailed) -> None:
        stages = event.stages
        for name in STAGES:
            seconds = getattr(stages, name)
            if seconds is not None:
                tally.measure("stage", seconds, name)


def _operation_seconds(event: TurnFinished | TurnFailed) -> float:
    """Tell how long a model was at work, or the whole turn where that is not known."""
    known = [each for each in (event.stages.first_delta, event.stages.stream) if each is not None]
    return sum(known) if known else event.total_seconds


def _whole(value: float, parts: int) -> int:
    return round(min(max(0.0, value), MAX_SUMMAND) * parts)
