"""The commands that are profiled, and the tools beside them."""

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from acore_bot.errors import AcoreError, MissingExtra, NotAllowed, NotFound
from acore_bot.ops.profile import runner, spy
from acore_bot.ops.profile.command import installed, run_to_end, under_runner
from acore_bot.ops.profile.session import Wanted, profile_cpu, profile_memory

# What py-spy says where the kernel forbids it, to the letter.
REFUSAL = "Permission Denied: Try running again with elevated permissions by going 'sudo env'"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program in the place of py-spy; it notes its arguments."""
    program = folder / "py-spy"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "arguments"


def test_a_command_is_a_script_a_module_or_installed(tmp_path: Path) -> None:
    """Whichever it is, it runs under the runner with its own arguments, told how long."""
    script = tmp_path / "a.py"
    script.touch()
    head = ["-P", runner.__file__, "cprofile", "out", "7"]

    def arguments(*command: str) -> list[str]:
        return under_runner("cprofile", Path("out"), 7, command)

    assert arguments(str(script), "-x") == [sys.executable, *head, str(script), "-x"]
    assert arguments("python3", str(script), "y") == [sys.executable, *head, str(script), "y"]
    other = "/usr/bin/python3.12"
    assert arguments(other, "-m", "a.b", "-x") == [other, *head, "-m", "a.b", "-x"]
    acore = str(Path(sys.executable).with_name("acore"))
    assert arguments("acore", "chat")[-2:] == [acore, "chat"]


@pytest.mark.parametrize("command", [["python", "-c", "1"], ["python"], ["ls"], ["python", "-m"]])
def test_what_is_no_python_is_refused(command: list[str]) -> None:
    """Other programs, and what has no file, are said not to work."""
    with pytest.raises(AcoreError, match="Only Python can be profiled"):
        under_runner("cpu", Path("out"), 7, command)


def test_a_command_that_is_not_there_is_named() -> None:
    """A wrong name is said to be one."""
    with pytest.raises(NotFound, match="no command or script sing"):
        under_runner("cpu", Path("out"), 7, ["sing"])


def test_tools_beside_the_interpreter_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is not active has its tools all the same."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed("py-spy") == str(Path(sys.executable).with_name("py-spy"))


async def test_a_process_ends_with_its_asker(tmp_path: Path) -> None:
    """Who leaves leaves no process behind, and it may say good-bye."""
    pipe, said = tmp_path / "pipe", tmp_path / "said"
    os.mkfifo(pipe)
    trap = f"trap 'echo bye > {said}; exit' TERM"
    command = ["sh", "-c", f"{trap}; echo $$ > {pipe}; while :; do sleep 0.01; done"]
    started = asyncio.create_task(run_to_end(command, patience_seconds=100))
    pid = int(await asyncio.to_thread(pipe.read_text))
    assert pid in children()
    started.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started
    assert await asyncio.to_thread(said.read_text) == "bye\n"
    assert not children()


def any_in(folder: Path) -> bool:
    """Tell whether a folder holds anything."""
    return any(folder.iterdir())


def children() -> list[int]:
    """Name our own processes."""
    me = threading.get_native_id()
    return [int(pid) for pid in Path(f"/proc/self/task/{me}/children").read_text().split()]


async def test_a_process_that_takes_too_long_is_ended() -> None:
    """Patience ends with a `TimeoutError`, and the process with it."""
    with pytest.raises(TimeoutError):
        await run_to_end(["sleep", "100"], patience_seconds=0)
    assert not children()


async def test_a_forbidden_look_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system forbids to look into a process, the owner learns what to do, and no file is
    left."""
    stand_in(tmp_path, monkeypatch, f'echo "{REFUSAL}" >&2; exit 1')
    with pytest.raises(NotAllowed, match="forbids py-spy to look into process 123") as caught:
        await spy.spy_on(123, 5, tmp_path / "out" / "a.svg")
    assert "ptrace_scope" in caught.value.remedy
    assert "--mode cprofile" in caught.value.remedy
    assert not any_in(tmp_path / "out")


async def test_the_spy_is_told_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds that were asked for are those that py-spy records a process."""
    told = stand_in(tmp_path, monkeypatch, "")
    with pytest.raises(AcoreError, match="Nothing was recorded"):
        await spy.spy_on(123, 41, tmp_path / "a.svg")
    assert "--duration 41" in told.read_text()
    assert "--pid 123" in told.read_text()


async def test_a_command_is_asked_to_end_before_the_spy_would_kill_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner has the seconds that were asked for, py-spy enough more for a decent end."""
    told = stand_in(tmp_path, monkeypatch, "")
    with pytest.raises(AcoreError, match="Nothing was recorded"):
        await spy.spy_on_command(["python3", "-m", "this"], 41, tmp_path / "a.svg")
    line = told.read_text()
    assert "--duration 51 " in line
    assert line.endswith(f"cpu {tmp_path / 'a.svg'} 41 -m this\n")


async def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py-spy or memray the owner learns how to install them, before anything is done."""
    wanted = Wanted(data=tmp_path, output=tmp_path / "out", seconds=1)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for look, tool in ((profile_cpu, "py-spy"), (profile_memory, "memray")):
        with pytest.raises(MissingExtra, match=f"needs {tool}, which is not installed") as caught:
            await look(wanted)
        assert "pip install 'acore-bot[profile]'" in caught.value.remedy
    assert not any_in(tmp_path)


def test_the_runner_finishes_and_then_asks_the_command_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the seconds the recording is whole; then comes SIGINT, and after a while the end."""
    happened: list[object] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: happened.append(number))
    monkeypatch.setattr(os, "_exit", lambda code: happened.append("exit"))
    recording = runner.Recording(lambda: None, lambda: happened.append("finished"))
    with recording:
        runner._stop(13.0, recording, threading.Event(), pause=happened.append)
    assert happened == [13.0, "finished", signal.SIGINT, runner.GRACE_SECONDS, "exit"]
