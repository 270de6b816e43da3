"""`acore profile` with the real tools, on a bot and on commands, busy with cycles and memory."""

import asyncio
import re
import signal
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer
from tests.fakes.command import Done, finish
from typer.testing import CliRunner, Result

from acore_bot.cli.profile import profile

SCRIPT = Path(__file__).parents[2] / "scripts" / "profile_performance.py"
WORK = """
import asyncio, sys, time
from pathlib import Path

kept = []

def burn_cycles():
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        sum([7] * 5_000)

def keep_memory():
    kept.append(bytearray(200_000))
"""
BOT = f"""{WORK}
from acore_bot.ops.profile.door import ProfileDoor

async def wait_for_the_end():
    await asyncio.Event().wait()

async def main():
    async with ProfileDoor(Path(sys.argv[1])), asyncio.TaskGroup() as group:
        for name in ("reader-1", "reader-2"):
            group.create_task(wait_for_the_end(), name=name)
        print("open", flush=True)
        while True:
            burn_cycles()
            keep_memory()
            await asyncio.sleep(0.01)

asyncio.run(main())
"""
COMMAND = f"""{WORK}
print(*sys.argv[1:], flush=True)
try:
    while True:
        burn_cycles()
        keep_memory()
except KeyboardInterrupt:
    print("asked to end")
    sys.exit(3)
"""
STUBBORN = f"""{WORK}
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    burn_cycles()
"""
MODES = {"cpu": ".svg", "cprofile": ".prof", "memory": ".bin"}


@pytest.fixture
async def bot(home: Path) -> AsyncIterator[Process]:
    """Run a bot that is busy."""
    process = await start(home, BOT, str(home / "data" / "profile.sock"))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    yield process
    process.kill()
    await process.communicate()


async def start(home: Path, code: str, *arguments: str) -> Process:
    """Start a program."""
    script = written(home, code)
    return await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdin=DEVNULL, stdout=PIPE
    )


def written(home: Path, code: str) -> Path:
    """Write a program."""
    script = home / "busy.py"
    script.write_text(code)
    return script


async def run(*arguments: str) -> Done:
    """Run the script, which is the same door as the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), *arguments), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        return await finish(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def invoke(*arguments: str) -> Result:
    """Run the command within this process."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(profile)
    return CliRunner().invoke(app, arguments)


def kept_in(home: Path, ending: str) -> Path:
    """Return the one file of a kind, which only its owner can read, and nobody else's folder."""
    (file,) = (home / "data" / "profiles").glob(f"*{ending}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not [path for path in home.iterdir() if path.name not in {"data", "busy.py"}]
    return file


def row_of(function: str, table: str) -> str:
    """Return the line of a function."""
    (line,) = [line for line in table.splitlines() if re.search(rf"  {function} \(", line)]
    return line


async def test_the_cpu_of_a_running_bot(home: Path, bot: Process) -> None:
    """py-spy's flame graph names the busy function, and so does the table, and again later."""
    done = await run("--mode", "cpu", "--duration", "1")
    assert done.code == 0, done.err
    graph = kept_in(home, ".svg")
    text = graph.read_text()
    assert text.startswith("<?xml")
    assert "<svg" in text
    assert "burn_cycles (busy.py:" in text
    assert row_of("burn_cycles", done.out)
    assert str(graph) in done.out
    again = await run("--mode", "analyze", str(graph))
    assert again.out == done.out.removesuffix(f"{graph}\n")


async def test_the_calls_of_a_running_bot(home: Path, bot: Process) -> None:
    """Every call is counted within the bot, which goes on."""
    done = await run("--mode", "cprofile", "--duration", "1")
    assert done.code == 0, done.err
    assert row_of("burn_cycles", done.out)
    assert "keep_memory" in done.out
    old_name = await run("--mode", "analyze", "--profile-file", str(kept_in(home, ".prof")))
    assert row_of("burn_cycles", old_name.out)
    assert bot.returncode is None


@pytest.mark.parametrize("growth", [(), ("--growth",)], ids=["peak", "growth"])
async def test_the_memory_of_a_running_bot(
    home: Path, bot: Process, growth: tuple[str, ...]
) -> None:
    """The flame graph of memray names who allocates and fetches nothing from anywhere, and the
    table has that function on top."""
    done = await run("--mode", "memory", "--duration", "1", *growth)
    assert done.code == 0, done.err
    assert "keep_memory (" in done.out.splitlines()[1]
    page = kept_in(home, ".html").read_text()
    assert "keep_memory" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=\"?https?:", page)
    assert kept_in(home, ".bin").stat().st_size
    assert bot.returncode is None


async def test_the_tasks_of_a_running_bot(bot: Process) -> None:
    """The two readers that wait alike are told together, down to the innermost frame."""
    done = await run("--mode", "tasks")
    assert done.code == 0, done.err
    first = done.out.split("\n\n")[1]
    assert first.startswith("   2 x wait_for_the_end (reader-")
    assert re.search(r"__main__\.wait_for_the_end:\d+\n +asyncio\.locks\.Event\.wait:\d+", first)


@pytest.mark.parametrize("mode", MODES)
async def test_a_command_is_recorded_and_asked_to_end(home: Path, mode: str) -> None:
    """A command that would run for ever is recorded, asked to end as by Ctrl-C, and has its say;
    its own arguments and exit code are its own matter."""
    script = written(home, COMMAND)
    done = await run("--mode", mode, "--duration", "1", "--", str(script), "--mode", "mine")
    assert done.code == 0, done.err
    assert "--mode mine\n" in done.out
    assert "asked to end\n" in done.out
    assert kept_in(home, MODES[mode]).stat().st_size
    assert ("keep_memory" if mode == "memory" else "burn_cycles") in done.out


async def test_a_command_that_will_not_end_is_ended(home: Path) -> None:
    """What was recorded until then is written all the same."""
    script = written(home, STUBBORN)
    done = await run("--mode", "cprofile", "--duration", "1", "--", sys.executable, str(script))
    assert done.code == 0, done.err
    assert row_of("burn_cycles", done.out)


async def test_a_command_that_ends_by_itself(home: Path) -> None:
    """Nobody waits for the rest of the time, and other folders can be chosen."""
    other = home / "data" / "other"
    done = await run("--mode", "cprofile", "--output", str(other), "--", "python", "-m", "this")
    assert done.code == 0, done.err
    assert "Beautiful is better than ugly." in done.out
    (file,) = other.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_bot_that_hangs_is_seen_from_outside(home: Path) -> None:
    """Where the loop is stuck, py-spy shows in which function, though nobody answers at the door;
    other modes point there."""
    code = BOT.replace(
        "        while True:\n            burn",
        "        while True: burn_cycles()\n        while True:\n            burn",
    )
    process = await start(home, code, str(home / "data" / "profile.sock"))
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        done = await run("--mode", "cpu", "--duration", "1")
        assert done.code == 0, done.err
        assert row_of("burn_cycles", done.out)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.communicate()


@pytest.mark.parametrize("mode", [*MODES, "tasks"])
def test_without_a_bot_it_says_what_to_do(home: Path, mode: str) -> None:
    """Nothing is recorded and no folder made where there is nothing to look at."""
    result = invoke("--mode", mode)
    assert result.exit_code == 1
    assert "No bot runs with the data in" in result.stderr
    assert "acore run" in result.stderr
    assert not (home / "data").exists()


def test_any_process_can_be_named(home: Path) -> None:
    """A pid that is no bot's goes to py-spy, whose reason is told if it fails."""
    result = invoke("--mode", "cpu", "--pid", "999999999")
    assert result.exit_code == 1
    assert "py-spy recorded nothing of process 999999999" in result.stderr
    assert "Stack backtrace" not in result.stderr
    assert not list((home / "data" / "profiles").iterdir())


def test_the_guide_is_what_it_says_at_first(home: Path) -> None:
    """Without arguments it explains when to use what, and does nothing."""
    result = invoke()
    assert result.exit_code == 0
    for mode in (*MODES, "tasks", "memory --growth", "analyze"):
        assert f"--mode {mode}" in result.stdout
    assert result.stdout == invoke("--mode", "guide").stdout
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode", "analyze"),
        ("--mode", "analyze", "a", "b"),
        ("--mode", "tasks", "--", "acore"),
        ("acore",),
        ("--mode", "cpu", "--growth"),
        ("--mode", "sing"),
        ("--mode", "cpu", "--duration", "0"),
        ("--mode", "cpu", "--duration", "0.5"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    """A wrong mode, duration or number of arguments ends with 2 before anything is done."""
    assert invoke(*arguments).exit_code == 2


def test_a_file_that_is_no_recording_is_refused(home: Path) -> None:
    """A person who names the wrong file learns so in a line and a remedy."""
    result = invoke("--mode", "analyze", str(written(home, WORK)))
    assert result.exit_code == 1
    assert "is no recording of cProfile, memray or py-spy" in result.stderr
