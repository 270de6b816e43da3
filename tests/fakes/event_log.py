"""Reads logs of events as whoever looks into them would: every file, every line whole."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from acore_bot.telemetry.batch_log import BatchLog


class Line(Struct, forbid_unknown_fields=True):
    """One line of a log."""

    timestamp: str
    type: str
    data: dict[str, Any]


def read_folder(folder: Path) -> list[Line]:
    """Read the log of one series, oldest file first. Fails on a line that is not whole."""
    return [line for path in log_files(folder) for line in read_file(path)]


def log_files(folder: Path) -> list[Path]:
    """List the files of a log in order; where a file is there compressed too, that one alone."""
    paths = [*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]
    chosen = {path.name.removesuffix(".gz"): path for path in sorted(paths, key=_is_compressed)}
    return [chosen[name] for name in sorted(chosen, key=_order)]


def read_file(path: Path) -> list[Line]:
    """Read the lines of one file."""
    content = gzip.decompress(path.read_bytes()) if _is_compressed(path) else path.read_bytes()
    assert content.endswith(b"\n") or not content
    return [msgspec.json.decode(line, type=Line) for line in content.splitlines()]


def tidy_up(log: BatchLog) -> None:
    """Let the writer work until its folder is in order."""
    log._writer.work()
    while not log._writer.rest():
        log._writer.work()


def abandon(log: BatchLog) -> None:
    """Leave a log as a kill would: nothing is written, and its journal is free to others."""
    log._journal.close()
    if log._series:
        log._series.close()
    log._is_closed = True


def _is_compressed(path: Path) -> bool:
    return path.suffix == ".gz"


def _order(name: str) -> tuple[str, int]:
    day, *part = name.removesuffix(".jsonl").split(".")
    return day, int(part[0]) if part else 0
