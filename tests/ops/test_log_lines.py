"""The lines of the log, whatever its files have been through, and beside whoever writes them."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.log_folder import NOON, line, turn, write

from acore_bot.errors import NotFound
from acore_bot.ops import log_lines
from acore_bot.ops.log_stats import read_log
from acore_bot.telemetry.batch_log import BatchLog


def test_only_days_that_matter_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is older than the span, no byte is read."""
    for day in (18, 19, 20, 21):
        write(tmp_path, line(NOON.replace(day=day), turn()), f"2026-11-{day}.jsonl")
    opened = []
    read = log_lines._read

    def note(path: Path, size: int) -> Iterator[bytes]:
        opened.append(path.name)
        return read(path, size)

    monkeypatch.setattr(log_lines, "_read", note)
    assert read_log(tmp_path, NOON).turns == 2
    assert opened == ["2026-11-20.jsonl", "2026-11-21.jsonl"]


def test_of_a_file_and_its_compressed_twin_one_is_read(tmp_path: Path) -> None:
    """While a file is compressed both are there for a moment; the compressed one is whole."""
    write(tmp_path, line(NOON, turn()) * 3)
    write(tmp_path, line(NOON, turn()) * 3, "2026-11-20.jsonl.gz")
    write(tmp_path, b"half", "2026-11-20.jsonl.gz.tmp")
    assert read_log(tmp_path).turns == 3


def test_a_file_that_is_compressed_just_now_is_found(tmp_path: Path) -> None:
    """What has been compressed since the folder was listed is read compressed; what has been
    removed since is left out."""
    series = tmp_path / "acore"
    plain = write(tmp_path, line(NOON, turn()))
    (listed,) = log_lines.list_files(series, 0)
    write(tmp_path, plain.read_bytes(), "2026-11-20.jsonl.gz")
    plain.unlink()
    assert [*log_lines.blocks(series, listed, pytest.fail, pytest.fail)] == [
        line(NOON, turn())[:-1]
    ]
    (series / "2026-11-20.jsonl.gz").unlink()
    assert not [*log_lines.blocks(series, listed, pytest.fail, pytest.fail)]


@pytest.mark.parametrize("at", [1, 14, 45, 60, 100, -1])
def test_a_torn_last_line_is_left_out_and_told(at: int, tmp_path: Path) -> None:
    """Wherever a line was torn, what is whole before it counts."""
    write(tmp_path, line(NOON, turn()) * 2 + line(NOON, turn())[:at])
    found = read_log(tmp_path)
    assert (found.turns, found.broken_lines) == (2, 1)


@pytest.mark.parametrize(
    "broken",
    [
        b"\n",
        b"\0" * 200 + b"\n",
        b"hello\n",
        b"[1]\n",
        b'{"timestamp":"yesterday","type":"turn_failed","data":{}}\n',
        b'{"timestamp":"2026-11-20T12:00:00","type":"turn_failed","data":{}}\n',
        line(NOON, {"model": 3}, "turn_finished"),
        line(NOON, {"kind": "x"}, "turn_refused").replace(b'"x"', b'"\xff"'),
        line(NOON, {"x": 0}, "turn_refused").replace(b"0", b"[" * 100_000),
        line(NOON, turn()).replace(b"1.0", b"1e999"),
        line(NOON, turn())[:-3] + b"\n",
        b'{"timestamp":"0001-01-01T00:00:00+14:00","type":"turn_refused","data":{"kind":"x"}}\n',
        b"x" * 3_000_000 + b"\n",
    ],
)
def test_a_broken_line_is_counted_and_harms_no_other(broken: bytes, tmp_path: Path) -> None:
    """Whatever a line holds, those around it count."""
    write(tmp_path, line(NOON, turn()) + broken + line(NOON, turn()))
    found = read_log(tmp_path)
    assert (found.turns, found.events) == (2, 2)
    assert 1 <= found.broken_lines <= 3  # of an endless one, each piece


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(wild: bytes) -> None:
    """Nothing in a file makes the count fail, nor does it take along the line that follows."""
    with TemporaryDirectory() as name:
        write(Path(name), wild + b"\n" + line(NOON, turn()))
        assert read_log(Path(name)).turns == 1


def test_lines_written_in_another_way_count_too(tmp_path: Path) -> None:
    """Spaces, another order another zone or whole seconds make no difference."""
    told = '{{"type": "turn_refused", "data": {{"kind": "x"}}, "timestamp": "{}"}}\n'
    stamps = ["2026-11-20T13:00:00+01:00", "2026-11-20T12:00:00Z", "2026-11-20T12:59:59+01:00"]
    write(tmp_path, "".join(told.format(stamp) for stamp in stamps).encode())
    found = read_log(tmp_path, NOON)
    assert (found.refused, found.broken_lines) == (2, 0)


def test_a_damaged_compressed_file_is_told(tmp_path: Path) -> None:
    """What can be read of it counts, and that it is damaged is told."""
    lines = b"".join(line(NOON, turn(n)) for n in range(10_000))
    file = write(tmp_path, lines, "2026-11-20.jsonl.gz")
    for content in (file.read_bytes()[:-5000], b"no gzip", b""):
        file.write_bytes(content)
        found = read_log(tmp_path)
        assert found.damaged_files == 1
        assert (found.turns > 1000) is (len(content) > 10)


def test_what_is_compressed_well_is_read_whole(tmp_path: Path) -> None:
    """A few bytes may stand for many blocks of lines."""
    write(tmp_path, line(NOON, turn()) * 30_000, "2026-11-20.jsonl.gz")
    found = read_log(tmp_path)
    assert (found.turns, found.broken_lines, found.damaged_files) == (30_000, 0, 0)


def test_a_file_without_an_end_of_line_takes_little_memory(tmp_path: Path) -> None:
    """What is longer than any event is let go of before it fills the memory."""
    with write(tmp_path, b"").open("r+b") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    try:
        assert read_log(tmp_path).turns == 0
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_without_a_log_all_is_empty_or_unknown(tmp_path: Path) -> None:
    """A folder that is empty, or not there, says nothing and is no fault."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        found = read_log(folder)
        assert (found.events, found.turns, found.error_rate, found.cost) == (0, 0, None, None)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A part of the log that cannot be read is told with its path, since figures without it would
    be wrong without a word."""
    (tmp_path / "acore" / "2026-11-20.jsonl").mkdir(parents=True)
    with pytest.raises(NotFound) as caught:
        read_log(tmp_path)
    assert f"{tmp_path}/acore/2026-11-20.jsonl cannot be read (" in caught.value.sentence
    assert caught.value.remedy
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="file cannot be read"):
        read_log(tmp_path / "file")


def test_events_on_their_way_to_the_log_count_once(tmp_path: Path) -> None:
    """Beside a log that is open, what is in its journal counts, and so does what it has written."""
    batches = BatchLog.open(tmp_path)
    try:
        for number in range(130):
            batches.log_event("turn_finished", turn(number))
        assert read_log(tmp_path).turns == 130
    finally:
        batches.close()
    assert read_log(tmp_path).turns == 130


def test_events_that_move_while_they_are_read_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the journal at first and is in the log a moment later is one event; equal events
    stay as many as they are."""
    moved, waiting = line(NOON, turn(5)), line(NOON, turn(7))
    write(tmp_path, line(NOON, turn(1)) + moved)
    monkeypatch.setattr(log_lines, "read_pending", lambda _: [moved, moved, waiting])
    found = read_log(tmp_path)
    assert sorted(turn.total_seconds for turn in found.slowest_turns) == [1, 5, 5, 7]


def test_an_interrupted_count_ends_at_once(tmp_path: Path) -> None:
    """Between two blocks it is asked whether anybody still waits for the answer."""
    write(tmp_path, line(NOON, turn()))
    assert read_log(tmp_path, is_stopped=lambda: True).turns == 0
