"""A process of its own that logs events, to be killed, stopped and watched.

    python -m tests.fakes.event_process WAY FOLDER …

It is one thread only until it forks, and what it forks off opens its own log.
"""

import asyncio
import mmap
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from tests.fakes.event_log import abandon, tidy_up

from acore_bot.telemetry.batch_log import BatchLog, BatchOptions

if TYPE_CHECKING:
    from _typeshed import TraceFunction

EVENTS_PER_SECOND = 5_000
PATIENT = BatchOptions(batch_interval=3600)


def be_killed(folder: Path, counters: str, lives: str, seed: str, journal_bytes: str) -> None:
    """Live several times, one after another, killed at random moments; at last, live in peace.
    The file `counters` has for each life, in words, how many calls of `log_event` had returned."""
    chance = random.Random(int(seed))
    options = BatchOptions(batch_interval=0.02, journal_bytes=int(journal_bytes))
    with Path(counters).open("r+b") as file, mmap.mmap(file.fileno(), 8 * int(lives)) as shared:
        words = memoryview(shared).cast("Q")
        for life in range(int(lives)):
            child = os.fork()
            if not child:
                log_until_killed(BatchLog.open(folder, options), words, life)
            time.sleep(chance.uniform(0.0, 0.08))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        words.release()
    BatchLog.open(folder, options).close()


def log_until_killed(log: BatchLog, counters: memoryview, life: int) -> NoReturn:
    """Log events at a steady pace, and tell of each when it was."""
    log.start_batch_flush_task()
    due = time.monotonic()
    number = 0
    while True:
        log.log_event("counted", {"life": life, "number": number})
        number += 1
        counters[life] = number
        due += 1 / EVENTS_PER_SECOND
        time.sleep(max(due - time.monotonic(), 0))


def be_killed_at_each_line(folder: Path, scene: str, first: str, step: str) -> None:
    """Play a scene again and again, each time in a folder of its own, killed one line of the
    package later than before, until it is played to its end; each time, open the log once more.
    Of all lines, this is the `first` and every so-manieth after it."""
    line, is_over = int(first) - int(step), False
    while not is_over:
        line += int(step)
        place = folder / str(line)
        is_over = in_child(lambda place=place, line=line: SCENES[scene](place, line))  # type: ignore[misc]
        assert in_child(lambda place=place: settle(place))  # type: ignore[misc]


def in_child(work: Callable[[], None]) -> bool:
    """Do something in a child; False if it was killed."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def kill_at_line(number: int) -> None:
    """Be killed at so-manieth line of the package's telemetry that is run from now on. In a loop,
    a line counts three times at most."""
    left = number
    seen: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> "TraceFunction | None":
        nonlocal left
        code = frame.f_code
        if "telemetry" not in code.co_filename or code.co_name.startswith("<"):
            return None  # comprehensions change nothing
        place = (code.co_filename, frame.f_lineno)
        seen[place] += event == "line"
        left -= event == "line" and seen[place] <= 3
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def log_some(log: BatchLog, count: int, start: int = 0) -> None:
    """Log numbered events."""
    for number in range(start, start + count):
        log.log_event("numbered", {"number": number})


def settle(folder: Path) -> None:
    """Log a last event, be gone, and open the log until nothing is left to write or to tidy."""
    log = BatchLog.open(folder, SMALL)
    log.log_event("settled", {})
    abandon(log)
    log = BatchLog.open(folder, SMALL)
    log._writer._attempt(with_rest=True)
    tidy_up(log)
    log.close()
    (folder / "acore" / "journal").unlink()


SMALL = BatchOptions(batch_size=3, journal_bytes=1, batch_interval=3600)


def write_batches(folder: Path, line: int) -> None:
    """Be killed while batches are written."""
    log = BatchLog.open(folder, SMALL)
    log_some(log, 7)
    kill_at_line(line)
    log.close()


def take_over(folder: Path, line: int) -> None:
    """Be killed while what another left is taken over, in which a write had been begun."""
    log = BatchLog.open(folder, SMALL)
    log_some(log, 7)
    batch = log._journal.take(3)
    files = log._find_files()
    assert batch
    log._journal.intend(batch, files.prepare(1))
    files.append(b'{"timestamp":"","type":"torn","da')
    abandon(log)
    kill_at_line(line)
    BatchLog.open(folder, SMALL).close()


def open_again(folder: Path, line: int) -> None:
    """Be killed while a log of which all is written is opened."""
    log = BatchLog.open(folder, SMALL)
    log_some(log, 7)
    log.close()
    kill_at_line(line)
    BatchLog.open(folder, SMALL).close()


def compress(folder: Path, line: int) -> None:
    """Be killed while a file that is full is compressed."""
    options = BatchOptions(batch_size=3, journal_bytes=1, batch_interval=3600, max_file_bytes=300)
    log = BatchLog.open(folder, options)
    log_some(log, 3)
    log._writer.work()
    log_some(log, 4, start=3)
    kill_at_line(line)
    tidy_up(log)
    log.close()


def log_and_wait(folder: Path, count: str) -> None:
    """Log events, say so, and wait for a signal."""
    log = BatchLog.open(folder, PATIENT)
    log.start_batch_flush_task()
    log_some(log, int(count))
    print("logged", flush=True)
    time.sleep(60)


async def stop_properly(folder: Path, count: str) -> None:
    """Log events, say so, wait for SIGTERM, and stop as a program should."""
    log = BatchLog.open(folder, PATIENT)
    log.start_batch_flush_task()
    is_over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)
    log_some(log, int(count))
    print("logged", flush=True)
    await is_over.wait()
    await log.stop_batch_flush_task()
    log.close()


def meet_full_disk(folder: Path) -> None:
    """Log more than may be written, then let it be written; say what became of it."""
    log = BatchLog.open(folder, BatchOptions(batch_interval=3600))
    log_some(log, 60)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    log._writer.work()
    size = (folder / "acore" / f"{datetime.now(UTC):%Y-%m-%d}.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    print(size, log.get_batch_stats()["failed"])


def log_tightly(folder: Path, count: str) -> None:
    """Log events in a loop that does not yield; say how many writes the kernel counted."""
    log = BatchLog.open(folder, PATIENT)
    log.start_batch_flush_task()
    before = count_writes()
    log_some(log, int(count))
    log.close()
    print(count_writes() - before, flush=True)


async def log_yielding(folder: Path, count: str) -> None:
    """Log events in a loop that yields after each; say how many writes the kernel counted."""
    log = BatchLog.open(folder, PATIENT)
    log.start_batch_flush_task()
    await asyncio.sleep(0)
    before = count_writes()
    for number in range(int(count)):
        log_some(log, 1, start=number)
        await asyncio.sleep(0)
    await log.stop_batch_flush_task()
    print(count_writes() - before, flush=True)
    log.close()


def count_writes() -> int:
    """Return how many system calls that write this process has made."""
    found = Path("/proc/self/io").read_text().split("syscw: ")[1]
    return int(found.split()[0])


SCENES = {scene.__name__: scene for scene in (write_batches, open_again, take_over, compress)}
WAYS = {
    way.__name__: way
    for way in (be_killed, be_killed_at_each_line, log_and_wait, log_tightly, meet_full_disk)
}
ASYNC_WAYS = {way.__name__: way for way in (stop_properly, log_yielding)}

if __name__ == "__main__":
    name, place, *rest = sys.argv[1:]
    if name in ASYNC_WAYS:
        asyncio.run(ASYNC_WAYS[name](Path(place), *rest))
    else:
        WAYS[name](Path(place), *rest)
