"""What a benchmark measures, beside what, and how contenders are made to run fairly.

A benchmark measures its subject and a limit, something that cannot well be beaten, in turns, so
that a busy machine is as hard on the one as on the other.
"""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeAlias

from msgspec import Struct

Contender: TypeAlias = Callable[[], float | None]

MIN_ROUNDS = 5


class Figure(Struct, frozen=True):
    """A measured `value` beside that of a limit, both in `unit`. `ratio` is the one divided by the
    other, and `target` the greatest ratio that satisfies us. What stands alone leaves the last four
    as they are."""

    name: str
    value: float
    unit: str
    limit_name: str = ""
    limit: float | None = None
    ratio: float | None = None
    target: float | None = None


def interleaved(
    rounds: int, *contenders: Contender, clock: Callable[[], float] = time.process_time
) -> tuple[float, ...]:
    """Run the contenders in turns, at least five rounds, and return the median of each.

    It is in seconds of `clock`, by default of the processor; a contender that returns a number has
    measured itself, in whatever unit.
    """
    for contender in contenders:
        contender()  # the first run pays for what later ones find ready
    taken = [
        [_run(contender, clock) for contender in contenders] for _ in range(max(rounds, MIN_ROUNDS))
    ]
    return tuple(median(column) for column in zip(*taken, strict=True))


def _run(contender: Contender, clock: Callable[[], float]) -> float:
    gc.collect()  # nobody sweeps up after another
    gc.disable()
    try:
        started_at = clock()
        measured = contender()
        return clock() - started_at if measured is None else measured
    finally:
        gc.enable()


def show(figures: Sequence[Figure]) -> None:
    """Print a table: what, how much, beside what, the ratio, and the target if there is one."""
    rows = [("figure", "value", "beside", "ratio", "target"), *map(_cells, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    beside = "" if figure.limit is None else f"{figure.limit_name}: {_number(figure.limit)}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    target = "" if figure.target is None else f"at most {figure.target:g}"
    return figure.name, f"{_number(figure.value)} {figure.unit}", beside, ratio, target


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
