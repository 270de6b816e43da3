"""How much of a growing prompt the model's server has to read anew, turn by turn.

Runs the real core over the real embedded model and prints, for each turn, the tokens of the prompt,
those that the server still had, and those it read anew, beside the size of what is new in the turn.
The same conversation is then held in the common way, with a clock at the head of the prompt and a
window that slides by a message, and the reading of both is compared.

    uv run python benchmarks/prefix_reuse.py [--turns 24] [--context 2048] [--json FILE]
"""

import argparse
import asyncio
import io
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from msgspec import Struct, to_builtins

from acore_bot import app, config
from acore_bot.contracts import ChatModel
from acore_bot.frontends.terminal.piped import PipedReply, Writer
from acore_bot.messages import (
    Author,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    IncomingMessage,
    SnowflakeSequence,
    Usage,
)
from acore_bot.telemetry.events import Event, PromptTrimmed, TurnFinished

CONVERSATION = "benchmark"
MODEL = "embedded/smollm2"
MAX_TOKENS = 48
PERSON = Author("p", "Person")
TOPICS = (
    "the river behind my grandmother's house and the boats that we built there in summer",
    "a recipe for bread that takes three days and the flour that makes it rise so well",
    "how trains were timed before there were telegraphs along all of the railway lines",
    "why some birds cross an ocean every year while others never leave their own valley",
)


class Row(Struct, frozen=True):
    """One turn. Counts are tokens as the server reports them; seconds are until the first text."""

    turn: int
    prompt: int
    cached: int
    new_in_turn: int
    first_text_seconds: float
    was_trimmed: bool

    @property
    def read_anew(self) -> int:
        """Tokens that the server had to read for this turn."""
        return self.prompt - self.cached


def question(turn: int) -> str:
    """Return what the person says in a turn: a few dozen tokens, each time others."""
    return f"Turn {turn}. Let me tell you of {TOPICS[turn % len(TOPICS)]}; what do you think of it?"


async def hold_our_way(settings: config.Settings, turns: int) -> list[Row]:
    """Hold the conversation with the core."""
    happened: list[Event] = []
    snowflakes = SnowflakeSequence(time.time)
    rows: list[Row] = []
    async with app.open_app(settings, happened.append) as bot:
        for turn in range(1, turns + 1):
            happened.clear()
            message = IncomingMessage(
                id=snowflakes.next(),
                conversation=CONVERSATION,
                author=PERSON,
                text=question(turn),
                created_at=datetime.now(UTC),
                is_private=True,
            )
            await bot.core(message, PipedReply(snowflakes, Writer(io.StringIO())))
            finished = next(event for event in happened if isinstance(event, TurnFinished))
            was_trimmed = any(isinstance(event, PromptTrimmed) for event in happened)
            rows.append(_row(turn, finished, rows, was_trimmed=was_trimmed))
    return rows


def _row(turn: int, finished: TurnFinished, before: list[Row], *, was_trimmed: bool) -> Row:
    prompt = finished.prompt_tokens or 0
    return Row(
        turn=turn,
        prompt=prompt,
        cached=finished.cached_tokens or 0,
        new_in_turn=prompt - (before[-1].prompt if before else 0),
        first_text_seconds=finished.first_delta_seconds or 0.0,
        was_trimmed=was_trimmed,
    )


async def hold_common_way(settings: config.Settings, turns: int, window: int) -> list[Row]:
    """Hold it with a clock at the head and the last `window` messages, as many bots do."""
    rows: list[Row] = []
    said: list[ChatMessage] = []
    now = datetime.now(UTC)
    async with app.open_model(settings) as model:
        for turn in range(1, turns + 1):
            now += timedelta(seconds=61)
            head = ChatMessage("system", f"It is {now:%A, %H:%M:%S}. You are a helpful assistant.")
            said.append(ChatMessage("user", question(turn)))
            request = ChatRequest(
                model=MODEL, messages=(head, *said[-window:]), max_tokens=MAX_TOKENS
            )
            text, usage, first = await _answer(model, request)
            said.append(ChatMessage("assistant", text))
            before = rows[-1].prompt if rows else 0
            cached = usage.cached_tokens or 0
            new = usage.prompt_tokens - before
            rows.append(Row(turn, usage.prompt_tokens, cached, new, first, was_trimmed=False))
    return rows


async def _answer(model: ChatModel, request: ChatRequest) -> tuple[str, Usage, float]:
    asked_at, first, text = time.monotonic(), 0.0, ""
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    async with model.stream(request) as pieces:
        async for piece in pieces:
            if isinstance(piece, Delta):
                first = first or time.monotonic() - asked_at
                text += piece.text
            elif isinstance(piece, End) and piece.usage:
                usage = piece.usage
    return text, usage, first


def print_rows(title: str, rows: list[Row]) -> None:
    """Print a table of turns."""
    print(f"\n{title}")
    print("turn  prompt  cached  read anew  new in turn  first text")
    for row in rows:
        note = "  (a block was trimmed)" if row.was_trimmed else ""
        print(
            f"{row.turn:4}  {row.prompt:6}  {row.cached:6}  {row.read_anew:9}  "
            f"{row.new_in_turn:11}  {row.first_text_seconds:8.2f} s{note}"
        )


def summarise(ours: list[Row], common: list[Row]) -> dict[str, float]:
    """Sum up both ways. The first turn reads everything in either."""
    steady = [row for row in ours[1:] if not row.was_trimmed]
    return {
        "read anew per turn, ours, median": median(row.read_anew for row in steady),
        "new in turn, ours, median": median(row.new_in_turn for row in steady),
        "read anew / new in turn, median": median(r.read_anew / r.new_in_turn for r in steady),
        "read anew in all, ours": sum(row.read_anew for row in ours),
        "read anew in all, common way": sum(row.read_anew for row in common),
        "first text, ours, median s": median(row.first_text_seconds for row in ours[1:]),
        "first text, common way, median s": median(row.first_text_seconds for row in common[1:]),
    }


async def main() -> None:
    """Hold the conversation both ways and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--context", type=int, default=2048, help="window, in tokens")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "chat.model": MODEL,
            "chat.max_tokens": MAX_TOKENS,
            "data.directory": folder,
            "providers.embedded.context_tokens": arguments.context,
            "providers.embedded.slots": 1,
            "providers.embedded.cache_ram_mib": 0,
        }
        settings = config.load(overrides=flags)
        ours = await hold_our_way(settings, arguments.turns)
        common = await hold_common_way(settings, arguments.turns, window=12)
    print_rows("acore-bot: a still head, history trimmed in blocks", ours)
    print_rows("the common way: a clock at the head, the last 12 messages", common)
    summary = summarise(ours, common)
    print()
    for name, value in summary.items():
        print(f"{name:36} {value:10.2f}")
    if arguments.json:
        figures = {"ours": to_builtins(ours), "common": to_builtins(common), "summary": summary}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
