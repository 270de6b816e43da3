"""The one table that every recording becomes: what each function took itself, and with all that it
called."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

Unit: TypeAlias = Literal["samples", "seconds", "bytes"]

MAX_SHOWN = 15
_KIB = 1024


class Row(Struct, frozen=True):
    """A function, named `name (file)`, and what it took in the table's unit."""

    function: str
    own: float
    total: float


class Table(Struct, frozen=True):
    """All functions, those that took most themselves first. `whole` is what all took together."""

    unit: Unit
    whole: float
    rows: tuple[Row, ...]


def from_rows(unit: Unit, rows: Iterable[Row]) -> Table:
    """Make a table of what is known of each function."""
    ordered = sorted(rows, key=lambda row: (-row.own, -row.total, row.function))
    return Table(unit, sum(row.own for row in ordered), tuple(ordered))


def from_stacks(unit: Unit, stacks: Iterable[tuple[Sequence[str], float]]) -> Table:
    """Make a table of stacks, outermost function first, each with what was taken in it."""
    own: defaultdict[str, float] = defaultdict(float)
    total: defaultdict[str, float] = defaultdict(float)
    for functions, taken in stacks:
        own[functions[-1]] += taken
        for name in set(functions):  # a function that calls itself took the time once
            total[name] += taken
    return from_rows(unit, (Row(name, own[name], total[name]) for name in total))


def named(function: str, file: str) -> str:
    """Name a function by itself and the end of its file's path."""
    return f"{function} ({'/'.join(file.split('/')[-2:])})" if file else function


def text(table: Table) -> str:
    """Lay the top of a table out in lines."""
    if not table.rows:
        return "Nothing was recorded.\n"
    head = f"{'own':>18}  {'total':>18}  function, of {_amount(table.unit, table.whole)} in all\n"
    lines = [head, *(_line(table, row) for row in table.rows[:MAX_SHOWN])]
    if (hidden := len(table.rows) - MAX_SHOWN) > 0:
        lines.append(f"{'':>18}  {'':>18}  … and {hidden:,} more\n")
    return "".join(lines)


def _line(table: Table, row: Row) -> str:
    cells = (_cell(table, taken) for taken in (row.own, row.total))
    return f"{'  '.join(cells)}  {row.function}\n"


def _cell(table: Table, taken: float) -> str:
    share = taken / table.whole if table.whole else 0.0
    return f"{_amount(table.unit, taken):>11} {share:>6.1%}"


def _amount(unit: Unit, amount: float) -> str:
    match unit:
        case "samples":
            return f"{amount:,.0f}"
        case "seconds":
            return f"{amount:,.3f} s"
        case "bytes":
            return _size(amount)


def _size(amount: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if amount < _KIB:
            return f"{amount:,.0f} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= _KIB
    return f"{amount:,.1f} GiB"
