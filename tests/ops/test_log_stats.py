"""What the log of events says, counted in one pass, beside a slow and obvious count."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.log_folder import NOON, line, turn, write

from acore_bot.ops.log_figures import LogStats, ModelUse
from acore_bot.ops.log_stats import read_log
from acore_bot.telemetry.events import (
    STAGES,
    BreakerChanged,
    CachedAnswer,
    CommandUsed,
    Event,
    FellBack,
    FlightJoined,
    GatewayChanged,
    LoopLagged,
    PromptTrimmed,
    RateLimited,
    Stages,
    TurnFailed,
    TurnFinished,
    TurnRefused,
)
from acore_bot.telemetry.figures import Quantiles
from acore_bot.telemetry.metrics import EVENT_NAMES

DAY = timedelta(days=1)
SECRET = "Ada told me a secret"

Logged = tuple[datetime, Event]


def log(folder: Path, *events: Event) -> LogStats:
    """Log events at noon and read them."""
    write(folder, b"".join(line(NOON, event) for event in events))
    return read_log(folder)


words = st.sampled_from(["a/b", "c/d:free", "timeout", "x" * 120])
seconds = st.floats(0, 1e6)
tokens = st.none() | st.integers(0, 10**6)
stages = st.builds(Stages, **dict.fromkeys(STAGES, st.none() | seconds))
an_event: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        TurnFinished,
        model=words,
        finish_reason=words,
        first_delta_seconds=st.none() | seconds,
        total_seconds=seconds,
        stages=stages,
        prompt_tokens=tokens,
        completion_tokens=tokens,
        cached_tokens=tokens,
        cost=st.none() | st.floats(0, 10),
        is_cached=st.booleans(),
    ),
    st.builds(TurnFailed, model=words, kind=words, total_seconds=seconds, stages=stages),
    st.builds(TurnRefused, words),
    st.builds(FlightJoined, words, st.integers(1, 9)),
    st.builds(CachedAnswer, words, st.integers(0, 999)),
    st.builds(PromptTrimmed, dropped_messages=st.integers(0), kept_messages=st.integers(0)),
    st.builds(BreakerChanged, words, st.sampled_from(["closed", "open", "half_open"])),
    st.builds(FellBack, words, words, words),
    st.builds(CommandUsed, words, seconds, st.sampled_from(["", "timeout"])),
    st.builds(RateLimited, words, seconds),
    st.builds(LoopLagged, seconds, words),
)
moments = st.datetimes(datetime(2026, 11, 18), datetime(2026, 11, 23)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC)
)
logs = st.lists(st.tuples(moments, an_event), max_size=60)


def spread(folder: Path, logged: Iterable[Logged]) -> None:
    """Write a log of two series, older days compressed, each day in two parts."""
    files: dict[tuple[str, str], bytes] = {}
    for number, (at, event) in enumerate(sorted(logged, key=lambda item: item[0])):
        series = ("acore", "acore-2")[number % 2]
        part = ("", ".1")[number % 3 == 2]
        name = f"{at.date()}{part}.jsonl{'.gz' * (at.day < 21)}"
        files[series, name] = files.get((series, name), b"") + line(at, event)
    for (series, name), content in files.items():
        write(folder, content, f"../{series}/{name}")


def count(kind: type, events: Iterable[object]) -> int:
    """Count the events of a kind."""
    return sum(isinstance(event, kind) for event in events)


def agrees(quantiles: Quantiles, values: list[float]) -> None:
    """Compare with the standard library's statistics."""
    assert quantiles.count == len(values)
    if len(values) > 1:
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        found = (quantiles.p50, quantiles.p95, quantiles.p99)
        assert found == pytest.approx((cuts[49], cuts[94], cuts[98]))
        assert (quantiles.mean, quantiles.longest) == pytest.approx(
            (math.fsum(values) / len(values), max(values))
        )


def known(values: Iterable[float | None]) -> object:
    """Sum up those that are known."""
    told = [value for value in values if value is not None]
    return pytest.approx(math.fsum(told)) if told else None


@settings(max_examples=100, deadline=None)
@given(logs, st.none() | moments)
def test_all_figures_are_those_of_a_slow_count(
    logged: list[Logged], since: datetime | None
) -> None:
    """Whatever was logged, spread over series, parts and compressed files, each figure is what the
    events within the span say when they are counted one by one."""
    with TemporaryDirectory() as name:
        spread(Path(name), logged)
        found = read_log(Path(name), since)
    events = [event for at, event in logged if since is None or at >= since]
    done = [event for event in events if isinstance(event, TurnFinished)]
    failed = [event for event in events if isinstance(event, TurnFailed)]
    turns: list[TurnFinished | TurnFailed] = [*done, *failed]
    assert (found.events, found.turns, found.failed) == (len(events), len(turns), len(failed))
    assert found.error_rate == (len(failed) / len(turns) if turns else None)
    assert found.errors == Counter(event.kind for event in failed)
    assert found.refused == count(TurnRefused, events)
    agrees(found.response, [event.total_seconds for event in done])
    firsts = [event.first_delta_seconds for event in done]
    agrees(found.first_delta, [first for first in firsts if first is not None])
    for stage in STAGES:
        taken = [getattr(event.stages, stage) for event in turns]
        taken = [each for each in taken if each is not None]
        mean = pytest.approx(math.fsum(taken) / len(taken)) if taken else None
        assert found.stages[stage] == mean
    assert [slow.total_seconds for slow in found.slowest_turns] == sorted(
        (event.total_seconds for event in turns), reverse=True
    )[:10]
    agree_on_use(found, turns)
    agree_on_the_rest(found, events)
    assert (found.broken_lines, found.foreign_lines, found.damaged_files) == (0, 0, 0)


def agree_on_use(found: LogStats, turns: list[TurnFinished | TurnFailed]) -> None:
    """Compare tokens and dollars, altogether and by model."""
    assert {use.model for use in found.models} == {event.model for event in turns}
    uses: tuple[LogStats | ModelUse, ...] = (found, *found.models)
    for use in uses:
        name = use.model if isinstance(use, ModelUse) else None
        mine = [event for event in turns if name in {None, event.model}]
        asked = [event for event in mine if isinstance(event, TurnFinished) and not event.is_cached]
        told = [event for event in asked if event.cached_tokens is not None]
        read = sum(event.prompt_tokens or 0 for event in told)
        cached = known(event.cached_tokens for event in told)
        assert (use.turns, use.failed) == (len(mine), count(TurnFailed, mine))
        assert use.prompt_tokens == known(event.prompt_tokens for event in asked)
        assert use.completion_tokens == known(event.completion_tokens for event in asked)
        assert use.cost == known(event.cost for event in asked)
        assert use.cached_tokens == cached
        assert use.cached_share == (
            pytest.approx(sum(event.cached_tokens or 0 for event in told) / read) if read else None
        )


def agree_on_the_rest(found: LogStats, events: list[Event]) -> None:
    """Compare what is not about turns."""
    answers = [event for event in events if isinstance(event, CachedAnswer)]
    commands = [event for event in events if isinstance(event, CommandUsed)]
    limits = [event for event in events if isinstance(event, RateLimited)]
    lags = [event for event in events if isinstance(event, LoopLagged)]
    fallen = [event for event in events if isinstance(event, FellBack)]
    breakers = [event for event in events if isinstance(event, BreakerChanged)]
    assert found.savings.joined_calls == count(FlightJoined, events)
    assert found.savings.cached_answers == len(answers)
    assert found.savings.saved_tokens == sum(event.saved_tokens for event in answers)
    assert {(it.asked, it.answered_by, it.kind): it.count for it in found.fallbacks} == Counter(
        (event.asked, event.answered_by, event.kind) for event in fallen
    )
    assert found.breaker_openings == Counter(it.model for it in breakers if it.state == "open")
    assert found.discord.rate_limited == len(limits)
    assert found.discord.routes == Counter(event.route for event in limits)
    assert found.discord.rate_limited_seconds == pytest.approx(sum(it.seconds for it in limits))
    assert found.lag.count == len(lags)
    longest = max((event.seconds for event in lags), default=None)
    assert found.lag.longest_seconds == longest
    assert not lags or found.lag.function in {it.function for it in lags if it.seconds == longest}
    assert {it.name: (it.used, it.failed) for it in found.commands} == {
        name: (count, len([it for it in commands if it.name == name and it.kind]))
        for name, count in Counter(event.name for event in commands).items()
    }
    for use in found.commands:
        taken = [event.seconds for event in commands if event.name == use.name]
        assert use.mean_seconds == pytest.approx(math.fsum(taken) / len(taken))


def test_the_median_of_two_lies_between_them(tmp_path: Path) -> None:
    """Percentiles interpolate linearly; of one value, all are that value; of none, unknown."""
    found = log(tmp_path, turn(1), turn(2)).response
    assert (found.count, found.mean, found.p50, found.longest) == (2, 1.5, 1.5, 2)
    assert (found.p95, found.p99) == pytest.approx((1.95, 1.99))
    assert log(tmp_path, turn(3)).response == Quantiles(1, 3, 3, 3, 3, 3)
    assert log(tmp_path, TurnRefused("x")).response == Quantiles()


def test_all_requests_fail_is_an_error_rate_of_one(tmp_path: Path) -> None:
    """The rate is of answered and failed turns together, so it reaches 1 when nothing succeeds."""
    failed = TurnFailed(model="a/b", kind="timeout", total_seconds=1)
    assert log(tmp_path, failed).error_rate == 1
    assert log(tmp_path, failed, turn()).error_rate == 0.5


def test_the_ten_slowest_are_kept_slowest_first(tmp_path: Path) -> None:
    """Failed turns are among them; of equal ones, the earlier comes first."""
    failed = TurnFailed(model="c/d", kind="timeout", total_seconds=14)
    taken = [1, 15, 3, 14, 2, 13, 4, 12, 5, 11, 6, 10, 7, 9, 8]
    slowest = log(tmp_path, *map(turn, taken), failed).slowest_turns
    assert [turn.total_seconds for turn in slowest] == [15, 14, 14, 13, 12, 11, 10, 9, 8, 7]
    assert [turn.kind for turn in slowest[:4]] == [None, None, "timeout", None]
    assert slowest[2].model == "c/d"
    assert slowest[0].ended_at == NOON


def test_what_several_shared_was_used_once(tmp_path: Path) -> None:
    """Those who shared an answer tell the same usage; the first counts as used, the others as
    saved. Another answer, or the same a minute later, is counted by itself."""
    shared = turn(is_shared=True, prompt_tokens=100, completion_tokens=10, cost=0.5)
    other = turn(is_shared=True, prompt_tokens=7, completion_tokens=10, cost=0.25)
    later = [line(NOON + timedelta(seconds=each), shared) for each in (0, 1, 59, 60)]
    write(tmp_path, b"".join([*later, line(NOON, other)]))
    found = read_log(tmp_path)
    assert (found.prompt_tokens, found.completion_tokens, found.cost) == (207, 30, 1.25)
    assert found.savings.saved_tokens == 220
    assert (found.savings.shared_turns, found.turns) == (5, 5)


def test_a_connection_that_came_back_is_a_reconnect(tmp_path: Path) -> None:
    """The first connection of a start is none, nor is a loss that lasts."""
    states = [("ready", 0), ("lost", 0), ("lost", 1), ("resumed", 0), ("ready", 2), ("lost", 0)]
    changes = [msgspec.convert({"shard": n, "state": s}, GatewayChanged) for s, n in states]
    assert log(tmp_path, *changes).discord.reconnects == 1


def test_the_span_begins_at_its_first_microsecond(tmp_path: Path) -> None:
    """An event at that moment counts, one a microsecond before does not, in whatever zone."""
    instant = timedelta(microseconds=1)
    write(tmp_path, b"".join(line(NOON + n * instant, turn()) for n in range(-3, 4)))
    assert read_log(tmp_path, NOON).turns == 4
    assert read_log(tmp_path, NOON.astimezone()).turns == 4
    assert read_log(tmp_path, NOON + DAY).turns == 0


def test_events_of_later_versions_are_counted_as_foreign(tmp_path: Path) -> None:
    """A type that this version does not know, and fields that it does not, harm nothing."""
    future = {**msgspec.to_builtins(turn()), "mood": "good"}
    write(tmp_path, line(NOON, {"a": 1}, "moon_landed") + line(NOON, future, "turn_finished"))
    found = read_log(tmp_path)
    assert (found.turns, found.events, found.foreign_lines, found.broken_lines) == (1, 1, 1, 0)


def test_what_the_log_tells_of_itself_is_not_foreign(tmp_path: Path) -> None:
    """Every event that is logged is known, and so are the log's own."""
    own = [*EVENT_NAMES.values(), "unencodable_event", "batch_log_recovered"]
    write(tmp_path, b"".join(line(NOON, {}, name) for name in own))
    assert read_log(tmp_path).foreign_lines == 0


def test_nothing_but_words_leaves_the_log(tmp_path: Path) -> None:
    """Text where a word belongs is called other, and further fields are left out, whatever wrote
    them; nothing of a broken line is repeated."""
    events: list[Event] = [
        turn(model=SECRET, finish_reason=SECRET, place=SECRET, fell_back_from=SECRET),
        TurnFailed(model=SECRET, kind=SECRET, total_seconds=1, place=SECRET),
        TurnRefused(SECRET),
        FellBack(SECRET, SECRET, SECRET),
        BreakerChanged(SECRET, "open"),
        CommandUsed(SECRET, 1, SECRET),
        RateLimited(SECRET, 1),
        LoopLagged(1, SECRET),
    ]
    strange = line(NOON, {"text": SECRET}, SECRET) + SECRET.encode() + b"\n"
    write(tmp_path, b"".join(line(NOON, event) for event in events) + strange)
    found = read_log(tmp_path)
    told = msgspec.json.encode(found).decode()
    assert "secret" not in told
    assert (found.events, found.foreign_lines, found.broken_lines) == (len(events), 1, 1)
    assert found.errors == found.refusals == found.discord.routes == {"other": 1}


def test_the_longest_delay_names_where_it_was(tmp_path: Path) -> None:
    """A delay tells the outermost and the innermost function, and both are repeated as they are;
    what is no place in code is not."""
    where = "acore_bot.chat.turn.Turn.take:80 > importlib.FileLoader.<locals>.get:11"
    assert log(tmp_path, LoopLagged(0.2, where), LoopLagged(0.1, "a:1")).lag.function == where
    secret = LoopLagged(9.0, f"a.b:1 > {SECRET} > c:2")
    assert log(tmp_path, secret).lag.function == "a.b:1 > other"


def test_words_are_bounded(tmp_path: Path) -> None:
    """However many words a log has, a thousand are told apart."""
    found = log(tmp_path, *(TurnRefused(f"kind{number}") for number in range(1500)))
    assert (found.refusals["other"], found.refused) == (500, 1500)
