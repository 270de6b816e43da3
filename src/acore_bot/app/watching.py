"""What a bot tells of itself: the log of events, the metrics, and the operator's page.

    event ──► Metrics ──► figures, charts, /metrics
                 └──────► BatchLog ──► a file a day, which `acore stats` reads

All of it hears of events and asks for figures; nothing that answers people knows of it.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from acore_bot.app.reloading import Bot
from acore_bot.app.towers import App
from acore_bot.config import Settings
from acore_bot.errors import ConfigurationError
from acore_bot.telemetry.batch_log import BatchLog, BatchOptions
from acore_bot.telemetry.events import Emit, Event, ignore
from acore_bot.telemetry.figures import BatchStats, Now, ProviderState, ShardState
from acore_bot.telemetry.lag import LoopWatch
from acore_bot.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from acore_bot.ops.page import Sources

EVENTS_FOLDER = "events"
MIB = 2**20
NO_LOG = BatchStats(pending_events=0, batch_size=0, batch_interval=0.0, batch_task_running=False)

log = logging.getLogger(__name__)


@runtime_checkable
class HasShards(Protocol):
    """A front end with connections of its own."""

    def shards(self) -> tuple[ShardState, ...]:
        """Tell how each connection is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """What hears of events, and tells how the bot does. `log` is None where none is written; times
    are monotonic seconds of `clock`."""

    metrics: Metrics
    emit: Emit
    loop: LoopWatch
    log: BatchLog | None
    clock: Callable[[], float]
    started_at: float

    def batch(self) -> BatchStats:
        """Tell how the log of events does."""
        return msgspec.convert(self.log.get_batch_stats(), BatchStats) if self.log else NO_LOG

    def now(self, bot: App | Bot, shards: tuple[ShardState, ...] = ()) -> Now:
        """Tell how a bot is at this moment."""
        caches, lines = bot.get_cache_stats(), bot.lines()
        return Now(
            at=time.time(),
            uptime_seconds=self.clock() - self.started_at,
            open_answers=bot.core.open_answers,
            flights=msgspec.convert(caches["deduplication"]["pending_requests"], int),
            conversations_in_memory=msgspec.convert(caches["history"]["entries"], int),
            loop_lag_seconds=self.loop.lag_seconds,
            is_model_reachable=self.metrics.is_model_reachable,
            providers=tuple(_line(name, line.stats()) for name, line in sorted(lines.items())),
            breakers=self.metrics.breakers,
            shards=shards,
        )

    def lately(self) -> str:
        """Say how the last hour was."""
        hour = self.metrics.figures("hour")
        if not hour.turns:
            return "The last hour: no turns."
        times, parts = hour.response, [f"{hour.turns:,} turns", f"{hour.failed:,} failed"]
        if times.p50 is not None and times.p95 is not None:
            parts.append(f"half within {times.p50:.1f} s, 95 of 100 within {times.p95:.1f} s")
        parts.append(f"{hour.prompt_tokens + hour.completion_tokens:,} tokens, ${hour.cost:.2f}")
        if hour.saved_calls:
            parts.append(f"{hour.saved_calls:,} calls saved")
        return f"The last hour: {'; '.join(parts)}."


def _line(name: str, stats: dict[str, float]) -> ProviderState:
    return ProviderState(name=name, in_line=int(stats["waiting"]), running=int(stats["streams"]))


@asynccontextmanager
async def open_telemetry(
    settings: Settings, listener: Emit = ignore, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Telemetry]:
    """Open the log and the metrics. What happens goes to `listener` too; at the end all of it is in
    the log."""
    async with AsyncExitStack() as stack:
        batch_log = await _open_log(settings, stack)
        metrics = Metrics(batch_log.log_event) if batch_log else Metrics()
        metrics.start_hourly_reset()
        stack.push_async_callback(metrics.stop_hourly_reset)

        def emit(event: Event) -> None:
            metrics.on_event(event)
            listener(event)

        loop = await stack.enter_async_context(LoopWatch(emit, stacks=metrics.stacks))
        yield Telemetry(
            metrics=metrics,
            emit=emit,
            loop=loop,
            log=batch_log,
            clock=clock,
            started_at=clock(),
        )


async def _open_log(settings: Settings, stack: AsyncExitStack) -> BatchLog | None:
    knobs = settings.events
    if not knobs.enabled:
        return None
    options = BatchOptions(
        batch_size=knobs.batch_size,
        batch_interval=knobs.batch_seconds,
        keep_days=knobs.keep_days,
        max_file_bytes=knobs.max_file_mib * MIB,
    )
    batch_log = BatchLog.open(settings.data.directory / EVENTS_FOLDER, options)
    stack.callback(batch_log.close)
    batch_log.start_batch_flush_task()
    stack.push_async_callback(batch_log.stop_batch_flush_task)
    return batch_log


@asynccontextmanager
async def serving_operator(
    settings: Settings, telemetry: Telemetry, bot: App | Bot, frontend: object
) -> AsyncIterator[None]:
    """Serve the operator's page, and the door for `acore profile`. That the page's port is taken is
    only logged. Raises `ConfigurationError` if strangers could see it."""
    # They bring a web server with them, which nobody waits for who only wants to chat.
    from acore_bot.ops.page import OperatorPage, PageOptions  # noqa: PLC0415
    from acore_bot.ops.profile.door import ProfileDoor  # noqa: PLC0415
    from acore_bot.ops.profile.protocol import SOCKET_FILE  # noqa: PLC0415

    knobs = settings.operator
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ProfileDoor(settings.data.directory / SOCKET_FILE))
        if knobs.enabled:
            options = PageOptions(
                host=knobs.host,
                port=knobs.port,
                token=knobs.token.get_secret_value() if knobs.token else "",
                names=knobs.names,
            )
            page = OperatorPage(_sources(telemetry, bot, frontend), options)
            try:
                await stack.enter_async_context(page)
                log.info("The operator's page is at %s", page.url)
            except ConfigurationError as error:  # people are to be answered all the same
                log.warning("The operator's page is not served: %s", error)
        yield


def _sources(telemetry: Telemetry, bot: App | Bot, frontend: object) -> "Sources":
    from acore_bot.ops.page import Sources  # noqa: PLC0415
    from acore_bot.ops.prometheus import exposition  # noqa: PLC0415

    def now() -> Now:
        shards = frontend.shards() if isinstance(frontend, HasShards) else ()
        return telemetry.now(bot, shards)

    metrics = telemetry.metrics
    return Sources(
        now=now,
        figures=metrics.figures,
        minutes=metrics.minutes,
        slow_turns=metrics.slow_turns,
        batch=telemetry.batch,
        prometheus=exposition(metrics, now, telemetry.batch),
    )
