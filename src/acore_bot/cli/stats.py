"""`acore stats`: what the bot did, how fast it was and what it took, from its log."""

import asyncio
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import msgspec
import typer

from acore_bot.cli.status import Status
from acore_bot.config import Settings
from acore_bot.errors import ConfigurationError
from acore_bot.ops.log_figures import LogStats, ModelUse, SlowestTurn
from acore_bot.ops.log_stats import read_log
from acore_bot.telemetry.events import STAGES
from acore_bot.telemetry.figures import Quantiles

if TYPE_CHECKING:
    from rich.table import Table

EVENTS = "events"  # the log's folder among the data
DAY = timedelta(days=1)
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": DAY}
SPAN = re.compile(r"(\d{1,6})([mhd])", re.ASCII)
UNKNOWN = "-"


async def stats(settings: Settings, since: str | None, *, as_json: bool) -> None:
    """Print what the log says since a time, by default of the last day. Raises
    `ConfigurationError` for what is no time, and `NotFound` for a log that cannot be read."""
    began_at = parse_since(since, datetime.now(UTC))
    is_stopped = threading.Event()
    with Status("reading the log…"):
        try:
            found = await asyncio.to_thread(
                read_log,
                settings.data.directory / EVENTS,
                began_at,
                is_stopped=is_stopped.is_set,
            )
        finally:
            # The thread of an interrupted command ends with its next block.
            is_stopped.set()
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print(found)


def parse_since(text: str | None, now: datetime) -> datetime | None:
    """Return when the span begins, None for all: the day before `now`, a span before it such as
    90m, 24h or 7d, or a local date. Raises `ConfigurationError` for what is none of these."""
    if text == "all":
        return None
    try:
        if text is None:
            return now - DAY
        if found := SPAN.fullmatch(text):
            return now - int(found[1]) * UNITS[found[2]]
        return datetime.combine(date.fromisoformat(text), time()).astimezone()
    except (ValueError, OverflowError):
        msg = f"{text!r} is no time since when."
        remedy = "Give a span such as 90m, 24h or 7d, a date such as 2026-11-20, or all."
        raise ConfigurationError(msg, remedy=remedy) from None


def _print(found: LogStats) -> None:
    began_at = found.since.astimezone().strftime("%Y-%m-%d %H:%M") if found.since else ""
    if found.events:
        _show(found, f" since {began_at}" if began_at else " in the whole log")
    elif began_at:
        typer.echo(f"Nothing was logged since {began_at}. See everything: acore stats --since all")
    else:
        typer.echo("Nothing was logged yet. It will be while the bot runs: acore run")
    for sentence in _remarks(found):
        typer.echo(sentence)


def _show(found: LogStats, span: str) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{_count(found.turns, 'turn')}{span}", style="bold")
    for sentence in _sentences(found):
        console.print(sentence)
    for table in _tables(found):
        console.print()
        console.print(table)


def _sentences(found: LogStats) -> Iterator[str]:
    if found.turns:
        yield f"  {found.failed:,} failed ({_percent(found.error_rate)}), {found.refused:,} refused"
    elif found.refused:
        yield f"  {found.refused:,} refused"
    saved = found.savings
    yield (
        f"  saved: {_count(saved.joined_calls, 'call')} shared, "
        f"{_count(saved.cached_answers, 'answer')} given again, "
        f"{_count(saved.saved_tokens, 'token')} not asked for"
    )
    discord = found.discord
    yield (
        f"  Discord: {_count(discord.reconnects, 'reconnect')}, "
        f"{_count(discord.rate_limited, 'rate limit')}"
        + (f", {discord.rate_limited_seconds:,.1f} s waited" if discord.rate_limited else "")
    )
    yield f"  event loop: {_lag(found)}"


def _lag(found: LogStats) -> str:
    lag = found.lag
    if lag.longest_seconds is None:
        return "never late"
    where = f", in {lag.function}" if lag.function else ""
    return f"late {_count(lag.count, 'time')}, at most {_seconds(lag.longest_seconds)} s{where}"


def _tables(found: LogStats) -> Iterator["Table"]:
    if found.turns > found.failed:
        yield _times(found)
        yield _stages(found)
    if found.models:
        yield _models(found)
    if found.errors or found.refusals:
        kinds = [(kind, "failed", n) for kind, n in found.errors.items()]
        kinds += [(kind, "refused", n) for kind, n in found.refusals.items()]
        yield _table(("why", "turns", ">times"), ((a, b, f"{n:,}") for a, b, n in kinds))
    if found.fallbacks:
        yield _table(
            ("asked", "answered by", "because of", ">times"),
            ((it.asked, it.answered_by, it.kind, f"{it.count:,}") for it in found.fallbacks),
        )
    if found.breaker_openings:
        rows = ((model, f"{count:,}") for model, count in found.breaker_openings.items())
        yield _table(("left alone for its failures", ">times"), rows)
    if found.discord.routes:
        rows = ((route, f"{count:,}") for route, count in found.discord.routes.items())
        yield _table(("limited by Discord", ">times"), rows)
    if found.commands:
        yield _table(
            ("command", ">used", ">failed", ">mean s"),
            (
                (it.name, f"{it.used:,}", f"{it.failed:,}", _seconds(it.mean_seconds))
                for it in found.commands
            ),
        )
    if found.slowest_turns:
        headings = ("slowest turns", ">s", ">first words", "longest stage", "model", "failed")
        yield _table(headings, map(_slow, found.slowest_turns))


def _times(found: LogStats) -> "Table":
    rows = (("whole answer", found.response), ("first words", found.first_delta))
    return _table(
        ("seconds", ">p50", ">p95", ">p99", ">mean", ">longest", ">of"),
        ((name, *_spread(quantiles)) for name, quantiles in rows),
    )


def _spread(of: Quantiles) -> Iterator[str]:
    yield from map(_seconds, (of.p50, of.p95, of.p99, of.mean, of.longest))
    yield f"{of.count:,}"


def _stages(found: LogStats) -> "Table":
    names = ("mean s by stage", *(f">{stage.replace('_', ' ')}" for stage in STAGES))
    return _table(names, [("", *(_seconds(found.stages[stage]) for stage in STAGES))])


def _models(found: LogStats) -> "Table":
    total = ModelUse(
        model="all",
        turns=found.turns,
        failed=found.failed,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cached_tokens=found.cached_tokens,
        cached_share=found.cached_share,
        cost=found.cost,
    )
    shown = found.models if len(found.models) == 1 else (*found.models, total)
    headings = ("model", ">turns", ">failed", ">tokens read", ">cached", ">written", ">cost")
    return _table(headings, map(_model, shown))


def _model(use: ModelUse) -> Iterator[str]:
    yield use.model
    yield from (f"{use.turns:,}", f"{use.failed:,}", _tokens(use.prompt_tokens))
    yield from (_percent(use.cached_share), _tokens(use.completion_tokens), _dollars(use.cost))


def _slow(turn: SlowestTurn) -> Iterator[str]:
    yield turn.ended_at.astimezone().strftime("%m-%d %H:%M:%S")
    yield from (_seconds(turn.total_seconds), _seconds(turn.first_delta_seconds))
    seconds, stage = max((seconds or 0.0, stage) for stage, seconds in turn.stages.items())
    yield f"{stage.replace('_', ' ')} {_seconds(seconds)}" if seconds else UNKNOWN
    yield from (turn.model, turn.kind or "")


def _remarks(found: LogStats) -> Iterator[str]:
    counts = (
        (found.broken_lines, "broken line"),
        (found.foreign_lines, "unknown event"),
        (found.damaged_files, "damaged file"),
    )
    left_out = [_count(number, what) for number, what in counts if number]
    if left_out:
        yield f"Left out, wholly or in part: {', '.join(left_out)}."


def _table(headings: Sequence[str], rows: Iterable[Iterable[str]]) -> "Table":
    """Make a table; what a heading with > stands over is a number, and whole."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        if heading.startswith(">"):
            table.add_column(heading[1:], justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    places = 0 if seconds >= 100 else 2 if seconds >= 1 else 3
    return f"{seconds:,.{places}f}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"


def _tokens(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _dollars(cost: float | None) -> str:
    if cost is None:
        return UNKNOWN
    return f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"
