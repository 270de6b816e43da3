"""The files of the log: which one is written to, what becomes of the others."""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.event_log import log_files, read_file

from acore_bot.telemetry.journal_layout import Intent
from acore_bot.telemetry.log_files import (
    MAX_SERIES,
    LogFile,
    LogFiles,
    Series,
    claim_abandoned,
    claim_first,
)

DAY_SECONDS = 86_400
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
LINE = b'{"timestamp":"","type":"x","data":{}}\n'


@pytest.fixture
def wall() -> SettableClock:
    """The time of day, at first noon of 2026-11-23."""
    return SettableClock(NOON)


def files_in(folder: Path, wall: SettableClock, **options: int) -> LogFiles:
    """Open a folder."""
    chosen = {"max_file_bytes": 1 << 20, "keep_days": 30, **options}
    return LogFiles(folder, wall=wall, **chosen)


def write(files: LogFiles, lines: bytes = LINE) -> Intent:
    """Write as the writer does, and tidy."""
    intent = files.prepare(len(lines))
    files.append(lines)
    for _ in files.tidy():
        pass
    return intent


def names(folder: Path) -> list[str]:
    """List what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_a_day(tmp_path: Path, wall: SettableClock) -> None:
    """Each day has a file, which only its owner can read; yesterday's is compressed, and whole."""
    files = files_in(tmp_path, wall)
    write(files)
    wall.advance(DAY_SECONDS)
    write(files)
    files.close()
    assert names(tmp_path) == ["2026-11-23.jsonl.gz", "2026-11-24.jsonl"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert [len(read_file(path)) for path in log_files(tmp_path)] == [1, 1]


def test_a_full_file_is_followed_by_another(tmp_path: Path, wall: SettableClock) -> None:
    """No file grows beyond its limit, and parts are numbered in order, also past nine."""
    files = files_in(tmp_path, wall, max_file_bytes=2 * len(LINE) + 1)
    for _ in range(24):
        write(files)
    files.close()
    parts = [path.name for path in log_files(tmp_path)]
    assert parts[:2] == ["2026-11-23.jsonl.gz", "2026-11-23.1.jsonl.gz"]
    assert parts[-1] == "2026-11-23.11.jsonl"
    assert [len(read_file(path)) for path in log_files(tmp_path)] == [2] * 12


def test_a_batch_larger_than_a_file_is_written(tmp_path: Path, wall: SettableClock) -> None:
    """What is larger than the limit by itself has a file by itself."""
    files = files_in(tmp_path, wall, max_file_bytes=10)
    write(files)
    write(files)
    files.close()
    assert names(tmp_path) == ["2026-11-23.1.jsonl", "2026-11-23.jsonl.gz"]


def test_a_clock_that_goes_back_reopens_nothing(tmp_path: Path, wall: SettableClock) -> None:
    """Within a run the day goes forward only; the next start writes beside what is compressed."""
    files = files_in(tmp_path, wall)
    write(files)
    wall.advance(10 * DAY_SECONDS)
    write(files)
    wall.advance(-10 * DAY_SECONDS)
    write(files)
    files.close()
    write(files)
    files.close()
    assert names(tmp_path) == ["2026-11-23.jsonl.gz", "2026-12-03.jsonl"]
    again = files_in(tmp_path, wall)
    write(again)
    again.close()
    assert names(tmp_path) == ["2026-11-23.1.jsonl", "2026-11-23.jsonl.gz", "2026-12-03.jsonl.gz"]
    assert sum(len(read_file(path)) for path in log_files(tmp_path)) == 5


def test_the_next_start_appends_to_todays_file(tmp_path: Path, wall: SettableClock) -> None:
    """A restart begins no new file, and tells how large the old one is."""
    for size in (0, len(LINE)):
        files = files_in(tmp_path, wall)
        assert write(files).size == size
        files.close()
    assert names(tmp_path) == ["2026-11-23.jsonl"]


def test_the_newest_dates_stay(tmp_path: Path, wall: SettableClock) -> None:
    """So many dates that have files are kept, of both kinds, and foreign files are left alone."""
    (tmp_path / "notes.jsonl").touch()
    (tmp_path / "2026-99-01.jsonl").touch()
    files = files_in(tmp_path, wall, keep_days=3)
    for _ in range(5):
        write(files)
        wall.advance(2 * DAY_SECONDS)
    files.close()
    kept = ["2026-11-27.jsonl.gz", "2026-11-29.jsonl.gz", "2026-12-01.jsonl"]
    assert names(tmp_path) == ["2026-11-27.jsonl.gz", *kept[1:], "2026-99-01.jsonl", "notes.jsonl"]


def test_a_clock_ten_years_ahead_removes_one_day(tmp_path: Path, wall: SettableClock) -> None:
    """A jump ahead costs the oldest date at most, and afterwards today's file is never removed."""
    files = files_in(tmp_path, wall, keep_days=3)
    for _ in range(3):
        write(files)
        wall.advance(DAY_SECONDS)
    wall.advance(3650 * DAY_SECONDS)
    for _ in range(1):
        write(files)
    files.close()
    assert len(names(tmp_path)) == 3
    assert names(tmp_path)[:2] == ["2026-11-24.jsonl.gz", "2026-11-25.jsonl.gz"]
    wall.now = NOON
    again = files_in(tmp_path, wall, keep_days=1)
    write(again)
    again.close()
    assert "2026-11-23.jsonl" in names(tmp_path)


@pytest.mark.parametrize("tail", [b'{"timest', b"\0" * 600_000])
def test_a_torn_tail_is_cut_off(tmp_path: Path, wall: SettableClock, tail: bytes) -> None:
    """What a power cut or another program left behind the last whole line goes."""
    path = tmp_path / "2026-11-23.jsonl"
    path.write_bytes(LINE + tail)
    files = files_in(tmp_path, wall)
    assert write(files).size == len(LINE)
    files.close()
    assert path.read_bytes() == LINE * 2


def test_a_write_cut_short_is_taken_back(
    tmp_path: Path, wall: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a batch is written whole or not at all, also if taking it back has to wait."""
    real_write, real_truncate = os.write, os.ftruncate

    def refuse(*_: int) -> None:
        raise OSError(5, "broken")

    files = files_in(tmp_path, wall)
    write(files)
    for truncate in (real_truncate, refuse):
        monkeypatch.setattr(os, "write", lambda fd, lines: real_write(fd, lines[:-3]))
        monkeypatch.setattr(os, "ftruncate", truncate)
        files.prepare(len(LINE) * 2)
        with pytest.raises(OSError, match=r"No space|broken"):
            files.append(LINE * 2)
    monkeypatch.undo()
    write(files)
    files.close()
    assert (tmp_path / "2026-11-23.jsonl").read_bytes() == LINE * 2


def test_a_broken_write_is_taken_back_before_the_day_ends(
    tmp_path: Path, wall: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new file is begun while the old one has half a batch."""
    files = files_in(tmp_path, wall)
    write(files)
    with (tmp_path / "2026-11-23.jsonl").open("ab") as file:
        file.write(LINE)

    def refuse(*_: int) -> None:
        raise OSError(5, "broken")

    wall.advance(DAY_SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="broken"):
            files.prepare(1)
    write(files)
    files.close()
    assert [len(read_file(path)) for path in log_files(tmp_path)] == [1, 1]


def test_a_file_that_somebody_removed_is_made_anew(tmp_path: Path, wall: SettableClock) -> None:
    """Events do not go on into a file that nobody can see, nor behind a gap."""
    files = files_in(tmp_path, wall)
    write(files)
    path = tmp_path / "2026-11-23.jsonl"
    path.unlink()
    write(files, LINE * 2)
    os.truncate(path, len(LINE))
    assert write(files).size == len(LINE)
    files.close()
    assert path.read_bytes() == LINE * 2


def test_an_intent_is_undone(tmp_path: Path, wall: SettableClock) -> None:
    """What was written for an intent goes, and a file that is shorter or gone stays so."""
    files = files_in(tmp_path, wall)
    write(files)
    intent = write(files)
    files.close()
    for _ in range(2):
        files_in(tmp_path, wall).undo(intent)
        assert (tmp_path / "2026-11-23.jsonl").read_bytes() == LINE
    (tmp_path / "2026-11-23.jsonl").unlink()
    files_in(tmp_path, wall).undo(intent)
    assert names(tmp_path) == []


def test_what_a_kill_left_of_a_compression_is_put_in_order(
    tmp_path: Path, wall: SettableClock
) -> None:
    """Half a compressed file goes; if both are there, the compressed one is whole and wins."""
    files = files_in(tmp_path, wall)
    write(files)
    (tmp_path / "2026-11-22.jsonl.gz.tmp").write_bytes(b"half")
    (tmp_path / "2026-11-21.jsonl").write_bytes(LINE)
    (tmp_path / "2026-11-21.jsonl.gz").write_bytes(b"whole")
    write(files)
    files.close()
    assert names(tmp_path) == ["2026-11-21.jsonl.gz", "2026-11-23.jsonl"]
    assert (tmp_path / "2026-11-21.jsonl.gz").read_bytes() == b"whole"


def test_a_compression_that_is_left_leaves_nothing(tmp_path: Path, wall: SettableClock) -> None:
    """Tidying goes in steps; whoever stops in between has the plain file still, and no half one."""
    (tmp_path / "2026-11-21.jsonl").write_bytes(LINE * 20_000)
    files = files_in(tmp_path, wall)
    files.prepare(1)
    tidying = files.tidy()
    assert next(tidying)
    assert "2026-11-21.jsonl.gz.tmp" in names(tmp_path)
    tidying.close()
    files.close()
    assert names(tmp_path) == ["2026-11-21.jsonl", "2026-11-23.jsonl"]


def test_a_series_has_one_holder(tmp_path: Path) -> None:
    """Who comes second gets another folder, and who comes too late gets none."""
    folder = tmp_path / "logs"
    held = [claim_first(folder, "acore") for _ in range(MAX_SERIES)]
    assert [series.folder.name for series in held][:3] == ["acore", "acore-2", "acore-3"]
    with pytest.raises(OSError, match="16 processes"):
        claim_first(folder, "acore")
    held.pop(4).close()
    with closing(claim_first(folder, "acore")) as series:
        assert series.folder.name == "acore-5"
    for series in held:
        series.close()
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {0o700}


def test_abandoned_series_are_found(tmp_path: Path) -> None:
    """Only those are found that exist and that nobody holds."""
    held, left = (Series.claim(tmp_path / name) for name in ("acore", "acore-7"))
    left.close()
    (tmp_path / "acore-3").mkdir()
    found = list(claim_abandoned(tmp_path, "acore"))
    assert [series.folder.name for series in found] == ["acore-7"]
    for series in (*found, held):
        series.close()


@pytest.mark.parametrize(
    "name", ["2026-11-23.jsonl", "2026-11-23.1.jsonl", "2026-11-23.12.jsonl.gz"]
)
def test_a_name_is_read_as_it_is_written(name: str) -> None:
    """Names and what they say fit both ways."""
    file = LogFile.parse(name)
    assert file
    assert file.name == name


@pytest.mark.parametrize("name", ["journal", "2026-11-23.0.jsonl", "2026-13-23.jsonl", "x.jsonl"])
def test_other_names_are_not_ours(name: str) -> None:
    """What is not named as a log is none."""
    assert LogFile.parse(name) is None
