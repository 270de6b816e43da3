"""What an event costs: the code that logs it, the disk, and the loop in which that happens.

The largest event is a finished turn, 304 bytes with all its stages; most others are as small as a
joined flight. Their cost is that of the call alone, with the writer's thread at work
meanwhile; the processor time of the calling thread counts. The limit is a bare `list.append`, and
beside it stands the field's common way, `logging.FileHandler`, which is to take twelve times as
long. Disk writes are counted by the kernel.

A loop with 5,000 events a second, five each millisecond, looks each millisecond how late it is;
the limit is the same loop, whose events go nowhere.

    uv run python benchmarks/run.py events [--quick]
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, interleaved

from acore_bot.telemetry.batch_log import BatchLog
from acore_bot.telemetry.events import FlightJoined, Stages, TurnFinished

EVENT = TurnFinished(
    model="ollama/llama3.2",
    finish_reason="stop",
    first_delta_seconds=0.234567,
    total_seconds=3.456789,
    stages=Stages(admitted=0.001234, context=0.002345, first_delta=0.231, stream=3.2, edits=0.02),
    prompt_tokens=1234,
    completion_tokens=321,
    place="f3a9c1d2",
)
SMALL_EVENT = FlightJoined(model="ollama/llama3.2", readers=2)
EVENTS_PER_BEAT, BEAT_SECONDS = 5, 0.001
LogEvent = Callable[[str, object], None]


def measure(quick: bool) -> list[Figure]:
    """Measure all three."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        return [
            *costs(place / "costs", 2_000 if quick else 5_000),
            writes(place / "writes"),
            lateness(place / "lateness", 0.5 if quick else 2.0),
        ]


def costs(folder: Path, events: int) -> list[Figure]:
    """Measure the thread that logs."""
    folder.mkdir()
    with closing(BatchLog.open(folder)) as log:
        log.start_batch_flush_task()
        kept: list[object] = []
        handler = logging.FileHandler(folder / "events.log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))  # ours has the time too
        logger = logging.getLogger("benchmarks.events")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)

        def append() -> None:
            for _ in range(events):
                kept.append(EVENT)  # noqa: PERF401 - this is what is measured
            kept.clear()

        def log_to_file() -> None:
            for _ in range(events):
                logger.info("%s %s", "turn_finished", EVENT)

        def log_event() -> None:
            for _ in range(events):
                log.log_event("turn_finished", EVENT)

        def log_small_event() -> None:
            for _ in range(events):
                log.log_event("flight_joined", SMALL_EVENT)

        ours, small, bare, common = (
            seconds / events * 1e6
            for seconds in interleaved(
                15, log_event, log_small_event, append, log_to_file, clock=time.thread_time
            )
        )
        logger.removeHandler(handler)
        handler.close()
        assert not log.get_batch_stats()["dropped"]  # for dropping is quicker
    return [
        Figure("an event", ours, "µs", "logging.FileHandler", common, ours / common, 1 / 12),
        Figure("an event", ours, "µs", "wanted", 1.0, ours, 1.0),
        Figure("a small event", small, "µs", "wanted", 1.0, small, 1.0),
        Figure("an event", ours, "µs", "list.append", bare, ours / bare),
    ]


def writes(folder: Path) -> Figure:
    """Count the system calls that write 1,000 events."""
    with closing(BatchLog.open(folder)) as log:
        log.start_batch_flush_task()
        before = _count_writes()
        for _ in range(1000):
            log.log_event("turn_finished", EVENT)
        log.close()
        count = _count_writes() - before
    return Figure("1,000 events", count, "writes", "batches of 50", 20, count / 20, 1.0)


def _count_writes() -> int:
    return int(Path("/proc/self/io").read_text().split("syscw: ")[1].split()[0])


def lateness(folder: Path, seconds: float) -> Figure:
    """Measure the 99th percentile of how late a loop is."""
    with closing(BatchLog.open(folder)) as log:
        log.start_batch_flush_task()
        ours, nothing = interleaved(
            7,
            lambda: asyncio.run(late(log.log_event, seconds)),
            lambda: asyncio.run(late(_forget, seconds)),
        )
    return Figure(
        "lateness of the loop, p99", ours * 1e3, "ms", "no log", nothing * 1e3, ours / nothing, 1.5
    )


async def late(log_event: LogEvent, seconds: float) -> float:
    """Log at a steady pace and return the 99th percentile of the seconds by which it was late."""
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    start = due = loop.time()
    while due < start + seconds:
        due += BEAT_SECONDS
        await asyncio.sleep(due - loop.time())
        seen.append(loop.time() - due)
        for _ in range(EVENTS_PER_BEAT):
            log_event("turn_finished", EVENT)
    return quantiles(seen, n=100)[-1]


def _forget(event_type: str, event_data: object) -> None:
    """Log nothing."""
