"""What a tally says: the figures of a span, a minute of the charts, the sums of an hour."""

from acore_bot.telemetry.counting import TRILLION
from acore_bot.telemetry.events import STAGES, HourEnded
from acore_bot.telemetry.figures import Figures, Minute, ModelFigures, Quantiles, Span
from acore_bot.telemetry.windows import MILLION, Tally


def figures_of(span: Span, seconds: float, tally: Tally) -> Figures:
    """Sum up a span of so many seconds."""
    finished, failed = tally.sum("finished"), tally.sum("failed")
    tokens, reads = tally.totals("tokens", 1), tally.by("history_reads")
    return Figures(
        span=span,
        seconds=seconds,
        turns=finished + failed,
        failed=failed,
        refused=tally.sum("refused"),
        error_rate=failed / (finished + failed) if failed else 0.0,
        response=tally.histogram("response").summary(),
        first_delta=tally.histogram("first_delta").summary(),
        stages=_stages(tally),
        models=_models(tally),
        prompt_tokens=tokens.get("input", 0),
        completion_tokens=tokens.get("output", 0),
        cached_tokens=tally.sum("cached_tokens"),
        cost=tally.sum("cost_trillionths") / TRILLION,
        shared=tally.sum("shared"),
        cached=tally.sum("cached"),
        fell_back=tally.sum("fell_back"),
        saved_calls=tally.sum("saved_calls"),
        saved_tokens=tally.sum("saved_tokens"),
        history_hits=reads.get("hit", 0),
        history_misses=reads.get("miss", 0),
        errors=tally.by("failed", 1),
        commands={name: each.count for (name,), each in tally.under("command").items()},
        rate_limited=sum(each.count for each in tally.under("rate_limited").values()),
        reconnects=tally.sum("reconnects"),
    )


def minute_of(at: int, tally: Tally) -> Minute:
    """Say what the charts show of a minute that began at `at`, in Unix seconds."""
    response, first_delta = tally.histogram("response"), tally.histogram("first_delta")
    p50, p95 = response.quantiles(0.5, 0.95) if response.count else (None, None)
    return Minute(
        at=at,
        turns=tally.sum("finished") + tally.sum("failed"),
        failed=tally.sum("failed"),
        p50=p50,
        p95=p95,
        first_delta_p50=first_delta.quantiles(0.5)[0] if first_delta.count else None,
        stages={name: each.mean for name, each in _stages(tally).items() if each.mean is not None},
        tokens=sum(tally.totals("tokens").values()),
        tokens_per_second=_rate(tally.sum("streamed_tokens"), tally.sum("streamed_millionths")),
        cost=tally.sum("cost_trillionths") / TRILLION,
        shared=tally.sum("shared"),
        cached=tally.sum("cached"),
    )


def hour_of(tally: Tally) -> HourEnded:
    """Sum up an hour that has ended."""
    figures = figures_of("hour", 3600.0, tally)
    return HourEnded(
        turns=figures.turns,
        failed=figures.failed,
        refused=figures.refused,
        error_rate=figures.error_rate,
        p50_seconds=figures.response.p50,
        p95_seconds=figures.response.p95,
        prompt_tokens=figures.prompt_tokens,
        completion_tokens=figures.completion_tokens,
        cost=figures.cost,
        shared=figures.shared,
        cached=figures.cached,
    )


def _stages(tally: Tally) -> dict[str, Quantiles]:
    measured = tally.under("stage")
    return {name: measured[name,].summary() for name in STAGES if (name,) in measured}


def _models(tally: Tally) -> tuple[ModelFigures, ...]:
    """Tell what each model did, the busiest first."""
    finished, failed = tally.by("finished"), tally.by("failed")
    cached, costs = tally.by("cached_tokens"), tally.by("cost_trillionths")
    streamed, streaming = tally.by("streamed_tokens"), tally.by("streamed_millionths")
    models = [
        ModelFigures(
            model=model,
            turns=finished.get(model, 0) + failed.get(model, 0),
            failed=failed.get(model, 0),
            prompt_tokens=round(tally.histogram("tokens", model, "input").total),
            completion_tokens=round(tally.histogram("tokens", model, "output").total),
            cached_tokens=cached.get(model, 0),
            cost=costs.get(model, 0) / TRILLION,
            tokens_per_second=_rate(streamed.get(model, 0), streaming.get(model, 0)),
        )
        for model in {**finished, **failed}
    ]
    return tuple(sorted(models, key=lambda each: (-each.turns, each.model)))


def _rate(count: int, millionths: int) -> float | None:
    return count * MILLION / millionths if millionths else None
