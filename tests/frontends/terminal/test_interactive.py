"""The terminal with a person at it, on a pseudo-terminal."""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from tests.fakes.virtual_terminal import Window, open_window

from acore_bot.contracts import Handler, ReplyTarget
from acore_bot.frontends.terminal import Terminal
from acore_bot.frontends.terminal.prompt import CommandCompleter
from acore_bot.messages import Author, IncomingCommand, IncomingMessage, SnowflakeSequence
from acore_bot.telemetry.events import ModelLoaded, ModelLoading

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROMPT = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
READY = f"{PROMPT} Message Acore"
HINT = "Press Ctrl-D or type /quit to leave."
ENTER, ALT_ENTER, CTRL_C, CTRL_D, UP, TAB = "\r", "\x1b\r", "\x03", "\x04", "\x1b[A", "\t"
COMMANDS = (("reset", "forget all"), ("persona", "who speaks"))


@pytest.fixture(autouse=True)
def _terminal_of_a_known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
async def window() -> AsyncIterator[Window]:
    """A window of 60 columns and 20 lines."""
    with open_window(60, 20) as window:
        yield window


class Echo:
    """A handler that repeats what it hears, growing, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer a message in three steps, a command in one."""
        if isinstance(incoming, IncomingCommand):
            await target.post(f"did {incoming.name} {incoming.argument}", final=True)
            return
        self.heard.append(incoming.text)
        async with target.typing():
            await asyncio.sleep(0)
        message_id = await target.post("You")
        await target.edit(message_id, "You **sai")
        await target.edit(message_id, f"You **said** `{incoming.text}`", final=True)


class Stopped:
    """A handler that speaks until it is stopped, and then takes its time to say so."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.is_stopping = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, incoming: object, target: ReplyTarget) -> None:
        """Say half an answer, and mark it when it is stopped."""
        message_id = await target.post("half an")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_stopping.set()
            await self.may_end.wait()
            await target.edit(message_id, "half an\n\n*[stopped]*", final=True)
            self.ended.set()


def make_terminal(window: Window, history_file: Path | None = None, greeting: str = "") -> Terminal:
    """Return a terminal in that window."""
    return Terminal(
        conversation="here",
        author=Author("1", "me"),
        snowflakes=SnowflakeSequence(NOW.timestamp),
        persona_name=lambda: "Acore",
        commands=COMMANDS,
        greeting=greeting,
        history_file=history_file,
        stdin=window.stdin,
        stdout=window.stdout,
    )


@asynccontextmanager
async def running(
    window: Window, handler: Handler, terminal: Terminal | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a terminal, wait for its prompt, and in the end for its end."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task((terminal or make_terminal(window)).run(handler))
        await window.wait_for_line(READY)
        yield task


async def test_an_answer_stands_between_two_prompts(window: Window) -> None:
    """What was typed, an empty line, the rendered answer, an empty line, the next prompt."""
    async with running(window, Echo()):
        window.press("hello" + ENTER)
        lines = await window.wait_for(lambda lines: len(lines) > 3 and lines[-1] == READY)
        assert lines == [f"{PROMPT} hello", "", "You said hello", "", READY]
        window.press(CTRL_D)


async def test_a_greeting_stands_above_the_first_prompt(window: Window) -> None:
    """It is shown once, without what would control the terminal."""
    async with running(window, Echo(), make_terminal(window, greeting="Hello\x1b[2J.")):
        window.press("hello" + ENTER)
        lines = await window.wait_for(lambda lines: "You said hello" in lines)
        assert lines[1:4] == ["Hello[2J.", "", f"{PROMPT} hello"]
        window.press(CTRL_D)


async def test_leaving_leaves_nothing_behind(window: Window) -> None:
    """After Ctrl-D the last line holds no words that nobody typed."""
    async with running(window, Echo()):
        window.press(CTRL_D)
    await window.wait_for_line(PROMPT)


async def test_quit_leaves(window: Window) -> None:
    """`/quit` ends the front end and is not handed on."""
    echo = Echo()
    async with running(window, echo):
        window.press("/quit" + ENTER)
    assert echo.heard == []


async def test_a_paste_of_several_lines_is_one_message(window: Window) -> None:
    """Newlines that are pasted do not send."""
    echo = Echo()
    async with running(window, echo):
        window.press("\x1b[200~one\r\ntwo\n\nthree\x1b[201~" + ENTER)
        await window.wait_for(lambda lines: lines[-1] == READY and "You" in str(lines))
        window.press(CTRL_D)
    assert echo.heard == ["one\ntwo\n\nthree"]


async def test_alt_enter_begins_a_new_line(window: Window) -> None:
    """The lines of a message stand below each other behind the prompt."""
    echo = Echo()
    async with running(window, echo):
        window.press("one" + ALT_ENTER + "two")
        await window.wait_for_line("  two")
        window.press(ENTER)
        await window.wait_for_line(READY)
        window.press(CTRL_D)
    assert echo.heard == ["one\ntwo"]


async def test_commands_reach_the_handler_and_help_does_not(window: Window) -> None:
    """`/help` lists the core's commands, the terminal's own, and the keys."""
    async with running(window, Echo()):
        window.press("/reset  all of it" + ENTER)
        await window.wait_for(lambda lines: "did reset all of it" in lines)
        window.press("/help" + ENTER)
        lines = await window.wait_for(lambda lines: "/quit     " in str(lines))
        lines = await window.wait_for_line(READY)
        assert any(line.split() == ["/reset", "forget", "all"] for line in lines)
        assert any(line.startswith("Alt-Enter ") for line in lines)
        window.press(CTRL_D)


async def test_an_empty_line_is_no_message(window: Window) -> None:
    """Enter on an empty line only asks again."""
    echo = Echo()
    async with running(window, echo):
        window.press(ENTER)
        await window.wait_for(lambda lines: len(lines) == 2)
        window.press("  " + ENTER + "x" + ENTER)
        await window.wait_for(lambda lines: "You said x" in lines)
        await window.wait_for_line(READY)
        window.press(CTRL_D)
    assert echo.heard == ["x"]


async def test_ctrl_c_clears_the_line_and_then_says_how_to_leave(window: Window) -> None:
    """Nothing is lost by pressing it once too often."""
    async with running(window, Echo()):
        window.press("abc")
        await window.wait_for_line(f"{PROMPT} abc")
        window.press(CTRL_C)
        lines = await window.wait_for_line(READY)
        assert HINT not in lines
        window.press(CTRL_C)
        await window.wait_for(lambda lines: lines[-3:] == [HINT, "", READY])
        window.press(CTRL_D)


async def test_ctrl_c_stops_the_answer_and_waits_for_its_end(window: Window) -> None:
    """The person may press it again: the answer still marks itself in peace, and then the prompt
    comes back."""
    before = signal.getsignal(signal.SIGINT)
    handler = Stopped()
    async with running(window, handler):
        window.press("hello" + ENTER)
        await window.wait_for_line("half an")
        os.kill(os.getpid(), signal.SIGINT)
        await handler.is_stopping.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)  # time for the signal to do the harm that it must not
        assert not handler.ended.is_set()
        handler.may_end.set()
        lines = await window.wait_for_line(READY)
        assert lines[1:] == ["", "half an", "", "[stopped]", "", READY]
        window.press(CTRL_D)
    assert handler.ended.is_set()
    assert signal.getsignal(signal.SIGINT) == before


async def test_sigterm_stops_the_answer_and_ends(window: Window) -> None:
    """The answer is marked, the terminal left in order, and nothing raised."""
    handler = Stopped()
    handler.may_end.set()
    async with running(window, handler):
        window.press("hello" + ENTER)
        await window.wait_for_line("half an")
        os.kill(os.getpid(), signal.SIGTERM)
    lines = await window.wait_for_line("[stopped]")
    assert handler.ended.is_set()
    assert lines[1:] == ["", "half an", "", "[stopped]"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert termios.tcgetattr(window.stdin)[3] & termios.ECHO


async def test_sigterm_at_the_prompt_ends(window: Window) -> None:
    """Nobody need press a key."""
    async with running(window, Echo()):
        os.kill(os.getpid(), signal.SIGTERM)
    assert termios.tcgetattr(window.stdin)[3] & termios.ECHO


async def test_whoever_handles_sigterm_already_goes_on_doing_so(window: Window) -> None:
    """An app that stops all its front ends by itself is not deprived of its signal."""
    came = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, came.set)
    try:
        async with running(window, Echo()):
            os.kill(os.getpid(), signal.SIGTERM)
            await came.wait()
            window.press(CTRL_D)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_cancelling_it_cancels_the_answer_and_is_not_swallowed(window: Window) -> None:
    """The app that cancels it learns that it was cancelled, after the answer has marked itself."""
    handler = Stopped()
    handler.may_end.set()
    async with running(window, handler) as task:
        window.press("hello" + ENTER)
        await window.wait_for_line("half an")
        task.cancel()
    assert task.cancelled()
    assert handler.ended.is_set()


async def test_what_the_handler_raises_is_raised(window: Window) -> None:
    """A fault of ours ends the front end, and the terminal is left in order."""

    async def fail(incoming: object, target: ReplyTarget) -> None:
        await target.post("half an")
        raise RuntimeError

    with pytest.raises(ExceptionGroup):
        async with running(window, fail):
            window.press("hello" + ENTER)
    await window.wait_for_line("half an")
    assert termios.tcgetattr(window.stdin)[3] & termios.ECHO


async def test_the_spinner_tells_what_is_going_on(window: Window) -> None:
    """It thinks until a model is loaded, tells which one, and leaves no trace."""
    steps = [asyncio.Event() for _ in range(3)]

    async def answer(incoming: object, target: ReplyTarget) -> None:
        async with target.typing():
            for step in steps:
                await step.wait()
        await target.post("here", final=True)

    terminal = make_terminal(window)
    async with running(window, answer, terminal):
        window.press("hello" + ENTER)
        await window.wait_for(lambda lines: lines[-1].endswith(" thinking…"))
        steps[0].set()
        terminal.on_event(ModelLoading("embedded/\x1bsmol"))
        await window.wait_for(lambda lines: lines[-1].endswith(" loading embedded/smol…"))
        steps[1].set()
        terminal.on_event(ModelLoaded("embedded/smol", 1.0))
        await window.wait_for(lambda lines: lines[-1].endswith(" thinking…"))
        steps[2].set()
        lines = await window.wait_for_line(READY)
        assert lines[1:] == ["", "here", "", READY]
        window.press(CTRL_D)


async def test_what_is_typed_during_an_answer_waits_for_the_prompt(window: Window) -> None:
    """It does not appear in the midst of the answer."""
    go = asyncio.Event()

    async def answer(incoming: object, target: ReplyTarget) -> None:
        message_id = await target.post("half an")
        await go.wait()
        await target.edit(message_id, "half an answer", final=True)

    async with running(window, answer):
        window.press("hello" + ENTER)
        await window.wait_for_line("half an")
        window.press("next" + ENTER)
        go.set()
        answered = ["", "half an answer", ""]
        expected = [f"{PROMPT} hello", *answered, f"{PROMPT} next", *answered, READY]
        await window.wait_for(lambda lines: lines == expected)
        window.press(CTRL_D)


async def test_lines_typed_before_come_back(window: Window, tmp_path: Path) -> None:
    """They are kept in a file that only its owner may read, for the next time too."""
    file = tmp_path / "new" / "history"
    async with running(window, Echo(), make_terminal(window, file)):
        window.press("hello" + ENTER)
        await window.wait_for(lambda lines: len(lines) > 3 and lines[-1] == READY)
        window.press(CTRL_D)
    assert file.stat().st_mode & 0o777 == 0o600
    with open_window() as later:
        async with running(later, Echo(), make_terminal(later, file)):
            later.press(UP)
            await later.wait_for_line(f"{PROMPT} hello")
            later.press(CTRL_C + CTRL_D)


async def test_a_history_file_that_cannot_be_written_is_told(
    window: Window, tmp_path: Path
) -> None:
    """The person can chat all the same."""
    (tmp_path / "file").write_text("")
    async with running(window, Echo(), make_terminal(window, tmp_path / "file" / "history")):
        assert "What you type is not kept:" in str(window.terminal.lines)
        window.press(CTRL_D)


def complete(text: str) -> list[str]:
    """Return what would be offered after some text."""
    completer = CommandCompleter(COMMANDS)
    return [one.text for one in completer.get_completions(Document(text), CompleteEvent())]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("/", ["/reset", "/persona"]),
        ("/p", ["/persona"]),
        ("/persona x", []),
        ("//", []),
        ("", []),
        ("see /p", []),
        ("a\n/p", []),
    ],
)
def test_commands_are_completed_at_the_start_only(typed: str, offered: Sequence[str]) -> None:
    """A slash in the midst of a message is a slash."""
    assert complete(typed) == offered


async def test_tab_completes_a_command(window: Window) -> None:
    """The commands are offered with what they do, and Tab takes one."""
    async with running(window, Echo()):
        window.press("/p")
        await window.wait_for(lambda lines: "who speaks" in str(lines))
        window.press(TAB)
        await window.wait_for(lambda lines: lines[0] == f"{PROMPT} /persona")
        window.press(ENTER)
        await window.wait_for(lambda lines: "did persona" in lines)
        await window.wait_for_line(READY)
        window.press(CTRL_D)


PROGRAM = """
import asyncio, fcntl, os, termios
from acore_bot.frontends.terminal import Terminal
from acore_bot.messages import Author, SnowflakeSequence

async def answer(incoming, target):
    message_id = await target.post("half an")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await target.edit(message_id, "half an, stopped", final=True)

# So that the keys of this terminal make signals for this process.
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
asyncio.run(Terminal(
    conversation="here", author=Author("1", "me"), snowflakes=SnowflakeSequence(lambda: 0.0),
    persona_name=lambda: "Acore",
).run(answer))
"""


@pytest.fixture
def program(window: Window) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own whose terminal is the window."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=window.stdin,
        stdout=window.stdout,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_person_stops_an_answer_and_leaves(
    window: Window, program: subprocess.Popen[bytes]
) -> None:
    """From the keys to the exit code: Ctrl-C stops the answer alone, and Ctrl-D ends the
    process well."""
    await window.wait_for_line(READY)
    window.press("hello" + ENTER)
    await window.wait_for_line("half an")
    window.press(CTRL_C)
    await window.wait_for(lambda lines: lines[-3:] == ["half an, stopped", "", READY])
    window.press(CTRL_D)
    assert await asyncio.to_thread(program.wait, 20) == 0


async def test_the_width_of_the_window_is_heeded(window: Window) -> None:
    """An answer is broken at the window's width as it is when the answer is drawn."""
    words = "word " * 11

    async def answer(incoming: object, target: ReplyTarget) -> None:
        await target.post(words, final=True)
        fcntl.ioctl(window.stdin, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 30, 0, 0))
        await target.post(words, final=True)

    async with running(window, answer):
        window.press("hello" + ENTER)
        lines = await window.wait_for(lambda lines: lines.count("word " * 5 + "word") == 1)
        assert words.strip() in lines
        window.press(CTRL_D)
