"""Writes logs of events as the bot does, line by line, with whatever a test wants in them."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from acore_bot.telemetry.events import Event, TurnFinished
from acore_bot.telemetry.metrics import EVENT_NAMES

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def turn(seconds: float = 1.0, **fields: object) -> TurnFinished:
    """Make a turn that took so long."""
    told = {"model": "a/b", "finish_reason": "stop", "first_delta_seconds": None, **fields}
    return msgspec.convert({**told, "total_seconds": seconds}, TurnFinished)


def line(at: datetime, event: Event | dict[str, object], name: str = "") -> bytes:
    """Tell an event as the log does."""
    stamp = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    name = name or EVENT_NAMES[type(event)]
    return msgspec.json.encode({"timestamp": stamp, "type": name, "data": event}) + b"\n"


def write(folder: Path, content: bytes, name: str = "2026-11-20.jsonl") -> Path:
    """Write a file of a log's first series."""
    file = folder / "acore" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return file
