"""Measures what the project promises to be quick at, and prints it beside what it is held against.

    uv run python benchmarks/run.py [NAME…] [--quick] [--json FILE]

The names are `dedup`, `stream`, `history`, `failover`, `dispatch`, `edits`, `events` and `stats`;
without any, all are measured. A figure that has a target says whether it meets it. Close other
programs: the machine is part of the figure.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

# Run by its path, a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import Figure, show

NAMES = ("dedup", "stream", "history", "failover", "dispatch", "edits", "events", "stats")


def choose(names: Sequence[str]) -> list[str]:
    """Return the benchmarks of those names, all without any. Raises `SystemExit` with a sentence if
    there is none of a name."""
    there = [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}")]
    for name in names:
        if name not in there:
            sys.exit(f"There is no benchmark named {name!r}. There are: {', '.join(there)}.")
    return list(names) or there


def measure(name: str, *, quick: bool) -> list[Figure]:
    """Run one benchmark."""
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").measure(quick)
    return figures


def verdict(figures: Sequence[Figure]) -> str:
    """Say how many targets are met, and name those that are not."""
    aimed = [figure for figure in figures if figure.target is not None]
    if not aimed:
        return "No targets are set."
    missed = [figure for figure in aimed if not is_met(figure)]
    lines = [f"{len(aimed) - len(missed)} of {len(aimed)} targets met."]
    lines += [
        f"  not met: {figure.name}, beside {figure.limit_name}: "
        f"{figure.ratio:.3g}, at most {figure.target:.3g} wanted"
        for figure in missed
    ]
    return "\n".join(lines)


def is_met(figure: Figure) -> bool:
    """Say whether a figure with a target meets it."""
    return figure.target is None or (figure.ratio is not None and figure.ratio <= figure.target)


def main() -> None:
    """Measure, print, and write to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="measure less, for a rough figure")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    measured: dict[str, list[Figure]] = {}
    for name in choose(arguments.names):
        print(f"\n{name}", flush=True)
        measured[name] = measure(name, quick=arguments.quick)
        show(measured[name])
    print(f"\n{verdict([figure for figures in measured.values() for figure in figures])}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(measured)) + b"\n")


if __name__ == "__main__":
    main()
