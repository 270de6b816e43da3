"""Recordings of every tool become one kind of table."""

import cProfile
import html
import json
from contextlib import suppress
from pathlib import Path

import memray
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.errors import AcoreError, NotFound
from acore_bot.ops.profile import reading
from acore_bot.ops.profile.reading import read
from acore_bot.ops.profile.table import Row, from_stacks

RAW = "<module> (bot.py:9);main (bot.py:7);burn_cycles (bot.py:3) 81\n<module> (bot.py:9) 1\n"
ROWS = (
    Row("burn_cycles (bot.py)", 81, 81),
    Row("<module> (bot.py)", 1, 82),
    Row("main (bot.py)", 0, 81),
)


class Tree(dict[str, "Tree"]):
    """Which functions called which."""


TREES: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Tree),
    lambda below: st.dictionaries(st.sampled_from(["a", "b<c>", "d"]), below, max_size=3).map(Tree),
)


def burn_cycles() -> int:
    """Be seen by name."""
    return sum(range(1000))


def written(folder: Path, content: str) -> Path:
    """Write a recording."""
    file = folder / "recording"
    file.write_text(content)
    return file


def test_the_raw_format_of_py_spy_is_read(tmp_path: Path) -> None:
    """Lines of code are put together by function."""
    table = read(written(tmp_path, RAW))
    assert (table.unit, table.whole, table.rows) == ("samples", 82, ROWS)


def test_the_speedscope_format_is_read(tmp_path: Path) -> None:
    """Frames are numbers there, and each sample has its weight."""
    profile = {
        "type": "sampled",
        "samples": [[0, 1], [0], []],
        "weights": [0.5, 0.25, 1],
        "name": "",
    }
    frames = [{"name": "main", "file": "bot.py", "line": 7}, {"name": "work", "file": None}]
    table = read(
        written(tmp_path, json.dumps({"shared": {"frames": frames}, "profiles": [profile]}))
    )
    assert table.unit == "seconds"
    assert table.rows == (Row("work", 0.5, 0.5), Row("main (bot.py)", 0.25, 0.75))


def drawn(tree: Tree, own: int, x: int = 0, depth: int = 0, name: str = "all") -> tuple[str, int]:
    """Draw a flame graph as py-spy does: each function with `own` samples and those of its inner
    ones. Return the rectangles and their width."""
    inner, width = "", 0
    for below, branch in tree.items():
        text, taken = drawn(branch, own, x + width, depth + 1, below)
        inner, width = inner + text, width + taken
    width += own if depth else 0
    title = f"{html.escape(name)} ({width:,} samples, 1.00%)"
    place = f'x="0.0000%" y="{52 + 16 * depth}" width="1%" height="15" fill="rgb(1,2,3)"'
    return f'<g><title>{title}</title><rect {place} fg:x="{x}" fg:w="{width}"/></g>{inner}', width


def stacks_of(tree: Tree, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Name all stacks of a tree."""
    found = []
    for name, below in tree.items():
        found += [(*above, name), *stacks_of(below, (*above, name))]
    return found


@given(TREES, st.integers(1, 2000))
def test_a_flame_graph_tells_the_same_as_the_samples(tree: Tree, own: int) -> None:
    """The rectangles of a flame graph are enough to know what each function took."""
    svg, _ = drawn(tree, own)
    stacks = [(stack, own) for stack in stacks_of(tree)]
    assert from_stacks("samples", reading._svg_stacks(svg)) == from_stacks("samples", stacks)


def test_a_file_of_cprofile_is_read(tmp_path: Path) -> None:
    """Functions are told with their files and lines, and built-in ones by name."""
    profile, file = cProfile.Profile(), tmp_path / "a.prof"
    profile.runcall(burn_cycles)
    profile.dump_stats(file)
    table = read(file)
    names = {row.function for row in table.rows}
    line = burn_cycles.__code__.co_firstlineno
    assert f"burn_cycles (ops/test_profile_reading.py:{line})" in names
    assert "<built-in method builtins.sum>" in names


@pytest.mark.parametrize("growth", [False, True])
def test_growth_is_what_was_not_given_back(growth: bool, tmp_path: Path) -> None:
    """The peak has all that was there at once; the growth only what still is at the end."""
    with memray.Tracker(tmp_path / "a.bin"):
        kept, lost = bytearray(1 << 20), borrow()
        del lost
    rows = {
        row.function.partition(" ")[0]: row for row in read(tmp_path / "a.bin", growth=growth).rows
    }
    assert rows["test_growth_is_what_was_not_given_back"].own >= len(kept)
    assert ("borrow" in rows) is not growth


def borrow() -> bytearray:
    """Allocate what the caller gives back."""
    return bytearray(2 << 20)


@pytest.mark.parametrize(
    "content", ["", "said", "{", '{"a": 1}', "a;b", "<svg>", "\x00\x01", "memray and nothing else"]
)
def test_anything_else_is_refused_with_a_sentence(content: str, tmp_path: Path) -> None:
    """A file that is no recording, or half of one, is named as such."""
    file = written(tmp_path, content)
    with pytest.raises(AcoreError, match="is no recording"):
        read(file)


@given(content=st.binary(max_size=80))
def test_no_bytes_are_too_wild(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a file holds, it is read or refused."""
    file = tmp_path_factory.getbasetemp() / "wild"
    file.write_bytes(content)
    with suppress(AcoreError):
        assert read(file).rows


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A wrong name is said to be wrong."""
    with pytest.raises(NotFound, match=r"gone\.prof cannot be read: No such file"):
        read(tmp_path / "gone.prof")
