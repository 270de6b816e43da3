"""What remembering costs: a read from the cache, a durable append, an opening after a crash.

Reads stand beside `dict.get` and a slice of a list, once as they are and once awaited, as a history
has to be. Appends are exchanges, a question and its answer, and stand beside the common way of
small bots: one JSON file a channel, of twenty messages, rewritten for the question and again for
the answer, by a thread that opens, writes and closes it in turn, and never synced. Reads are in
seconds of the processor; what writes, in seconds of the wall.

    uv run python -m benchmarks.history [--quick]
"""

import argparse
import asyncio
import gc
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Contender, Figure, interleaved, show

from acore_bot.history.cache import CachedHistory, CacheOptions, _Entry
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, Message

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADA = Author("112233445566778899", "Ada")
TEXT = "A message in a chat is seldom longer than this, though now and then somebody tells a story."
LIMIT = 50
MESSAGES_IN_FILE = 20
READS = 20_000
INSERTS = 20_000
AT_ONCE = 50
EXCHANGES = 200
EXCHANGES_IN_LOGS = 3000
LOG_BYTES = 5 * 10**6
UNBOUNDED = 2**60

WRITE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from acore_bot.history.sqlite import SQLiteHistory
from benchmarks.history import message

async def main(path, log_bytes):
    async with SQLiteHistory.open(path) as history:
        # The log is emptied at 4 MB; a reader that stays on keeps it from that, as this does.
        await history._thread.read(lambda c: c.execute("PRAGMA wal_autocheckpoint = 0").fetchone())
        number = 0
        while os.path.getsize(f"{path}-wal") < log_bytes:
            await history.append([message(number, number % 20), message(number + 1, number % 20)])
            number += 2
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def measure(quick: bool) -> list[Figure]:
    """Measure everything; quickly means fewer rounds and no 100,000 channels."""
    rounds = 5 if quick else 9
    channels = (10, 1000) if quick else (10, 1000, 100_000)
    figures = [figure for count in channels for figure in measure_reads(count, rounds)]
    figures.append(measure_insert(rounds))
    figures += [figure for count in channels for figure in measure_appends(count, rounds)]
    figures.append(measure_opening(rounds))
    figures.append(measure_memory(2**23 if quick else 2**26))
    return figures


def message(number: int, channel: int) -> Message:
    """Make a message as people write them."""
    return Message(
        id=number,
        conversation=name_of(channel),
        role="user",
        author=ADA,
        text=TEXT,
        created_at=NOW,
        parent_id=number - 1,
    )


def name_of(channel: int) -> str:
    """Name a channel's conversation."""
    return f"discord:{channel}"


class ListStore(SQLiteHistory):
    """Answers at once, with what it was given; no file is opened."""

    def __init__(self, said: dict[str, list[Message]]) -> None:
        self._said = said

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest."""
        return tuple(self._said[conversation][-limit:])


def measure_reads(channels: int, rounds: int) -> list[Figure]:
    """Read the last fifty messages of channels in random order."""
    said = {
        name_of(n): [message(n * LIMIT + place, n) for place in range(LIMIT)]
        for n in range(channels)
    }
    options = CacheOptions(max_entries=channels, max_bytes=UNBOUNDED)
    cache = CachedHistory(ListStore(said), options)
    names = [*said]
    order = random.Random(1).choices(names, k=READS)

    async def read_all(read: Callable[[str, int], Awaitable[Sequence[Message]]]) -> None:
        for name in order:
            await read(name, LIMIT)

    async def slice_list(name: str, limit: int) -> list[Message]:
        return said.get(name, [])[-limit:]

    def plain() -> None:
        for name in order:
            said.get(name, [])[-LIMIT:]

    with asyncio.Runner() as runner:
        for name in names:
            runner.run(cache.recent(name, LIMIT))
        ours, bare, awaited = interleaved(
            rounds,
            lambda: runner.run(read_all(cache.recent)),
            plain,
            lambda: runner.run(read_all(slice_list)),
        )
    title = f"cached read, {channels:,} channels"
    return [
        _beside(title, ours, "dict.get and slice", bare, Unit("ns", 1e9, READS), 1.0),
        _beside(title, ours, "the same, awaited", awaited, Unit("ns", 1e9, READS), 1.0),
    ]


def measure_insert(rounds: int) -> Figure:
    """Put entries into a cache that is full, and as many lists into a dict."""
    entries = [(name_of(n), _Entry((), LIMIT, LIMIT)) for n in range(INSERTS + 1000)]

    def evicting() -> float:
        cache = CachedHistory(ListStore({}))
        keep = cache._keep  # noqa: SLF001 -- what a read adds to it is measured elsewhere
        for name, entry in entries[:1000]:
            keep(name, entry)
        started_at = time.process_time()
        for name, entry in entries[1000:]:
            keep(name, entry)
        return time.process_time() - started_at

    def plain() -> float:
        kept: dict[str, _Entry] = {}
        started_at = time.process_time()
        for name, entry in entries[1000:]:
            kept[name] = entry  # noqa: PERF403 -- an insert is what is measured
        return time.process_time() - started_at

    ours, bare = interleaved(rounds, evicting, plain)
    return _beside("evicting insert", ours, "dict insert", bare, Unit("ns", 1e9, INSERTS), 4.5)


class JsonFiles:
    """The common way: a file a channel, read and rewritten for each message."""

    def __init__(self, folder: Path, channels: int) -> None:
        self._folder = folder
        folder.mkdir()
        entry = {"role": "user", "content": TEXT, "username": ADA.name, "user_id": int(ADA.id)}
        # It keeps what it has read in memory, so only the rewriting is measured.
        self._said = [entry] * MESSAGES_IN_FILE
        for channel in range(channels):
            self._path(channel).write_text(json.dumps(self._said, indent=2))

    async def exchange(self, channel: int) -> None:
        """Rewrite a file for a question, and again for its answer."""
        for _ in range(2):
            file = await asyncio.to_thread(self._path(channel).open, "w")
            await asyncio.to_thread(file.write, json.dumps(self._said, indent=2))
            await asyncio.to_thread(file.close)

    def _path(self, channel: int) -> Path:
        return self._folder / f"{channel}.json"


def measure_appends(channels: int, rounds: int) -> list[Figure]:
    """Append to random channels of so many, one after the other and fifty at once."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opened = SQLiteHistory.open(Path(folder) / "history.db")
        history = runner.run(stack.enter_async_context(opened))
        runner.run(_fill(history, channels))
        files = JsonFiles(Path(folder) / "files", channels)
        try:
            return _measure_appends(runner, history, files, channels, rounds)
        finally:
            runner.run(stack.aclose())


def _measure_appends(
    runner: asyncio.Runner, history: SQLiteHistory, files: JsonFiles, channels: int, rounds: int
) -> list[Figure]:
    chance = random.Random(2)
    numbers = iter(range(10**9, 2 * 10**9))

    async def exchange(channel: int) -> None:
        await history.append([message(next(numbers), channel) for _ in range(2)])

    def contender(work: Callable[[int], Awaitable[None]], at_once: int) -> Contender:
        def run() -> None:
            runner.run(_do_all(work, at_once, chance.choices(range(channels), k=EXCHANGES)))

        return run

    def written_by_history(at_once: int) -> float:
        # The log is written at once and copied into the file later. From an empty log to an empty
        # log, both count, however the copying would fall.
        def run() -> None:
            order = chance.choices(range(channels), k=EXCHANGES_IN_LOGS)
            runner.run(_do_all(exchange, at_once, order))
            runner.run(_empty_log(history))

        runner.run(_empty_log(history))
        return _written_by(run) / EXCHANGES_IN_LOGS

    ways = [contender(exchange, 1), contender(files.exchange, 1)]
    ways += [contender(exchange, AT_ONCE), contender(files.exchange, AT_ONCE)]
    alone, json_alone, together, json_together = interleaved(rounds, *ways, clock=time.perf_counter)
    written = [written_by_history(1), _written_by(ways[1]) / EXCHANGES]
    written += [written_by_history(AT_ONCE), _written_by(ways[3]) / EXCHANGES]
    target = {10: 1 / 40, 1000: 1 / 15, 100_000: 1 / 12}[channels]
    of, beside, time_unit = f"{channels:,} channels", "JSON rewrites", Unit("µs", 1e6, EXCHANGES)
    many = f"{AT_ONCE} at once, {of}"
    return [
        _beside(f"exchange alone, {of}", alone, beside, json_alone, time_unit),
        _beside(f"exchange, {many}", together, beside, json_together, time_unit, target),
        _beside(f"written alone, {of}", written[0], beside, written[1], Unit("bytes", 1), 1.0),
        _beside(f"written, {many}", written[2], beside, written[3], Unit("bytes", 1), 1.0),
    ]


async def _fill(history: SQLiteHistory, channels: int) -> None:
    for start in range(0, channels, 500):
        numbers = range(start, min(start + 500, channels))
        await history.append(
            [message(n * MESSAGES_IN_FILE + k, n) for n in numbers for k in range(MESSAGES_IN_FILE)]
        )


async def _empty_log(history: SQLiteHistory) -> None:
    await history._thread.read(  # noqa: SLF001 -- nothing public empties it at will
        lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    )


async def _do_all(
    work: Callable[[int], Awaitable[None]], at_once: int, channels: Sequence[int]
) -> None:
    for start in range(0, len(channels), at_once):
        await asyncio.gather(*(work(channel) for channel in channels[start : start + at_once]))


def _written_by(work: Contender) -> int:
    """Return how many bytes were handed to the system to write."""
    before = _written()
    work()
    return _written() - before


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def measure_opening(rounds: int) -> Figure:
    """Open what a killed process left, with a log of five megabytes, and read a conversation."""
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "left"
        left.mkdir()
        command = [sys.executable, "-c", WRITE_AND_DIE, str(left / "history.db"), str(LOG_BYTES)]
        died = subprocess.run(command, check=False, timeout=120, cwd=Path(__file__).parents[1])
        assert died.returncode == -signal.SIGKILL
        copies = iter(range(1000))

        def open_and_read() -> float:
            copy = Path(folder) / str(next(copies))
            copy.mkdir()
            for file in ("history.db", "history.db-wal"):
                shutil.copy(left / file, copy)
            return asyncio.run(_open_and_read(copy / "history.db"))

        (seconds,) = interleaved(rounds, open_and_read)
        megabytes = (left / "history.db-wal").stat().st_size / 1e6
    name = f"open and read after kill -9, {megabytes:.1f} MB of log"
    return _beside(name, seconds, "bound", 0.010, Unit("ms", 1e3), 1.0)


async def _open_and_read(path: Path) -> float:
    started_at = time.perf_counter()
    async with SQLiteHistory.open(path) as history:
        assert await history.recent(name_of(0), LIMIT)
        return time.perf_counter() - started_at


def measure_memory(max_bytes: int) -> Figure:
    """Fill a cache to its bound and see what Python holds for it."""
    channels = max_bytes // 30_000
    with tempfile.TemporaryDirectory() as folder:
        held = asyncio.run(_held_bytes(Path(folder) / "history.db", channels, max_bytes))
    name = f"memory of a full cache of {max_bytes // 2**20} MiB"
    return _beside(name, held, "bound", max_bytes, Unit("MiB", 2**-20), 1.0)


async def _held_bytes(path: Path, channels: int, max_bytes: int) -> int:
    async with SQLiteHistory.open(path) as store:
        for channel in range(channels):
            numbers = range(channel * LIMIT, (channel + 1) * LIMIT)
            await store.append([message(number, channel) for number in numbers])
        options = CacheOptions(max_entries=channels, max_bytes=max_bytes)
        cache = CachedHistory(store, options)
        gc.collect()
        tracemalloc.start()
        try:
            for channel in range(channels):
                await cache.recent(name_of(channel), LIMIT)
            gc.collect()
            assert cache.get_cache_stats()["history"]["evictions"]
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


class Unit(NamedTuple):
    """How a measured number is shown: its name, how many make one, over how many it is spread."""

    name: str
    per_one: float
    over: int = 1


def _beside(
    name: str, value: float, limit_name: str, limit: float, unit: Unit, target: float | None = None
) -> Figure:
    scale = unit.per_one / unit.over
    return Figure(
        name=name,
        value=value * scale,
        unit=unit.name,
        limit_name=limit_name,
        limit=limit * scale,
        ratio=value / limit,
        target=target,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer channels")
    show(measure(parser.parse_args().quick))


if __name__ == "__main__":
    main()
