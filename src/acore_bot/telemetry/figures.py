"""What the metrics say at a moment: frozen values for whoever shows them.

Times are seconds, rates from 0 to 1, money US dollars. None means that nothing was measured.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.telemetry.events import BreakerState, Stages

Span: TypeAlias = Literal["hour", "day", "start"]


class Quantiles(Struct, frozen=True):
    """How some durations spread. All but `count` are seconds, and None if there were none."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    longest: float | None = None


class ModelFigures(Struct, frozen=True, kw_only=True):
    """What one model did. `cost` is what is known of it."""

    model: str
    turns: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost: float
    tokens_per_second: float | None


class Figures(Struct, frozen=True, kw_only=True):
    """What happened within a span: the last hour, the last day, or since the start.

    `turns` counts every one that was answered or failed; `error_rate` is failed of these. `errors`
    and `commands` map stable words to counts, and so are bounded. `saved_calls` were answered by
    another's request or from answers given before, and `saved_tokens` were not asked for.
    """

    span: Span
    seconds: float
    turns: int = 0
    failed: int = 0
    refused: int = 0
    error_rate: float = 0.0
    response: Quantiles = Quantiles()
    first_delta: Quantiles = Quantiles()
    stages: dict[str, Quantiles] = {}
    models: tuple[ModelFigures, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    shared: int = 0
    cached: int = 0
    fell_back: int = 0
    saved_calls: int = 0
    saved_tokens: int = 0
    history_hits: int = 0
    history_misses: int = 0
    errors: dict[str, int] = {}
    commands: dict[str, int] = {}
    rate_limited: int = 0
    reconnects: int = 0


class Minute(Struct, frozen=True, kw_only=True):
    """One minute of the charts. `at` is its beginning, in Unix seconds. `stages` are the means of
    each stage, in seconds; `tokens_per_second` is of what models wrote."""

    at: int
    turns: int = 0
    failed: int = 0
    p50: float | None = None
    p95: float | None = None
    first_delta_p50: float | None = None
    stages: dict[str, float] = {}
    tokens: int = 0
    tokens_per_second: float | None = None
    cost: float = 0.0
    shared: int = 0
    cached: int = 0


class SlowTurn(Struct, frozen=True, kw_only=True):
    """One of the slowest turns. `ended_at` is Unix seconds; `stacks` are what the loop ran while it
    was late during this turn, as `module.function:line`, outermost first."""

    ended_at: float
    model: str
    total_seconds: float
    stages: Stages
    kind: str = ""
    place: str = ""
    stacks: tuple[str, ...] = ()


class ProviderState(Struct, frozen=True, kw_only=True):
    """How a provider is doing. `in_line` wait, `running` are being answered."""

    name: str
    in_line: int = 0
    running: int = 0


class BreakerNow(Struct, frozen=True):
    """Whether a model is asked at present."""

    model: str
    state: BreakerState


class ShardState(Struct, frozen=True, kw_only=True):
    """A shard's connection. `latency_seconds` is of its last heartbeat."""

    shard: int
    is_connected: bool
    latency_seconds: float | None = None


class Now(Struct, frozen=True, kw_only=True):
    """How the bot is at this moment. `open_answers` are being written; `flights` are calls to
    models that are shared or may be; `is_model_reachable` is None before anybody has asked."""

    at: float
    uptime_seconds: float
    open_answers: int = 0
    flights: int = 0
    conversations_in_memory: int = 0
    loop_lag_seconds: float = 0.0
    is_model_reachable: bool | None = None
    providers: tuple[ProviderState, ...] = ()
    breakers: tuple[BreakerNow, ...] = ()
    shards: tuple[ShardState, ...] = ()


class BatchStats(Struct, frozen=True, kw_only=True):
    """How the log of events is doing. `batch_interval` is seconds; counts are since the start."""

    pending_events: int
    batch_size: int
    batch_interval: float
    batch_task_running: bool
    written: int = 0
    dropped: int = 0
    failed: int = 0
