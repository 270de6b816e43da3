"""How soon the embedded model stops working on an answer that nobody reads any more.

Leaves long answers after a few words and asks llama.cpp's own `/slots` until none is at work.
Prints the median and the maximum of the seconds from leaving until then, and beside them the time
of one bare `/slots` round trip in the same run, below which nothing can be seen.

    uv run python benchmarks/stop_frees_slot.py [--rounds 100] [--deltas 4] [--json FILE]
"""

import argparse
import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median

from msgspec import Struct

from acore_bot.messages import ChatMessage, ChatRequest
from acore_bot.providers.llama_cpp import MODEL_NAME, Embedded

LONG = ChatRequest(
    model=MODEL_NAME,
    messages=(ChatMessage("user", "Tell me a long story about a river."),),
    max_tokens=2000,
)
PAUSE_SECONDS = 0.002  # between two looks, so that looking takes no core from the model


class Slot(Struct):
    """What `/slots` tells of one of them."""

    is_processing: bool


async def count_busy_slots(provider: Embedded) -> int:
    """Ask llama.cpp how many of its slots are at work."""
    child = provider._child  # noqa: SLF001 -- /slots is no part of what a provider promises
    assert child is not None
    client = child.client._client  # noqa: SLF001
    url = client.base.parent / "slots"
    slots = await client.fetch(url, list[Slot], client.border(""), local_only=True)
    return sum(slot.is_processing for slot in slots)


async def measure_round_trip(provider: Embedded) -> float:
    """Return the seconds that one look takes."""
    asked_at = time.monotonic()
    await count_busy_slots(provider)
    return time.monotonic() - asked_at


async def measure_stop(provider: Embedded, deltas: int) -> float:
    """Return the seconds from leaving an answer until no slot is at work."""
    async with provider.stream(LONG) as pieces:
        for _ in range(deltas):
            await anext(pieces)
        left_at = time.monotonic()
    while True:
        if not await count_busy_slots(provider):
            return time.monotonic() - left_at
        await asyncio.sleep(PAUSE_SECONDS)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--deltas", type=int, default=4, help="pieces to read before leaving")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    stops: list[float] = []
    round_trips: list[float] = []
    async with aclosing(Embedded()) as provider:
        await provider.describe(MODEL_NAME)
        for _ in range(arguments.rounds):
            stops.append(await measure_stop(provider, arguments.deltas))
            round_trips.append(await measure_round_trip(provider))
    print(f"{arguments.rounds} rounds           median       max")
    print(f"left until idle     {median(stops):8.4f} s {max(stops):8.4f} s")
    print(f"/slots round trip   {median(round_trips):8.4f} s {max(round_trips):8.4f} s")
    if arguments.json:
        figures = {"stop_seconds": stops, "round_trip_seconds": round_trips}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
