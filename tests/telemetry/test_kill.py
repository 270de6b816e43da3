"""The log when its process is killed, stopped or interrupted, at any moment."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.fakes.event_log import Line, read_folder

from acore_bot.telemetry.batch_log import BatchLog, read_pending

ROOT = Path(__file__).parents[2]
LIVES = 50


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a process that logs."""
    command = [sys.executable, "-m", "tests.fakes.event_process", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run(*arguments: object) -> str:
    """Let a process that logs run to its end, and return what it printed."""
    with start(*arguments) as process:
        out, _ = process.communicate(timeout=55)
    assert process.returncode == 0
    return out


def numbers(lines: list[Line]) -> list[int]:
    """Return which numbered events are in a log, in its order."""
    return [line.data["number"] for line in lines if line.type == "numbered"]


@pytest.mark.parametrize(
    ("seed", "journal_bytes"), [(1, 4 << 20), (2, 4 << 20), (3, 1 << 16), (4, 1 << 16)]
)
def test_a_kill_at_a_random_moment_costs_nothing(
    tmp_path: Path, seed: int, journal_bytes: int
) -> None:
    """Of 50 lives at 5,000 events a second, each killed at a random moment, every event that was
    logged is in the log once, and at most the one that was under way besides."""
    counters = tmp_path / "counters"
    counters.write_bytes(bytes(8 * LIVES))
    run("be_killed", tmp_path, counters, LIVES, seed, journal_bytes)
    logged = list(memoryview(counters.read_bytes()).cast("Q"))
    found = Counter(
        (line.data["life"], line.data["number"]) for line in read_folder(tmp_path / "acore")
    )
    assert sum(logged) > LIVES
    assert set(found.values()) == {1}
    for life, count in enumerate(logged):
        there = sorted(number for one, number in found if one == life)
        assert there in (list(range(count)), list(range(count + 1)))


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("scene", ["write_batches", "open_again", "take_over", "compress"])
def test_a_kill_at_any_line_costs_nothing(tmp_path: Path, scene: str, first: int) -> None:
    """Wherever between two lines of writing, take-over or compression the process is killed, the
    next start leaves each event in the log once, in order, and no half files."""
    run("be_killed_at_each_line", tmp_path, scene, first, 3)
    places = [place / "acore" for place in tmp_path.iterdir()]
    assert len(places) > 100
    for place in places:
        lines = read_folder(place)
        assert numbers(lines) == list(range(7)), place
        assert [line.type for line in lines if line.type != "numbered"] == ["settled"], place
        names = {path.name for path in place.iterdir()}
        assert not any(name.endswith(".tmp") or f"{name}.gz" in names for name in names), place


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_a_signal_leaves_is_told_and_written_later(
    tmp_path: Path, way: signal.Signals
) -> None:
    """A process that a signal ends without a word leaves its events in the journal, where they can
    be read, and the next start writes them."""
    with start("log_and_wait", tmp_path, 120) as process:
        assert process.stdout
        assert process.stdout.readline() == "logged\n"
        process.send_signal(way)
    journal = tmp_path / "acore" / "journal"
    written = numbers(read_folder(tmp_path / "acore"))
    assert len(written) + len(read_pending(journal)) == 120
    BatchLog.open(tmp_path).close()
    assert numbers(read_folder(tmp_path / "acore")) == list(range(120))
    assert read_pending(journal) == []


def test_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    """When the kernel takes only a part, that is taken back; all is written when there is room."""
    assert run("meet_full_disk", tmp_path).split() == ["0", "1"]
    lines = read_folder(tmp_path / "acore")
    assert numbers(lines) == list(range(60))
    assert lines[-1].type == "batch_log_recovered"


def test_a_proper_stop_writes_everything(tmp_path: Path) -> None:
    """After SIGTERM and a proper stop, all is in the log before the process ends."""
    with start("stop_properly", tmp_path, 120) as process:
        assert process.stdout
        assert process.stdout.readline() == "logged\n"
        process.terminate()
    assert process.returncode == 0
    assert numbers(read_folder(tmp_path / "acore")) == list(range(120))
    assert read_pending(tmp_path / "acore" / "journal") == []


@pytest.mark.parametrize("way", ["log_tightly", "log_yielding"])
def test_fifty_events_are_one_write(tmp_path: Path, way: str) -> None:
    """A thousand events, from a loop that yields or from one that does not, are exactly twenty
    system calls that write, the stop included."""
    assert int(run(way, tmp_path, 1000)) == 20
    assert numbers(read_folder(tmp_path / "acore")) == list(range(1000))
