"""Says in Prometheus' words what the metrics hold.

Where OpenTelemetry's conventions for generative AI have a name, it is used, with their bounds and
labels; everything else begins with `acore_`. Counters hold what happened since the start.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeAlias, get_args

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from acore_bot.telemetry.counting import TRILLION
from acore_bot.telemetry.events import BreakerState
from acore_bot.telemetry.figures import BatchStats, Now, Span
from acore_bot.telemetry.windows import Histogram, Label, Tally

MODEL: Final = "gen_ai_request_model"
ERROR: Final = "error_type"
CONVENTIONAL: Final = ("gen_ai_operation_name", "gen_ai_provider_name")
# Each bound, beside the number of doublings that lead to it.
SECONDS_BOUNDS: Final = tuple((0.01 * 2**n, n) for n in range(14))
TOKENS_BOUNDS: Final = tuple((float(4**n), 2 * n) for n in range(14))

Value: TypeAlias = tuple[Label, float]


class Counted(Protocol):
    """Who counts, such as `Metrics`."""

    def total(self, span: Span) -> Tally:
        """Return all that was counted in a span."""


class _Counter(Struct, frozen=True):
    """A family of counters: its name here and in the tally, where `parts` are one. `known` are the
    values of its label if they are the same for every bot."""

    name: str
    counted: str
    says: str
    labels: tuple[str, ...] = ()
    parts: int = 1
    known: tuple[str, ...] = ()

    def collect(self, tally: Tally) -> Metric:
        family = CounterMetricFamily(self.name, self.says, labels=self.labels)
        # What is known is there from the beginning, so that a rate sees its first step.
        known = [(value,) for value in self.known] if self.labels else [()]
        counts = dict.fromkeys(known, 0) | tally.counts.get(self.counted, {})
        for label, count in counts.items():
            family.add_metric(label, count / self.parts)
        return family


class _Distribution(Struct, frozen=True):
    """A family of histograms: its name here and in the tally. `is_operation`: it is one of the
    conventions', and tells an operation's kind and provider too."""

    name: str
    measured: str
    says: str
    labels: tuple[str, ...] = ()
    bounds: tuple[tuple[float, int], ...] = SECONDS_BOUNDS
    is_operation: bool = False

    def collect(self, tally: Tally) -> Metric:
        names = (*CONVENTIONAL, *self.labels) if self.is_operation else self.labels
        family = HistogramMetricFamily(self.name, self.says, labels=names)
        for label, histogram in tally.under(self.measured).items():
            values = (*_conventional(label[0]), *label) if self.is_operation else label
            family.add_metric(values, self._buckets(histogram), histogram.total)
        return family

    def _buckets(self, histogram: Histogram) -> list[tuple[str, float]]:
        buckets = [(repr(bound), float(histogram.up_to(n))) for bound, n in self.bounds]
        return [*buckets, ("+Inf", float(histogram.count))]


class _Gauge(Struct, frozen=True):
    """A family of gauges. `values` finds them, with their labels, in what is now."""

    name: str
    says: str
    values: Callable[[Now], Iterable[Value]]
    labels: tuple[str, ...] = ()

    def collect(self, now: Now) -> Metric:
        family = GaugeMetricFamily(self.name, self.says, labels=self.labels)
        for label, value in self.values(now):
            family.add_metric(label, value)
        return family


DISTRIBUTIONS: Final = (
    _Distribution(
        "gen_ai_client_operation_duration_seconds",
        "operation",
        "How long a model took for an answer, or until it failed.",
        (MODEL, ERROR),
        is_operation=True,
    ),
    _Distribution(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "first_chunk",
        "How long a model took for the first piece of an answer.",
        (MODEL,),
        is_operation=True,
    ),
    _Distribution(
        "gen_ai_client_token_usage",
        "tokens",
        "Tokens that an answer took.",
        (MODEL, "gen_ai_token_type"),
        TOKENS_BOUNDS,
        is_operation=True,
    ),
    _Distribution(
        "acore_turn_duration_seconds", "response", "How long people waited for a whole answer."
    ),
    _Distribution(
        "acore_turn_first_delta_seconds",
        "first_delta",
        "How long people waited for the first words of an answer.",
    ),
    _Distribution(
        "acore_turn_stage_seconds", "stage", "Where the time of a turn went.", ("stage",)
    ),
    _Distribution(
        "acore_command_duration_seconds", "command", "How long commands took.", ("command",)
    ),
    _Distribution(
        "acore_model_load_seconds", "model_load", "How long a model took to load.", (MODEL,)
    ),
    _Distribution(
        "acore_discord_rate_limit_seconds",
        "rate_limited",
        "How long Discord wanted us to wait.",
        ("route", "scope"),
    ),
    _Distribution(
        "acore_loop_stall_seconds", "loop_stall", "How long the event loop was kept busy."
    ),
)

COUNTERS: Final = (
    _Counter("acore_turns_finished", "finished", "Messages answered.", (MODEL, "finish_reason")),
    _Counter("acore_turns_failed", "failed", "Messages without an answer.", (MODEL, ERROR)),
    _Counter("acore_turns_refused", "refused", "Messages not to be answered.", ("reason",)),
    _Counter("acore_turns_shared", "shared", "Answers that several people shared."),
    _Counter("acore_turns_cached", "cached", "Answers given before."),
    _Counter(
        "acore_saved_calls", "saved_calls", "Calls that no model had to answer.", (MODEL, "way")
    ),
    _Counter(
        "acore_saved_tokens",
        "saved_tokens",
        "Tokens that were not asked for.",
        ("way",),
        known=("shared", "cached"),
    ),
    _Counter(
        "acore_prompt_cached_tokens",
        "cached_tokens",
        "Tokens of prompts that a server did not have to read anew.",
        (MODEL,),
    ),
    _Counter("acore_cost_dollars", "cost_trillionths", "What answers cost.", (MODEL,), TRILLION),
    _Counter(
        "acore_fallbacks", "fell_back", "Answers by another model than the asked.", (MODEL, ERROR)
    ),
    _Counter(
        "acore_breaker_changes", "breaker_changes", "New states of breakers.", (MODEL, "state")
    ),
    _Counter("acore_model_loads", "model_loads", "Models that began to load.", (MODEL,)),
    _Counter(
        "acore_history_reads",
        "history_reads",
        "Conversations wanted from memory.",
        ("outcome",),
        known=("hit", "miss"),
    ),
    _Counter("acore_history_evictions", "history_evictions", "Conversations that left the memory."),
    _Counter("acore_prompt_trims", "prompt_trims", "Prompts that were cut."),
    _Counter(
        "acore_prompt_dropped_messages",
        "prompt_dropped_messages",
        "Messages that left a prompt when it was cut.",
    ),
    _Counter("acore_command_errors", "command_errors", "Commands that failed.", (ERROR,)),
    _Counter(
        "acore_gateway_changes",
        "gateway_changes",
        "Connections found or lost.",
        ("state",),
        known=("ready", "resumed", "lost"),
    ),
    _Counter("acore_gateway_reconnects", "reconnects", "Connections found again."),
    _Counter("acore_hours_ended", "hours", "Hours that were summed up."),
)

GAUGES: Final = (
    _Gauge("acore_uptime_seconds", "Since the start.", lambda now: [((), now.uptime_seconds)]),
    _Gauge("acore_open_answers", "Being written.", lambda now: [((), now.open_answers)]),
    _Gauge("acore_flights", "Calls to models under way.", lambda now: [((), now.flights)]),
    _Gauge(
        "acore_conversations_in_memory",
        "Held by the history's cache.",
        lambda now: [((), now.conversations_in_memory)],
    ),
    _Gauge(
        "acore_loop_lag_seconds",
        "How late the event loop is.",
        lambda now: [((), now.loop_lag_seconds)],
    ),
    _Gauge(
        "acore_model_reachable",
        "Whether a model gave the newest answer; absent before anybody asked.",
        lambda now: [((), value) for value in (now.is_model_reachable,) if value is not None],
    ),
    _Gauge(
        "acore_requests_in_line",
        "Requests that wait for a provider.",
        lambda now: [((each.name,), each.in_line) for each in now.providers],
        ("provider",),
    ),
    _Gauge(
        "acore_requests_running",
        "Requests that a provider answers.",
        lambda now: [((each.name,), each.running) for each in now.providers],
        ("provider",),
    ),
    _Gauge(
        "acore_breaker_state",
        "1 for the state in which a model's breaker is.",
        lambda now: [
            ((each.model, state), each.state == state)
            for each in now.breakers
            for state in get_args(BreakerState)
        ],
        (MODEL, "state"),
    ),
    _Gauge(
        "acore_shard_connected",
        "Whether a shard is connected to Discord.",
        lambda now: [((str(each.shard),), each.is_connected) for each in now.shards],
        ("shard",),
    ),
    _Gauge(
        "acore_shard_latency_seconds",
        "Of a shard's last heartbeat.",
        lambda now: [
            ((str(each.shard),), each.latency_seconds)
            for each in now.shards
            if each.latency_seconds is not None
        ],
        ("shard",),
    ),
)


class _Exposed(Collector):
    """All families, made anew for each look at them."""

    def __init__(
        self, metrics: Counted, now: Callable[[], Now], batch: Callable[[], BatchStats]
    ) -> None:
        self._metrics = metrics
        self._now = now
        self._batch = batch

    def collect(self) -> Iterator[Metric]:
        tally, now = self._metrics.total("start"), self._now()
        yield from (family.collect(tally) for family in DISTRIBUTIONS)
        yield from (family.collect(tally) for family in COUNTERS)
        yield from (family.collect(now) for family in GAUGES)
        yield from _log_of_events(self._batch())


def exposition(
    metrics: Counted, now: Callable[[], Now], batch: Callable[[], BatchStats]
) -> Callable[[], bytes]:
    """Return a function that writes the page which Prometheus reads, in its text format 0.0.4."""
    # Its names are known to be unlike each other, so it need not be asked for them at once.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposed(metrics, now, batch))
    return lambda: generate_latest(registry)


def _log_of_events(batch: BatchStats) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "acore_log_pending_events", "Events not yet in the log.", value=batch.pending_events
    )
    for name, says, count in (
        ("acore_log_written_events", "Events written to the log.", batch.written),
        ("acore_log_dropped_events", "Events for which there was no room.", batch.dropped),
        ("acore_log_failures", "Attempts to write to the log that failed.", batch.failed),
    ):
        yield CounterMetricFamily(name, says, value=count)


def _conventional(model: str) -> Label:
    """Say what the conventions ask of every operation; a model's name begins with its provider."""
    return "chat", model.partition("/")[0]
