"""What the log of events says about a span of time, read in one pass, beside the bot or alone."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

from acore_bot.ops.log_figures import (
    CommandUse,
    DiscordStats,
    Fallback,
    LagStats,
    LogStats,
    ModelUse,
    Savings,
    SlowestTurn,
)
from acore_bot.ops.log_lines import blocks, list_files, list_series, pending
from acore_bot.ops.log_tally import ModelSums, Tally, stamp_of
from acore_bot.telemetry.events import STAGES
from acore_bot.telemetry.figures import Quantiles

Number = TypeVar("Number", int, float)


def read_log(
    folder: Path,
    since: datetime | None = None,
    *,
    is_stopped: Callable[[], bool] = bool,  # which is False
) -> LogStats:
    """Count all that was logged since a moment, or ever, and is in the log or on its way there.

    `is_stopped` is asked after each block of about a megabyte; if so, what was counted until then
    is returned. Raises `NotFound` if a part of the log cannot be read.
    """
    tally = Tally(stamp_of(since) if since else b"")
    first_day = (since.astimezone(UTC).date() if since else date.min).toordinal()
    for series in list_series(folder):
        # In this order: what the writer moves on meanwhile is seen twice rather than never.
        tally.begin(pending(series))
        for file in list_files(series, first_day):
            for block in blocks(series, file, tally.on_broken, tally.on_damaged):
                if is_stopped():
                    return _stats(tally, since)
                tally.add(block)
        tally.finish()
    return _stats(tally, since)


def _stats(tally: Tally, since: datetime | None) -> LogStats:
    models = tally.models.values()
    turns, failed = sum(model.turns for model in models), sum(model.failed for model in models)
    cached_tokens = _sum(model.cached_tokens for model in models)
    return LogStats(
        since=since,
        events=tally.events,
        turns=turns,
        failed=failed,
        refused=tally.refusals.total(),
        error_rate=_share(failed, turns),
        response=_quantiles(tally.response),
        first_delta=_quantiles(tally.first_delta),
        stages=_stages(tally),
        prompt_tokens=_sum(model.prompt_tokens for model in models),
        completion_tokens=_sum(model.completion_tokens for model in models),
        cached_tokens=cached_tokens,
        cached_share=_share(cached_tokens, sum(model.told_tokens for model in models)),
        cost=_sum(model.cost for model in models),
        models=_models(tally),
        savings=_savings(tally),
        errors=dict(tally.errors.most_common()),
        refusals=dict(tally.refusals.most_common()),
        fallbacks=_fallbacks(tally),
        breaker_openings=dict(tally.openings.most_common()),
        discord=_discord(tally),
        lag=_lag(tally),
        commands=_commands(tally),
        slowest_turns=_slowest_turns(tally),
        broken_lines=tally.broken,
        foreign_lines=tally.foreign,
        damaged_files=tally.damaged,
    )


def _quantiles(seconds: "array[float]") -> Quantiles:
    if not seconds:
        return Quantiles()
    ordered = sorted(seconds)
    p50, p95, p99 = (_percentile(ordered, percent) for percent in (50, 95, 99))
    return Quantiles(len(ordered), sum(ordered) / len(ordered), p50, p95, p99, ordered[-1])


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return what so many percent are not above, between two values in proportion."""
    whole, hundredths = divmod((len(ordered) - 1) * percent, 100)
    below = ordered[whole]
    return below + (ordered[whole + 1] - below) * hundredths / 100 if hundredths else below


def _sum(numbers: Iterable[Number | None]) -> Number | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def _share(part: int | None, whole: int) -> float | None:
    return None if part is None or not whole else part / whole


def _stages(tally: Tally) -> dict[str, float | None]:
    sums = zip(STAGES, tally.stage_sums, tally.stage_counts, strict=True)
    return {stage: total / count if count else None for stage, total, count in sums}


def _models(tally: Tally) -> tuple[ModelUse, ...]:
    busiest = sorted(tally.models.items(), key=lambda item: (-item[1].turns, item[0]))
    return tuple(_model(name, sums) for name, sums in busiest)


def _model(name: str, sums: ModelSums) -> ModelUse:
    return ModelUse(
        model=name,
        turns=sums.turns,
        failed=sums.failed,
        prompt_tokens=sums.prompt_tokens,
        completion_tokens=sums.completion_tokens,
        cached_tokens=sums.cached_tokens,
        cached_share=_share(sums.cached_tokens, sums.told_tokens),
        cost=sums.cost,
    )


def _savings(tally: Tally) -> Savings:
    return Savings(
        shared_turns=tally.shared,
        cached_turns=tally.cached,
        joined_calls=tally.joined,
        cached_answers=tally.answers,
        saved_tokens=tally.saved_tokens,
    )


def _discord(tally: Tally) -> DiscordStats:
    return DiscordStats(
        reconnects=tally.reconnects,
        rate_limited=tally.routes.total(),
        rate_limited_seconds=tally.limited_seconds,
        routes=dict(tally.routes.most_common()),
    )


def _lag(tally: Tally) -> LagStats:
    if (longest := tally.longest_lag) is None:
        return LagStats(count=0, longest_seconds=None, function=None)
    function = longest.function or None
    return LagStats(count=tally.lags, longest_seconds=longest.seconds, function=function)


def _fallbacks(tally: Tally) -> tuple[Fallback, ...]:
    return tuple(
        Fallback(asked=asked, answered_by=other, kind=kind, count=count)
        for (asked, other, kind), count in tally.fallbacks.most_common()
    )


def _commands(tally: Tally) -> tuple[CommandUse, ...]:
    return tuple(
        CommandUse(
            name=name,
            used=used,
            failed=tally.failed_uses[name],
            mean_seconds=tally.used_seconds[name] / used,
        )
        for name, used in tally.used.most_common()
    )


def _slowest_turns(tally: Tally) -> tuple[SlowestTurn, ...]:
    return tuple(turn for *_, turn in sorted(tally.slowest, reverse=True))
