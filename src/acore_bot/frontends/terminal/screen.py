"""Lines that stay, and below them a few that still change.

Lines that stay scroll up and are never touched again, so that what was said is on the screen, and
in the terminal's own history, once. The live lines below are redrawn from the first one that
differs, in one write, so that nothing flickers. The cursor rests at the end of the last live line,
or at the start of an empty line if there is none.
"""

import os
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import TextIO

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.segment import Segment, SegmentLines


class Line(Struct, frozen=True):
    """One line as it is written, and as it reads: with colours, and without."""

    written: str
    plain: str

    def count_rows(self, width: int) -> int:
        """Return how many rows of a terminal of that width it fills."""
        return max(1, -(-cell_len(self.plain) // width))


class Screen:
    """Draws on a terminal. `is_closed` is true once the terminal is gone."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self._stream = stream
        self.console = console or Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live: list[Line] = []
        self.is_closed = False

    @property
    def size(self) -> os.terminal_size:
        """The terminal's columns and lines, as they are now."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return os.terminal_size(self.console.size)
        # A pseudo-terminal that nobody gave a size says 0 by 0.
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def render(self, renderable: RenderableType, width: int) -> list[Line]:
        """Render something to lines of at most `width` cells."""
        options = self.console.options.update(width=width, height=None)
        padded = self.console.render_lines(renderable, options, pad=False)
        segments = [_without_padding(line) for line in padded]
        with self.console.capture() as capture:
            self.console.print(SegmentLines(segments, new_lines=True), end="", crop=False)
        plain = ("".join(segment.text for segment in line) for line in segments)
        return list(map(Line, capture.get().split("\n"), plain))

    def show(self, settled: Sequence[Line], live: Sequence[Line] = ()) -> None:
        """Replace the live lines: first the `settled`, which stay, then the new `live` ones.

        Of more live lines than the terminal has room for, the last are shown.
        """
        width, height = self.size
        live = [] if self.console.is_dumb_terminal else _last_rows(live, width, height - 1)
        old, new = self._live, [*settled, *live]
        self._live = live
        kept = _count_equal(old, new)
        if kept < len(old):
            kept = min(kept, max(0, len(new) - 1))
            start = _back_to(old[kept:], width)
        else:
            start = "\n" if old and len(new) > kept else ""
        end = "\n" if new and not live else ""
        self._write(start + "\n".join(line.written for line in new[kept:]) + end)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal was closed under us
            self.is_closed = True


def _without_padding(line: list[Segment]) -> list[Segment]:
    """Leave out the space at the end that nobody sees, which would be copied, or wrapped."""
    end = len(line)
    while end and line[end - 1].text.isspace() and not _has_background(line[end - 1]):
        end -= 1
    return line[:end]


def _has_background(segment: Segment) -> bool:
    return segment.style is not None and segment.style.bgcolor is not None


def _count_equal(old: Sequence[Line], new: Sequence[Line]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _back_to(lines: Sequence[Line], width: int) -> str:
    """Move from the end of some lines to their start, and erase from there on.

    Terminals break a line anew when they become narrower, so the rows are counted as of now.
    """
    rows = sum(line.count_rows(width) for line in lines)
    return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"


def _last_rows(lines: Sequence[Line], width: int, room: int) -> list[Line]:
    rows = accumulate(line.count_rows(width) for line in reversed(lines))
    fitting = sum(1 for _ in takewhile(lambda count: count <= room, rows))
    return list(lines[len(lines) - fitting :])
