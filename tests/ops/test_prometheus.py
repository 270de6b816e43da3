"""What Prometheus reads, parsed as it does, and whether the dashboard asks for what is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.fakes.clock import SettableClock
from tests.fakes.happenings import every_kind, failed, finished

from acore_bot.ops.prometheus import exposition
from acore_bot.telemetry.events import (
    BreakerChanged,
    CachedAnswer,
    CommandUsed,
    Event,
    FellBack,
    FlightJoined,
    GatewayChanged,
    HistoryEvicted,
    HistoryRead,
    LoopLagged,
    ModelLoaded,
    PromptTrimmed,
    RateLimited,
    Stages,
    TurnFailed,
    TurnFinished,
)
from acore_bot.telemetry.figures import BatchStats, BreakerNow, Now, ProviderState, ShardState
from acore_bot.telemetry.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
NOW = Now(
    at=1_800_000_000.0,
    uptime_seconds=90.0,
    open_answers=2,
    flights=1,
    conversations_in_memory=7,
    loop_lag_seconds=0.25,
    is_model_reachable=True,
    providers=(ProviderState(name="demo", in_line=3, running=1),),
    breakers=(BreakerNow("demo/m", "open"),),
    shards=(
        ShardState(shard=0, is_connected=True, latency_seconds=0.04),
        ShardState(shard=1, is_connected=False),
    ),
)
BATCH = BatchStats(
    pending_events=4,
    batch_size=50,
    batch_interval=5.0,
    batch_task_running=True,
    written=1000,
    dropped=2,
    failed=3,
)
NAME = re.compile(r"\b(?:acore|gen_ai)_\w+")


class Page:
    """The page of some metrics, as Prometheus reads it."""

    def __init__(self, *, now: Now = NOW, batch: BatchStats = BATCH) -> None:
        self.clock = SettableClock()
        self.metrics = Metrics(clock=self.clock, wall=self.clock)
        self.write = exposition(self.metrics, lambda: now, lambda: batch)

    def hear(self, *events: Event) -> None:
        """Let things happen."""
        for event in events:
            self.metrics.on_event(event)

    def samples(self) -> Iterator[Sample]:
        """Parse all samples."""
        for family in text_string_to_metric_families(self.write().decode()):
            yield from family.samples

    def counters(self) -> dict[tuple[str, str], float]:
        """Find whatever must not fall: counters, and the counts and sums of histograms."""
        return {
            (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
            for family in text_string_to_metric_families(self.write().decode())
            for sample in family.samples
            if family.type in {"counter", "histogram"}
        }

    def __getitem__(self, name: str) -> dict[tuple[str, ...], float]:
        """Find the samples of a name, by the values of their labels in the order of its names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in self.samples()
            if sample.name == name
        }


@pytest.fixture
def page() -> Page:
    """Begin with nothing that happened."""
    return Page()


def test_a_turn_is_told_by_the_names_of_the_conventions(page: Page) -> None:
    """An operation has its duration, its first piece and its tokens, by the model that was asked,
    who provides it, and the error that ended it."""
    stages = Stages(queued=5.0, first_delta=0.5, stream=1.5)
    page.hear(finished(stages=stages), failed("timeout"))
    who = ("chat", "demo", "demo/m")
    assert page["gen_ai_client_operation_duration_seconds_sum"] == {
        ("", *who): 2.0,
        ("timeout", *who): 3.0,
    }
    assert page["gen_ai_client_operation_time_to_first_chunk_seconds_sum"] == {who: 0.5}
    assert page["gen_ai_client_token_usage_sum"] == {
        (*who, "input"): 100.0,
        (*who, "output"): 20.0,
    }


def test_labels_bear_the_names_of_the_conventions(page: Page) -> None:
    """The labels of an operation are those that dashboards of others look for."""
    page.hear(finished())
    labels = {
        sample.name: set(sample.labels)
        for sample in page.samples()
        if sample.name.startswith("gen_ai") and sample.name.endswith("_count")
    }
    operation = {"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"}
    assert labels == {
        "gen_ai_client_operation_duration_seconds_count": operation | {"error_type"},
        "gen_ai_client_operation_time_to_first_chunk_seconds_count": operation,
        "gen_ai_client_token_usage_count": operation | {"gen_ai_token_type"},
    }


def test_buckets_are_cumulative_and_exact(page: Page) -> None:
    """Each bucket counts what is at most its bound, the bound itself among it."""
    for seconds in (0.01, 0.16, 0.17, 5.12, 90.0):
        page.hear(finished(seconds=seconds))
    buckets = {bound: n for (bound,), n in page["acore_turn_duration_seconds_bucket"].items()}
    assert [buckets[bound] for bound in ("0.01", "0.16", "0.32", "5.12", "81.92", "+Inf")] == [
        1,
        2,
        3,
        4,
        4,
        5,
    ]
    assert page["acore_turn_duration_seconds_sum"] == {(): 95.46}


def test_tokens_have_buckets_of_their_own(page: Page) -> None:
    """Tokens are counted by powers of four."""
    page.hear(finished(prompt_tokens=64, completion_tokens=65))
    buckets = page["gen_ai_client_token_usage_bucket"]
    found = {(kind, bound): n for (*_, kind, bound), n in buckets.items()}
    assert found["input", "64.0"] == 1
    assert found["output", "64.0"] == 0
    assert found["output", "256.0"] == 1


def test_what_happened_is_counted(page: Page) -> None:
    """Each counter holds what happened since the start, by its labels."""
    page.hear(
        finished(cost=0.25),
        finished(is_cached=True),
        failed("timeout"),
        FlightJoined("demo/m", 2),
        CachedAnswer("demo/m", 70),
        HistoryRead(is_hit=True),
        CommandUsed("reset", 0.1, "not_allowed"),
        RateLimited("POST /channels", 0.5, is_global=True),
        GatewayChanged(0, "ready"),
        GatewayChanged(0, "resumed"),
        BreakerChanged("demo/m", "open"),
        PromptTrimmed(dropped_messages=6, kept_messages=6),
        HistoryEvicted(5),
        FellBack("demo/m", "demo/n", "timeout"),
        ModelLoaded("demo/m", 1.5),
        LoopLagged(0.25),
    )
    page.clock.advance(10 * 86_400)  # what a day forgets, a counter does not
    assert page["acore_turns_finished_total"] == {("stop", "demo/m"): 2}
    assert page["acore_turns_failed_total"] == {("timeout", "demo/m"): 1}
    assert page["acore_cost_dollars_total"] == {("demo/m",): 0.25}
    assert page["acore_saved_calls_total"] == {("demo/m", "shared"): 1, ("demo/m", "cached"): 1}
    assert page["acore_saved_tokens_total"] == {("cached",): 70, ("shared",): 0}
    assert page["acore_history_reads_total"] == {("hit",): 1, ("miss",): 0}
    assert page["acore_command_duration_seconds_count"] == {("reset",): 1}
    assert page["acore_command_errors_total"] == {("not_allowed",): 1}
    assert page["acore_discord_rate_limit_seconds_sum"] == {("POST /channels", "global"): 0.5}
    assert page["acore_gateway_reconnects_total"] == {(): 1}
    assert page["acore_breaker_changes_total"] == {("demo/m", "open"): 1}
    assert page["acore_prompt_trims_total"] == {(): 1}
    assert page["acore_prompt_dropped_messages_total"] == {(): 6}
    assert page["acore_history_evictions_total"] == {(): 5}
    assert page["acore_fallbacks_total"] == {("timeout", "demo/m"): 1}
    assert page["acore_model_load_seconds_sum"] == {("demo/m",): 1.5}
    assert page["acore_loop_stall_seconds_sum"] == {(): 0.25}


def test_what_is_now_is_told(page: Page) -> None:
    """Gauges tell of this moment: lines, answers, breakers, shards, and the log of events."""
    assert page["acore_uptime_seconds"] == {(): 90}
    assert page["acore_open_answers"] == {(): 2}
    assert page["acore_flights"] == {(): 1}
    assert page["acore_conversations_in_memory"] == {(): 7}
    assert page["acore_loop_lag_seconds"] == {(): 0.25}
    assert page["acore_model_reachable"] == {(): 1}
    assert page["acore_requests_in_line"] == {("demo",): 3}
    assert page["acore_requests_running"] == {("demo",): 1}
    assert page["acore_breaker_state"] == {
        ("demo/m", "closed"): 0,
        ("demo/m", "open"): 1,
        ("demo/m", "half_open"): 0,
    }
    assert page["acore_shard_connected"] == {("0",): 1, ("1",): 0}
    assert page["acore_shard_latency_seconds"] == {("0",): 0.04}
    assert page["acore_log_pending_events"] == {(): 4}
    assert page["acore_log_written_events_total"] == {(): 1000}
    assert page["acore_log_dropped_events_total"] == {(): 2}
    assert page["acore_log_failures_total"] == {(): 3}


def test_what_nobody_knows_is_not_told() -> None:
    """Whether a model is reached is absent until somebody asked; a counter is there from the
    beginning, with its labels if they are the same for every bot: no first step is missed."""
    page = Page(now=Now(at=0.0, uptime_seconds=0.0))
    assert page["acore_model_reachable"] == {}
    assert page["acore_turns_shared_total"] == {(): 0}
    assert page["acore_gateway_reconnects_total"] == {(): 0}
    assert page["acore_history_reads_total"] == {("hit",): 0, ("miss",): 0}
    assert page["acore_saved_tokens_total"] == {("shared",): 0, ("cached",): 0}
    assert page["acore_gateway_changes_total"] == {("ready",): 0, ("resumed",): 0, ("lost",): 0}


def test_pages_of_two_bots_do_not_mix() -> None:
    """Nothing is held by the library's own registry, which all in a process share."""
    one, other = Page(), Page()
    one.hear(finished())
    assert one["acore_turn_duration_seconds_count"] == {(): 1}
    assert other["acore_turn_duration_seconds_count"] == {}
    assert not NAME.findall(" ".join(family.name for family in REGISTRY.collect()))


def test_no_name_is_told_twice(page: Page) -> None:
    """Each family has a name of its own, and says what it is about."""
    page.hear(*every_kind())
    families = list(text_string_to_metric_families(page.write().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(family.documentation.endswith(".") for family in families)


seconds = st.floats(allow_nan=True)
turns = st.builds(
    TurnFinished,
    model=st.text(st.characters()),
    finish_reason=st.text(),
    first_delta_seconds=st.none() | seconds,
    total_seconds=seconds,
    prompt_tokens=st.none() | st.integers(-(2**70), 2**70),
    completion_tokens=st.none() | st.integers(-(2**70), 2**70),
    cached_tokens=st.none() | st.integers(-(2**70), 2**70),
    cost=st.none() | seconds,
)
failures = st.builds(
    TurnFailed, model=st.text(st.characters()), kind=st.text(), total_seconds=seconds
)


@given(st.lists(turns | failures, max_size=6))
def test_counters_never_fall(events: list[Event]) -> None:
    """Whatever names and numbers come, the page can be read, and no counter goes down."""
    page = Page()
    before = page.counters()
    for event in events:
        page.hear(event)
        page.clock.advance(50_000)
        after = page.counters()
        assert all(after[key] >= value for key, value in before.items())
        before = after


def queries() -> list[str]:
    """Find all that the dashboard asks for."""
    board = json.loads(DASHBOARD.read_text("utf-8"))
    variables = [each["query"] for each in board["templating"]["list"]]
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*targets, *variables]


def test_the_dashboard_asks_for_what_is_there(page: Page) -> None:
    """Each name in it is a sample's or a label's, once everything has happened."""
    page.hear(*every_kind())
    samples = list(page.samples())
    known = {sample.name for sample in samples} | {name for each in samples for name in each.labels}
    asked = set(NAME.findall(" ".join(queries())))
    assert len(asked) > 20
    assert asked <= known, sorted(asked - known)


def test_the_dashboard_shows_labels_that_are_there(page: Page) -> None:
    """Each label that a legend names, or by which is summed, is one of the samples'."""
    page.hear(*every_kind())
    labels = {name for sample in page.samples() for name in sample.labels}
    text = DASHBOARD.read_text("utf-8")
    legends = set(re.findall(r"\{\{(\w+)\}\}", text))
    sums = {name for names in re.findall(r"by \(([^)]*)\)", text) for name in names.split(", ")}
    assert legends | sums <= labels


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    """Each panel has a place, a title and a number of its own, within 24 columns."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
