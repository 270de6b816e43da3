"""From the file of a recording to its table, whichever tool wrote it."""

import html
import marshal
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from msgspec import Struct

from acore_bot.errors import AcoreError, MissingExtra, NotFound
from acore_bot.ops.profile.table import Row, Table, from_rows, from_stacks, named

if TYPE_CHECKING:
    import memray

Stack: TypeAlias = tuple[Sequence[str], float]
Place: TypeAlias = tuple[str, int, str]

MEMRAY_MISSING = "Reading this file needs memray, which is not installed."
INSTALL_MEMRAY = "Install it: pip install 'acore-bot[profile]'"
_MEMRAY_MARKS = (b"memray", b"\x04\x22\x4d\x18")  # as it is, and compressed
_MARSHAL_MARKS = (b"{", b"\xfb")  # a dictionary, without and with references
_SPY_LINE = re.compile(r"^(.+) (\d+)$", re.ASCII)
_LINE_NUMBER = re.compile(r":\d+\)$")
_SVG_FRAME = re.compile(
    r'<title>([^<]*) \([\d,]+ samples?, [\d.]+%\)</title><rect [^>]*?\by="([\d.]+)"'
    r'[^>]*?\bfg:x="(\d+)" fg:w="(\d+)"'
)


def read(file: Path, *, growth: bool = False) -> Table:
    """Return the table of a recording: of cProfile, memray, or py-spy (flame graph, raw or
    speedscope). With `growth`, of memory what was never given back, not the peak. Raises
    `AcoreError` for any other file."""
    try:
        with file.open("rb") as opened:
            beginning = opened.read(16)
        if beginning.startswith(_MEMRAY_MARKS):
            return _read_memray(file, growth=growth)
        return _read_small(file.read_bytes())
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror or error}."
        raise NotFound(msg, remedy="Name the file of a recording.") from error
    except (ValueError, EOFError, TypeError) as error:
        msg = f"{file} is no recording of cProfile, memray or py-spy, or not a whole one."
        raise AcoreError(msg, remedy="See `acore profile --mode guide`.") from error


def _read_small(content: bytes) -> Table:
    if content.startswith(b'{"'):
        return from_stacks("seconds", _speedscope_stacks(content))
    if content.startswith(_MARSHAL_MARKS):
        return from_rows("seconds", _call_rows(content))
    text = content.decode()
    stacks = _svg_stacks(text) if "<svg" in text[:1000] else map(_spy_stack, text.splitlines())
    if not (table := from_stacks("samples", stacks)).rows:
        msg = "no stack in it"
        raise ValueError(msg)
    return table


def _call_rows(content: bytes) -> Iterator[Row]:
    # Its owner's own file, as everything that analyze is given; garbage raises what read() catches.
    found = msgspec.convert(
        marshal.loads(content),  # noqa: S302
        type=dict[Place, tuple[int, int, float, float, object]],
    )
    for (path, line, function), (_, _, own, total, _) in found.items():
        yield Row(function if path == "~" else f"{named(function, path)[:-1]}:{line})", own, total)


class _Frame(Struct):
    name: str
    file: str | None = None


class _Shared(Struct):
    frames: list[_Frame]


class _Sampled(Struct):
    type: Literal["sampled"]
    samples: list[list[int]]
    weights: list[float]


class _Speedscope(Struct):
    shared: _Shared
    profiles: list[_Sampled]


def _speedscope_stacks(content: bytes) -> Iterator[Stack]:
    found = msgspec.json.decode(content, type=_Speedscope)
    names = [named(frame.name, frame.file or "") for frame in found.shared.frames]
    for profile in found.profiles:
        for sample, weight in zip(profile.samples, profile.weights, strict=True):
            if sample:
                yield [names[index] for index in sample], weight


def _spy_stack(line: str) -> Stack:
    """Read a line of py-spy's raw format: frames, outermost first, and how often it was seen."""
    if (found := _SPY_LINE.match(line)) is None:
        msg = f"not a stack: {line[:80]!r}"
        raise ValueError(msg)
    return [_without_line(frame) for frame in found[1].split(";")], int(found[2])


def _without_line(frame: str) -> str:
    return _LINE_NUMBER.sub(")", frame)


class _Rectangle(Struct):
    functions: tuple[str, ...]
    own: int


def _svg_stacks(text: str) -> Iterable[Stack]:
    """Read py-spy's flame graph, whose rectangles tell their samples: `x` is where one begins, `y`
    how deep it is, `w` how many there are. The outermost stands for the whole."""
    found = [(int(x), float(y), int(w), title) for title, y, x, w in _SVG_FRAME.findall(text)]
    depths = {y: depth for depth, y in enumerate(sorted({y for _, y, _, _ in found}))}
    drawn: list[_Rectangle] = []
    branch: list[_Rectangle] = []
    for _, y, width, title in sorted(found):
        del branch[depths[y] :]
        above: tuple[str, ...] = ()
        if branch:
            branch[-1].own -= width
            above = (*branch[-1].functions, _without_line(html.unescape(title)))
        branch.append(_Rectangle(above, width))
        drawn.append(branch[-1])
    return ((one.functions, one.own) for one in drawn if one.functions and one.own)


def _read_memray(file: Path, *, growth: bool) -> Table:
    try:
        import memray  # noqa: PLC0415 -- an extra, and slow to load
    except ModuleNotFoundError as error:
        raise MissingExtra(MEMRAY_MISSING, remedy=INSTALL_MEMRAY) from error
    try:
        reader = memray.FileReader(file)
    except OSError as error:  # of a file that could be opened just now
        raise ValueError(*error.args) from error
    with closing(reader):
        at_peak = reader.get_high_watermark_allocation_records
        found = (reader.get_leaked_allocation_records if growth else at_peak)(merge_threads=True)
        return from_stacks("bytes", map(_memray_stack, found))


def _memray_stack(record: "memray.AllocationRecord") -> Stack:
    frames = reversed(record.stack_trace())
    names = [named(function, path) for function, path, _ in frames]
    return names or ["(no Python frame)"], record.size
