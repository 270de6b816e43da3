"""`acore chat` through a pipe: a conversation that outlives its process."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from tests.fakes.command import Command, children_of, finish
from tests.fakes.model_server import CHAT, ModelServer, chunk, piece, stream_head
from typer.testing import Result

from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Message

ANSWER = "Hello there, my friend."
A_MEGABYTE_OF_COMMENTS = chunk(b": still thinking\n\n" * 60_000)

Invoke = Callable[..., Result]


def said(body: dict[str, list[dict[str, str]]]) -> list[tuple[str, str]]:
    """Return what a request carries after the persona: who said what."""
    return [(said["role"], said["content"]) for said in body["messages"][1:]]


async def test_it_remembers_what_was_said_also_after_a_restart(
    command: Command, server: ModelServer
) -> None:
    """Each request carries all turns before it, whether this process heard them or not."""
    first = await command.run("chat", typed="My name is Zebedee.\nWhat is my name?\n")
    second = await command.run("chat", typed="And now?\n")
    assert (first.code, first.out, first.err) == (0, f"{ANSWER}\n{ANSWER}\n", "")
    assert (second.code, second.out) == (0, f"{ANSWER}\n")
    line = [
        ("user", "My name is Zebedee."),
        ("assistant", ANSWER),
        ("user", "What is my name?"),
        ("assistant", ANSWER),
        ("user", "And now?"),
    ]
    assert [said(body) for body in server.bodies(CHAT)] == [line[:1], line[:3], line]


@pytest.mark.embedded
async def test_the_embedded_model_remembers_a_name(command: Command) -> None:
    """The model inside the package learns from its prompt what was said before."""
    done = await command.run("chat", typed="My name is Zebedee.\nWhat is my name?\n")
    assert (done.code, done.err) == (0, "")
    assert "Zebedee" in done.out.splitlines()[-1]


async def test_conversations_are_kept_apart_by_their_names(
    command: Command, server: ModelServer
) -> None:
    """`--conversation` begins another one, which knows nothing of the first."""
    await command.run("chat", typed="My name is Zebedee.\n")
    await command.run("chat", "--conversation", "work", typed="What is my name?\n")
    assert said(server.bodies(CHAT)[-1]) == [("user", "What is my name?")]


@pytest.mark.parametrize("name", ["", "../up", "two\nlines", "x" * 65])
def test_a_conversation_needs_a_plain_name(name: str, invoke: Invoke, scripted: None) -> None:
    """What cannot be a name ends with 2 and says what can."""
    result = invoke("chat", "--conversation", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be a name.\n  Use up to 64 letters" in result.stderr


def test_an_unknown_persona_is_answered_with_the_known(invoke: Invoke, scripted: None) -> None:
    """A wrong `--persona` is told before anything is said."""
    result = invoke("chat", "--persona", "nobody", typed="Hello?\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "acore: There is no persona named 'nobody'.\n  Known personas: acore, storyteller, tutor.\n"
    )


def test_commands_work_through_a_pipe(invoke: Invoke, scripted: None) -> None:
    """Lines that begin with a slash are commands, whose answers come as plain text."""
    lines = ("/history", "Hello!", "/persona tutor", "/model", "/history", "/reset", "/history")
    result = invoke("chat", typed="\n".join((*lines, "/sing", "/quit", "No.", "")))
    assert (result.exit_code, result.stderr) == (0, "")
    out = result.stdout
    assert out.startswith("Nothing was said yet.\nHello!\nTutor answers from now on.\n")
    assert "Now answering: **demo/script**" in out
    assert "\n- demo/script\n" in out
    assert out.count("**ada** ") == out.count("**Acore** ") == 1
    assert out.partition("Forgotten: 2 messages.")[2].startswith(
        " We start afresh.\nNothing was said yet.\nThere is no command /sing. /help lists them.\n"
    )
    assert "No." not in out


async def test_another_persona_speaks_at_once(command: Command, server: ModelServer) -> None:
    """`/persona` changes who is asked from the next message on, and the past stays."""
    await command.run("chat", typed="Hello?\n/persona tutor\nAnd you?\n")
    before, after = server.bodies(CHAT)
    assert "You are Tutor" not in before["messages"][0]["content"]
    assert "You are Tutor" in after["messages"][0]["content"]
    assert said(after)[:-1] == [("user", "Hello?"), ("assistant", ANSWER)]


@pytest.mark.embedded
def test_the_embedded_model_answers_for_one_that_fails(invoke: Invoke) -> None:
    """The conversation never goes dark: who had to answer instead is said below the answer."""
    question = "What is the capital of France? Answer in one sentence."
    result = invoke("chat", "--model", "ollama/tiny", typed=f"{question}\n")
    assert (result.exit_code, result.stderr) == (0, "")
    answer, _, note = result.stdout.rpartition("\n\n")
    assert "Paris" in answer
    assert note == "*[answered by embedded/smollm2, because ollama/tiny could not]*\n"


def test_a_model_that_fails_is_told_in_the_conversation(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may answer instead, an error is an answer like any other, and the conversation
    goes on."""
    monkeypatch.setenv("ACORE_FAILOVER__EMBEDDED", "false")
    result = invoke("chat", "--model", "ollama/tiny", typed="Hello?\n/history\n")
    assert (result.exit_code, result.stderr) == (0, "")
    told = "ollama/tiny cannot be reached. Check that its server runs.\nNothing was said yet.\n"
    assert result.stdout == told


async def test_sigterm_keeps_what_was_said_so_far(
    command: Command, server: ModelServer, home: Path
) -> None:
    """An answer that SIGTERM cuts short is shown and stored as cancelled, and the process ends."""
    was_read = asyncio.Event()
    server.play(
        CHAT,
        stream_head("text/event-stream") + chunk(piece(content="Once upon a time")),
        # More than all buffers between us hold: once it is written, the words before were read.
        *[A_MEGABYTE_OF_COMMENTS] * 48,
        Reached(was_read),
    )
    process = await command.start("chat")
    assert process.stdin
    process.stdin.write(b"Tell me a story.\n")
    async with asyncio.timeout(30):
        await was_read.wait()
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert (done.code, done.out, done.err) == (0, "Once upon a time\n\n*[stopped]*\n", "")
    question, answer = await stored(home)
    assert question.text == "Tell me a story."
    assert (answer.text, answer.finish_reason) == ("Once upon a time", "cancelled")
    assert answer.parent_id == question.id
    await server.until_idle()
    assert server.left_early == 1


class Reached(asyncio.Event):
    """An event that is never set, and that tells when somebody begins to wait for it."""

    def __init__(self, reached: asyncio.Event) -> None:
        super().__init__()
        self._reached = reached

    async def wait(self) -> Literal[True]:
        """Tell that it is waited for."""
        self._reached.set()
        return await super().wait()


async def stored(home: Path) -> tuple[Message, ...]:
    """Return the messages of the default conversation."""
    async with SQLiteHistory.open(home / "data" / "history.sqlite3") as history:
        return await history.recent("default", 10)


@pytest.mark.embedded
async def test_sigterm_leaves_no_process_behind(command: Command) -> None:
    """The embedded model's process ends with the one that started it, in the midst of an answer."""
    process = await command.start("chat")
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"Hello!\n")
    assert await process.stdout.readline()
    (child,) = children_of(process.pid)
    process.stdin.write(b"Tell me a very long story about a lighthouse.\n")
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert (done.code, done.err) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
