"""What `acore stats` costs: one pass over the log of a million events, in seconds of the processor.

The limit is to read the same bytes line by line and decode none: no way of reading a log in Python
is quicker. To decode each line into plain dictionaries is what a short script would do, and counts
nothing yet. Compressed, the log is read as after its day has ended.

    uv run python -m benchmarks.stats [--quick]
"""

import argparse
import gzip
import random
import tempfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from benchmarks.figures import Figure, interleaved, show

from acore_bot.ops.log_stats import read_log
from acore_bot.telemetry import events
from acore_bot.telemetry.events import Event, Stages
from acore_bot.telemetry.metrics import EVENT_NAMES

START = datetime(2026, 3, 1, tzinfo=UTC)
MODELS = ("ollama/llama3.2:3b", "openrouter/anthropic/claude-sonnet-4.5", "embedded/smollm2")
A_DAY = 100_000  # events


def measure(quick: bool) -> list[Figure]:
    """Measure a pass over a million events; quickly, over 100,000."""
    count = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain", Path(folder) / "packed"
        write_log(plain / "acore", count)
        pack(plain / "acore", packed / "acore")
        return [*measure_pass(plain, packed, count), measure_memory(plain, count)]


def write_log(series: Path, count: int) -> None:
    """Write so many events, a file a day."""
    series.mkdir(parents=True)
    chance = random.Random(1)
    step = timedelta(days=1) / A_DAY
    for first in range(0, count, A_DAY):
        at = START + first * step
        lines = (line(at + n * step, event_of(chance)) for n in range(min(A_DAY, count - first)))
        (series / f"{at.date()}.jsonl").write_bytes(b"".join(lines))


def line(at: datetime, event: Event) -> bytes:
    """Tell an event as the log does."""
    stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
    told = {"timestamp": stamp, "type": EVENT_NAMES[type(event)], "data": event}
    return msgspec.json.encode(told) + b"\n"


def event_of(chance: random.Random) -> Event:
    """Make an event as a busy bot emits them: seven of ten are turns that were answered."""
    model = chance.choice(MODELS)
    if chance.random() < 0.7:
        return _turn(chance, model)
    others: tuple[Event, ...] = (
        events.TurnFailed(model=model, kind="timeout", total_seconds=chance.random() * 60),
        events.TurnRefused("not_allowed"),
        events.PromptTrimmed(dropped_messages=20, kept_messages=21),
        events.FlightJoined(model, 2),
        events.CachedAnswer(model, 700),
        events.RateLimited("PATCH /channels/{channel}/messages/{message}", chance.random()),
        events.CommandUsed("ask", chance.random()),
    )
    return chance.choices(others, weights=(2, 2, 10, 5, 3, 5, 3))[0]


def _turn(chance: random.Random, model: str) -> events.TurnFinished:
    parts = [chance.lognormvariate(-2, 1) for _ in range(7)]
    stages = Stages(**dict(zip(Stages.__struct_fields__, parts, strict=True)))
    return events.TurnFinished(
        model=model,
        finish_reason="stop",
        first_delta_seconds=sum(parts[:4]),
        total_seconds=sum(parts),
        stages=stages,
        prompt_tokens=chance.randrange(200, 4000),
        completion_tokens=chance.randrange(20, 400),
        cached_tokens=chance.randrange(200),
        cost=chance.random() / 100,
        place=f"{chance.getrandbits(64):016x}",
    )


def pack(plain: Path, packed: Path) -> None:
    """Compress all files of a series."""
    packed.mkdir(parents=True)
    for file in plain.iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 6))


def measure_pass(plain: Path, packed: Path, count: int) -> list[Figure]:
    """Read the log as `acore stats` does, and in plainer ways."""
    files = sorted((plain / "acore").iterdir())
    last_day = START + timedelta(days=count / A_DAY - 0.5)

    def read_lines() -> None:
        for file in files:
            with file.open("rb") as lines:
                for _ in lines:
                    pass

    def decode_lines() -> None:
        decode = msgspec.json.Decoder().decode
        for file in files:
            with file.open("rb") as lines:
                for told in lines:
                    decode(told)

    def read_all() -> None:
        assert read_log(plain).events == count

    ours, unpacked, half_a_day, bare, dictionaries = interleaved(
        5,
        read_all,
        lambda: _discard(read_log(packed)),
        lambda: _discard(read_log(plain, last_day)),
        read_lines,
        decode_lines,
    )
    of = f"{count:,} events"
    return [
        # Two thirds is decoding, most of that the digits of some ten durations a turn; the rest is
        # about twenty additions in Python, which may cost as much again as the dictionaries.
        _beside(f"all of {of}", ours, "line by line", bare, 20.0),
        _beside(f"all of {of}", ours, "decoded to dicts", dictionaries, 3.0),
        _beside(f"all of {of}, compressed", unpacked, "plain", ours, 1.5),
        _beside(f"the last half day of {of}", half_a_day, "all of them", ours, 1.5 * A_DAY / count),
    ]


def _discard(_: object) -> None:
    """Keep nothing, not even what would measure itself."""


def measure_memory(plain: Path, count: int) -> Figure:
    """Return what a pass holds at the most, as Python tells it."""
    tracemalloc.start()
    try:
        turns = read_log(plain, START + timedelta(days=count / A_DAY - 1)).turns
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = 8e6 + turns * 60  # blocks and their lines; two floats a turn, and a list to sort one
    name = f"memory of {turns:,} turns"
    return Figure(name, peak / 2**20, "MiB", "bound", bound / 2**20, peak / bound, 1.0)


def _beside(name: str, value: float, limit_name: str, limit: float, target: float) -> Figure:
    return Figure(name, value, "s", limit_name, limit, value / limit, target)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100,000 events")
    show(measure(parser.parse_args().quick))


if __name__ == "__main__":
    main()
