"""`acore history import`: what it prints, and how it ends."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Invoke = Callable[..., Result]

GOOD = json.dumps(
    [
        {"role": "user", "content": "Hello", "username": "Ada", "user_id": 17},
        {"role": "assistant", "content": "Hi"},
    ]
)


@pytest.fixture
def folder(home: Path) -> Path:
    """Make a folder with the files of two channels."""
    made = home / "chat_history"
    made.mkdir()
    (made / "11.json").write_text(GOOD)
    (made / "22.json").write_text(GOOD)
    return made


def test_all_that_went_in_is_counted_and_there(invoke: Invoke, folder: Path) -> None:
    """After an import its conversations are listed and shown like any other."""
    result = invoke("history", "import", str(folder))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "Imported: 4 messages; 0 were there already; 2 files, 2 conversations, each named "
        "discord:CHANNEL.\n"
    )
    listed = invoke("history", "list").stdout.splitlines()
    assert {line.split()[0] for line in listed} == {"discord:11", "discord:22"}
    assert "Hello" in invoke("history", "show", "discord:11").stdout


def test_a_second_import_says_that_nothing_was_new(invoke: Invoke, folder: Path) -> None:
    """Nothing is stored twice, and that is no fault."""
    invoke("history", "import", str(folder))
    result = invoke("history", "import", str(folder))
    assert result.exit_code == 0
    assert "0 messages; 4 were there already" in result.stdout


def test_what_was_set_aside_is_named_and_told_by_the_exit_code(
    invoke: Invoke, folder: Path
) -> None:
    """Each damaged file or element has a line on standard error; the rest went in."""
    (folder / "22.json").write_text("[{")
    (folder / "33.json").write_text('[7, {"role": "user", "content": "Tea?"}]')
    result = invoke("history", "import", str(folder))
    assert result.exit_code == 1
    assert "Imported: 3 messages;" in result.stdout
    first, second = result.stderr.splitlines()
    assert first.startswith("Set aside: 22.json: it is no list of messages in JSON")
    assert second.startswith("Set aside: 33.json, element 0: Expected")


def test_system_prompts_are_left_out_and_that_is_said(invoke: Invoke, folder: Path) -> None:
    """What the persona says now is not stored; that alone is no fault."""
    (folder / "22.json").write_text('[{"role": "system", "content": "Be kind."}]')
    result = invoke("history", "import", str(folder))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Left out: 1 system prompt," in result.stdout


def test_json_is_the_whole_report(invoke: Invoke, folder: Path) -> None:
    """`--json` prints one object with all counts and all that was set aside."""
    (folder / "22.json").write_text("")
    result = invoke("history", "import", str(folder), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "files": 2,
        "conversations": 1,
        "messages": 2,
        "already": 0,
        "system": 0,
        "set_aside": [{"file": "22.json", "index": None, "reason": "it is empty"}],
    }


def test_no_folder_is_a_line_and_a_remedy(invoke: Invoke, folder: Path) -> None:
    """A folder that is not there is told with what is wanted."""
    result = invoke("history", "import", str(folder / "nowhere"))
    assert result.exit_code == 1
    assert "nowhere cannot be read" in result.stderr
    assert "folder that holds" in result.stderr


def test_no_text_of_a_file_reaches_the_terminal_raw(invoke: Invoke, folder: Path) -> None:
    """Neither a name nor a content with control characters moves the terminal."""
    (folder / "a\x1b[2J.json").write_text("[]")
    (folder / "33.json").write_text('[{"role": "\\u001b[2J", "content": ""}]')
    result = invoke("history", "import", str(folder))
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr + result.stdout


def test_at_a_terminal_a_bar_shows_how_far_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees progress on standard error; what is printed stays clean."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "acore_bot", "history", "import", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=30,
            check=True,
        )
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.startswith("Imported: 4 messages")
    assert "importing…" in seen
