"""What a turn tells of itself when it is over: how it ended, what it took, and where its time went.

Nobody is named in it: `place` is whatever stands for a conversation where this is kept.
"""

from acore_bot.chat.answer import Answer
from acore_bot.messages import Host, Prices
from acore_bot.telemetry.events import Event, Stages, TurnFailed, TurnFinished


def what_happened(
    answer: Answer, now: float, *, host: Host, prices: Prices | None = None, place: str = ""
) -> Event:
    """Sum up an answer that is over at a monotonic moment. `host` is where it was computed, and
    `prices` are those of the model that was asked."""
    seconds = now - answer.asked_at
    stages = stages_of(answer)
    if answer.fault and not answer.text:
        return TurnFailed(
            model=answer.model,
            kind=answer.fault.kind,
            total_seconds=seconds,
            stages=stages,
            place=place,
        )
    end, usage = answer.end, answer.end.usage if answer.end else None
    return TurnFinished(
        model=answer.answered_by,
        finish_reason=answer.finish_reason,
        first_delta_seconds=_between(answer.asked_at, answer.first_delta_at),
        total_seconds=seconds,
        stages=stages,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        cached_tokens=usage.cached_tokens if usage else None,
        cost=_cost(answer, host, prices),
        is_shared=bool(end and end.is_shared),
        is_cached=bool(end and end.is_cached),
        fell_back_from=end.fell_back_from if end else "",
        place=place,
    )


def stages_of(answer: Answer) -> Stages:
    """Tell where the time of a turn went, as far as it came."""
    end, sent_at = answer.end, answer.sent_at
    queued = end.queued_seconds if end else None
    first = _between(sent_at, answer.first_delta_at)
    if first is not None and queued:
        # Who joined another's request may have come when that had stood in line already.
        queued = min(queued, first)
        first -= queued
    return Stages(
        admitted=_between(answer.heard_at, answer.asked_at),
        context=_between(answer.asked_at, sent_at),
        queued=queued,
        first_delta=first,
        stream=_between(answer.first_delta_at, answer.ended_at),
        edits=_between(answer.ended_at, answer.shown_at),
        commit=_between(answer.shown_at, answer.kept_at),
    )


def _between(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier


def _cost(answer: Answer, host: Host, prices: Prices | None) -> float | None:
    """Tell what an answer cost in US dollars: as its server says, or as the prices do."""
    usage = answer.end.usage if answer.end else None
    if host.is_local or (answer.end and answer.end.is_cached):
        return 0.0
    if usage is None:
        return None
    if usage.cost is not None:
        return float(usage.cost)
    if prices is None or answer.answered_by != answer.model:
        return None
    return float(prices.prompt * usage.prompt_tokens + prices.completion * usage.completion_tokens)
