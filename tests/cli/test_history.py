"""`acore history`: see, take along or remove what was said."""

import asyncio
import os
import pty
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.fakes.command import Command, finish
from typer.testing import Result

from acore_bot.messages import Message

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def two_conversations(invoke: Invoke, scripted: None) -> None:
    """Let there be one conversation of two turns, and a later one of one."""
    invoke("chat", typed="Good morning!\nHow are you?\n")
    invoke("chat", "--conversation", "work", typed="To work!\n")


def test_conversations_are_listed_the_latest_first(invoke: Invoke) -> None:
    """Each has a line: its name, when it was last used, and how many messages it has."""
    result = invoke("history", "list")
    work, default = result.stdout.splitlines()
    assert (work.split()[0], work.split("  ")[-1]) == ("work", "2 messages")
    assert (default.split()[0], default.split("  ")[-1]) == ("default", "4 messages")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_conversation_is_shown_in_order(invoke: Invoke) -> None:
    """Each message is shown with who said it; `--last` shows the end only."""
    lines = [line for line in invoke("history", "show", "default").stdout.splitlines() if line]
    speakers, texts = [line.split()[0] for line in lines[::2]], lines[1::2]
    assert speakers == ["ada", "Acore", "ada", "Acore"]
    assert texts == ["Good morning!", "Good morning!", "How are you?", "How are you?"]
    assert "Good" not in invoke("history", "show", "default", "--last", "2").stdout


def test_an_export_is_json_lines_that_load_again(invoke: Invoke) -> None:
    """Each line is a message with all that is stored of it, so that nothing is locked in."""
    lines = invoke("history", "export", "default").stdout.splitlines()
    messages = [msgspec.json.decode(line, type=Message) for line in lines]
    assert [message.role for message in messages] == ["user", "assistant"] * 2
    assert [message.text for message in messages[1:3]] == ["Good morning!", "How are you?"]
    parents = [message.parent_id for message in messages]
    assert parents == [None, *(message.id for message in messages[:-1])]
    assert (messages[1].model, messages[1].finish_reason) == ("demo/script", "stop")
    assert messages[0].author.name == "ada"


def test_what_is_forgotten_is_gone_and_the_rest_stays(invoke: Invoke) -> None:
    """`forget --yes` removes one conversation for good and says how much it was."""
    result = invoke("history", "forget", "default", "--yes")
    assert (result.exit_code, result.stdout) == (0, "Forgotten: 4 messages of default.\n")
    assert invoke("history", "show", "default").exit_code == 1
    assert invoke("history", "list").stdout.startswith("work")


def test_what_was_typed_is_forgotten_too(invoke: Invoke, home: Path) -> None:
    """The lines that the arrow keys bring back go with their conversation, and with no other."""
    typed = home / "data" / "typed_lines"
    typed.mkdir(parents=True)
    for name in ("default", "work"):
        (typed / name).write_text("+My secret.\n")
    invoke("history", "forget", "default", "--yes")
    assert [file.name for file in typed.iterdir()] == ["work"]


def test_without_a_person_to_ask_nothing_is_removed(invoke: Invoke) -> None:
    """In a script, `forget` wants `--yes`; a "y" from a pipe is not a person's."""
    result = invoke("history", "forget", "default", typed="y\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Nothing was removed. With --yes it is, without a question.\n"
    assert "4 messages" in invoke("history", "list").stdout


@pytest.mark.parametrize(
    ("key", "code", "is_kept"), [(b"y\n", 0, False), (b"n\n", 1, True), (b"\x03", 130, True)]
)
async def test_a_person_is_asked_first(
    key: bytes, code: int, is_kept: bool, command: Command
) -> None:
    """At a terminal, only a yes removes anything, and Ctrl-C ends the question at once."""
    ours, theirs = pty.openpty()
    process = await command.start("history", "forget", "default", stdin=theirs, own_terminal=True)
    os.close(theirs)
    assert process.stdout
    asked = await process.stdout.readuntil(b"[y/N]: ")
    assert asked.startswith(b"Remove everything that was said in 'default', for good?")
    await asyncio.to_thread(os.write, ours, key)
    done = await finish(process)
    os.close(ours)
    assert done.code == code
    assert "unexpected" not in done.err
    listed = (await command.run("history", "list")).out
    assert ("default" in listed) is is_kept


@pytest.mark.parametrize("verb", ["show", "export", "forget"])
def test_an_unknown_name_is_told(verb: str, invoke: Invoke) -> None:
    """A conversation that is not there ends with 1 and says where the names are."""
    result = invoke("history", verb, "nowhere")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "acore: There is no conversation named 'nowhere'.\n  `acore history list` names them.\n"
    )
