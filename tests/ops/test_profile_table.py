"""What each function took itself, and with all that it called."""

from hypothesis import given
from hypothesis import strategies as st

from acore_bot.ops.profile.table import Row, Table, from_rows, from_stacks, named, text

STACKS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), st.integers(1, 1000))
)


@given(STACKS)
def test_own_shares_make_the_whole(stacks: list[tuple[list[str], int]]) -> None:
    """All that was taken is somebody's own, once, and nobody's total exceeds the whole, also if a
    function calls itself."""
    table = from_stacks("samples", stacks)
    assert table.whole == sum(taken for _, taken in stacks)
    assert all(row.own <= row.total <= table.whole for row in table.rows)
    assert {row.function for row in table.rows} == {name for names, _ in stacks for name in names}
    assert [row.own for row in table.rows] == sorted((row.own for row in table.rows), reverse=True)


def test_a_caller_has_the_total_of_what_it_calls() -> None:
    """The innermost function of a stack owns it; those around it have it in their totals."""
    table = from_stacks("samples", [(("main", "work"), 3), (("main",), 1)])
    assert table.rows == (Row("work", 3, 3), Row("main", 1, 4))


def test_it_is_laid_out_with_shares() -> None:
    """Each line tells amount and share, own and total, and the function."""
    lines = text(from_rows("seconds", [Row("work", 3.0, 3.0), Row("main", 1.0, 4.0)])).splitlines()
    assert lines[0].endswith("of 4.000 s in all")
    assert lines[1].split() == ["3.000", "s", "75.0%", "3.000", "s", "75.0%", "work"]


def test_only_the_top_is_shown() -> None:
    """A long table is cut, and says by how much."""
    rows = [Row(f"f{number}", number, number) for number in range(1, 101)]
    shown = text(from_rows("samples", rows))
    assert "f100\n" in shown
    assert "f1\n" not in shown
    assert shown.endswith("… and 85 more\n")


def test_sizes_are_told_in_units() -> None:
    """Bytes are told as a person would."""
    rows = [
        Row("a", 512, 512),
        Row("b", 2048, 2048),
        Row("c", 3 << 20, 3 << 20),
        Row("d", 5 << 30, 5 << 30),
    ]
    shown = text(from_rows("bytes", rows))
    assert all(size in shown for size in ("512 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"))


def test_nothing_is_told_as_nothing() -> None:
    """A table without rows divides by nothing."""
    assert text(Table("bytes", 0, ())) == "Nothing was recorded.\n"
    assert "0.0%" in text(from_rows("bytes", [Row("a", 0, 0)]))


def test_a_function_is_named_with_the_end_of_its_path() -> None:
    """Two parts of a path tell a file from its namesakes; one without a file is named alone."""
    assert named("work", "/usr/lib/python/asyncio/tasks.py") == "work (asyncio/tasks.py)"
    assert named("work", "") == "work"
