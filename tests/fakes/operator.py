"""A bot's figures for the operator's page, and the page itself served from a thread."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from acore_bot.ops.page import OperatorPage, PageOptions, Sources
from acore_bot.ops.page.server import REFRESH_SECONDS
from acore_bot.telemetry.events import STAGES, Stages
from acore_bot.telemetry.figures import (
    BatchStats,
    BreakerNow,
    Figures,
    Minute,
    ModelFigures,
    Now,
    ProviderState,
    Quantiles,
    ShardState,
    SlowTurn,
    Span,
)

AT = 1_795_000_000.0
TOKEN = "a token for the tests"
PROMETHEUS = b"acore_turns_total 3.0\n"


class OperatorFigures:
    """Figures that a test sets. They begin as a bot to whom nobody has spoken yet."""

    def __init__(self) -> None:
        self.now = Now(at=AT, uptime_seconds=3.0)
        self.figures: dict[Span, Figures] = {}
        self.minutes: tuple[Minute, ...] = ()
        self.slow_turns: tuple[SlowTurn, ...] = ()
        self.batch = BatchStats(
            pending_events=0, batch_size=50, batch_interval=5.0, batch_task_running=True
        )
        self.asked = 0  # how often for the present
        self.gathered = 0  # how often for all
        self.fault: Exception | None = None

    def sources(self) -> Sources:
        """Hand out whatever is set when asked."""
        return Sources(
            now=self._tell_now,
            figures=lambda span: self.figures.get(span, Figures(span=span, seconds=3.0)),
            minutes=lambda: self.minutes,
            slow_turns=lambda: self.slow_turns,
            batch=self._tell_batch,
            prometheus=lambda: PROMETHEUS,
        )

    def _tell_now(self) -> Now:
        if self.fault is not None:
            raise self.fault
        self.asked += 1
        return self.now

    def _tell_batch(self) -> BatchStats:
        self.gathered += 1
        return self.batch

    def set_now(self, **changes: object) -> None:
        """Change how the bot is at the moment."""
        self.now = replace(self.now, **changes)

    def advance(self, seconds: float) -> None:
        """Let the bot live on."""
        at, uptime = self.now.at + seconds, self.now.uptime_seconds + seconds
        self.now = replace(self.now, at=at, uptime_seconds=uptime)


def busy() -> OperatorFigures:
    """Return the figures of a day in which much was said, the same each time."""
    figures = OperatorFigures()
    draw = random.Random(7)
    figures.now = Now(
        at=AT,
        uptime_seconds=187_380.0,
        open_answers=3,
        flights=2,
        conversations_in_memory=412,
        loop_lag_seconds=0.0021,
        is_model_reachable=True,
        providers=(
            ProviderState(name="ollama", in_line=2, running=1),
            ProviderState(name="openrouter", running=1),
            ProviderState(name="embedded"),
        ),
        breakers=(
            BreakerNow("ollama/llama3.1", "closed"),
            BreakerNow("openrouter/openai/gpt-5-mini", "half_open"),
            BreakerNow("openrouter/a-lab/a-model-with-a-rather-long-name", "open"),
        ),
        shards=(
            ShardState(shard=0, is_connected=True, latency_seconds=0.041),
            ShardState(shard=1, is_connected=False),
        ),
    )
    figures.minutes = a_day_of_minutes(draw)
    figures.figures = {span: _figures(span, share) for span, share in _SHARES}
    figures.slow_turns = tuple(_slow_turn(draw, place) for place in range(12))
    figures.batch = replace(figures.batch, pending_events=17, written=48_250)
    return figures


_SHARES: tuple[tuple[Span, float], ...] = (("hour", 0.05), ("day", 1.0), ("start", 2.1))


def a_day_of_minutes(draw: random.Random, *, count: int = 1440) -> tuple[Minute, ...]:
    """Make the newest minutes of a day, with quiet stretches in which nothing happened."""
    first = int(AT) // 60 * 60 - 60 * (count - 1)
    return tuple(_minute(draw, first + 60 * number, number) for number in range(count))


def _minute(draw: random.Random, at: int, number: int) -> Minute:
    turns = draw.randint(0, 9) if number % 240 > 25 else 0
    if not turns:
        return Minute(at=at)
    p50 = draw.lognormvariate(0.3, 0.25)
    stages = dict(zip(STAGES, (0.01, 0.03, 0.1, 0.4, 0.8, 0.12, 0.006), strict=True))
    return Minute(
        at=at,
        turns=turns,
        failed=int(draw.random() < 0.03),
        p50=p50,
        p95=p50 * draw.uniform(1.5, 2.4),
        first_delta_p50=p50 * 0.4,
        stages={stage: mean * draw.uniform(0.6, 1.5) for stage, mean in stages.items()},
        tokens=turns * draw.randint(300, 900),
        tokens_per_second=draw.gauss(46, 4),
        cost=turns * 0.0004,
        shared=int(draw.random() < 0.2),
        cached=int(draw.random() < 0.1),
    )


def _figures(span: Span, share: float) -> Figures:
    turns = round(5400 * share)
    return Figures(
        span=span,
        seconds=86_400 * share,
        turns=turns,
        failed=round(turns * 0.006),
        refused=round(turns * 0.01),
        error_rate=0.006,
        response=Quantiles(count=turns, mean=1.5, p50=1.38, p95=2.91, p99=5.2, longest=41.0),
        first_delta=Quantiles(count=turns, mean=0.6, p50=0.52, p95=1.1, p99=2.0, longest=9.0),
        models=(
            _model("ollama/llama3.1", round(turns * 0.7), 0.0, 44.1),
            _model("openrouter/openai/gpt-5-mini", round(turns * 0.28), 0.0011, 92.7),
            _model("embedded/smollm2", round(turns * 0.02), 0.0, None),
        ),
        prompt_tokens=turns * 510,
        completion_tokens=turns * 130,
        cached_tokens=turns * 340,
        cost=turns * 0.28 * 0.0011,
        shared=round(turns * 0.03),
        cached=round(turns * 0.015),
        fell_back=round(turns * 0.02),
        saved_calls=round(turns * 0.045),
        saved_tokens=turns * 20,
        history_hits=turns,
        history_misses=round(turns * 0.04),
        errors={"timeout": round(turns * 0.004), "rate_limited": 2, "broken_stream": 1},
        rate_limited=4,
        reconnects=1,
    )


def _model(name: str, turns: int, cost: float, speed: float | None) -> ModelFigures:
    return ModelFigures(
        model=name,
        turns=turns,
        failed=turns // 200,
        prompt_tokens=turns * 510,
        completion_tokens=turns * 130,
        cached_tokens=turns * 340,
        cost=turns * cost,
        tokens_per_second=speed,
    )


def _slow_turn(draw: random.Random, place: int) -> SlowTurn:
    total = 42.0 / (1 + place * 0.35)
    shares = [draw.uniform(0.05, 1.0) * weight for weight in (0.2, 0.1, 2, 3, 6, 0.6, 0.05)]
    stages = {stage: total * part / sum(shares) for stage, part in zip(STAGES, shares, strict=True)}
    return SlowTurn(
        ended_at=AT - 3000 * place - 60,
        model="ollama/llama3.1" if place % 3 else "openrouter/openai/gpt-5-mini",
        total_seconds=total,
        stages=Stages(**stages),
        kind="timeout" if place == 1 else "",
        place=f"{draw.getrandbits(64):016x}",
        stacks=("discord.gateway.poll_event:632", "json.decoder.raw_decode:353")
        if place == 2
        else (),
    )


class ServedPage:
    """The page as it is served by a loop of its own, in a thread, until `stop`."""

    def __init__(self, figures: OperatorFigures, options: PageOptions) -> None:
        self.figures = figures
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._ready = threading.Event()
        self._beats = asyncio.Semaphore(0)
        self._thread = threading.Thread(target=self._run)
        self.url = ""

    def start(self) -> None:
        """Serve, and return when it is reached. A page that fails to start is told by its url."""
        self._thread.start()
        self._ready.wait(10)
        assert self.url, "The page did not start."

    def stop(self) -> None:
        """Stop serving, and return when all is closed."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def refresh(self, change: Callable[[OperatorFigures], None] = lambda _: None) -> None:
        """Change the figures, let two seconds pass for the page, and so have it look at them."""
        self._loop.call_soon_threadsafe(self._refresh, change)

    def _refresh(self, change: Callable[[OperatorFigures], None]) -> None:
        self.figures.advance(2)
        change(self.figures)
        self._beats.release()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        sources = self.figures.sources()
        async with OperatorPage(sources, self._options, sleep=self._wait) as page:
            self.url = page.url
            self._ready.set()
            await self._done.wait()

    async def _wait(self, seconds: float) -> None:
        if seconds == REFRESH_SECONDS:
            await self._beats.acquire()  # other pauses, after wrong tokens, are over at once


@contextmanager
def served(figures: OperatorFigures, *, token: str = "", port: int = 0) -> Iterator[ServedPage]:
    """Serve the page on loopback for as long as the block lasts."""
    page = ServedPage(figures, PageOptions(port=port, token=token))
    page.start()
    try:
        yield page
    finally:
        page.stop()
