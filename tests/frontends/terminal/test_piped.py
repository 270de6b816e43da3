"""The terminal at a pipe: lines in, final answers out."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pytest

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import FileUnreadable
from acore_bot.frontends.terminal import Terminal
from acore_bot.frontends.terminal.piped import PipedReply, Writer
from acore_bot.messages import (
    Attachment,
    Author,
    IncomingCommand,
    IncomingMessage,
    Place,
    SnowflakeSequence,
)

ME = Author("1", "me")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Recorder:
    """A handler that remembers what it heard and repeats it, growing, as the core does."""

    def __init__(self) -> None:
        self.heard: list[IncomingMessage | IncomingCommand] = []

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Answer a message in three steps, a command in one."""
        self.heard.append(incoming)
        if isinstance(incoming, IncomingCommand):
            await target.post(f"did {incoming.name}", final=True)
            return
        async with target.typing():
            await asyncio.sleep(0)
        message_id = await target.post(incoming.text[:1])
        await target.edit(message_id, incoming.text)
        await target.edit(message_id, f"{incoming.text}!", final=True)

    @property
    def texts(self) -> list[str]:
        """The texts of the messages that were heard."""
        return [one.text for one in self.heard if isinstance(one, IncomingMessage)]


def make_terminal(stdin: TextIO, stdout: TextIO) -> Terminal:
    """Return a terminal with one command, at these streams."""
    return Terminal(
        conversation="here",
        author=ME,
        snowflakes=SnowflakeSequence(NOW.timestamp),
        persona_name=lambda: "Acore",
        commands=[("reset", "forget all")],
        stdin=stdin,
        stdout=stdout,
        clock=lambda: NOW,
    )


async def converse(text: str) -> tuple[list[IncomingMessage | IncomingCommand], str]:
    """Return what the handler heard of an input, and what was written."""
    recorder, stdout = Recorder(), io.StringIO()
    await make_terminal(io.StringIO(text), stdout).run(recorder)
    return recorder.heard, stdout.getvalue()


async def test_each_line_is_a_message_and_its_final_answer_one_text() -> None:
    """Answers come in the order of the lines, without their earlier forms, each on its line."""
    _, written = await converse("hello\nthere\n")
    assert written == "hello!\nthere!\n"


async def test_a_message_carries_what_the_core_wants_to_know() -> None:
    """It is private, replies to nothing, and has an id and a time of its own."""
    heard, _ = await converse("hello\nthere")
    first, second = (one for one in heard if isinstance(one, IncomingMessage))
    assert second.id > first.id
    assert first == IncomingMessage(
        id=first.id,
        conversation="here",
        author=ME,
        text="hello",
        created_at=NOW,
        place=Place(channel="here"),
        is_private=True,
    )


async def test_blank_lines_are_no_messages() -> None:
    """Empty lines and lines of spaces are skipped; a last line needs no newline."""
    heard, written = await converse("\n   \nhello\r\n\n\t\nbye")
    assert len(heard) == 2
    assert written == "hello!\nbye!\n"


async def test_a_line_that_begins_with_a_slash_is_a_command() -> None:
    """Name and argument are parted at the first space; two slashes make a message of one."""
    heard, written = await converse("/reset\n/model  a b \n/\n//reset\n")
    commands = [one for one in heard if isinstance(one, IncomingCommand)]
    assert [(one.name, one.argument) for one in commands] == [
        ("reset", ""),
        ("model", "a b"),
        ("", ""),
    ]
    assert all(one.may_manage and one.is_private for one in commands)
    assert {one.place for one in commands} == {Place(channel="here")}
    assert written == "did reset\ndid model\ndid \n/reset!\n"


async def test_quit_ends_it() -> None:
    """Nothing after `/quit` is read."""
    heard, _ = await converse("hello\n/quit\nnever\n")
    assert len(heard) == 1


async def test_help_lists_the_commands() -> None:
    """`/help` is answered here and does not trouble the handler."""
    assert await converse("/help\n") == ([], "/reset  forget all\n")


async def test_an_empty_input_ends_at_once() -> None:
    """No line, no message."""
    assert await converse("") == ([], "")


async def test_control_characters_are_left_out_of_answers() -> None:
    """What a program or a terminal could take for an order is not passed on."""
    _, written = await converse("a\x1b]0;x\x07b\x9bc\td\n")
    assert written == "a]0;xbc\td!\n"


async def test_an_answer_of_several_lines_is_left_as_it_is() -> None:
    """Text is written plain: no Markdown is rendered and no markup read."""
    stdout = io.StringIO()

    async def answer(incoming: object, target: ReplyTarget) -> None:
        await target.post("# a\n\n[red]**b**\n", final=True)

    await make_terminal(io.StringIO("hello\n"), stdout).run(answer)
    assert stdout.getvalue() == "# a\n\n[red]**b**\n\n"


async def test_what_was_never_made_final_is_written_all_the_same() -> None:
    """No message vanishes in silence, even if the handler breaks."""
    stdout = io.StringIO()

    async def answer(incoming: object, target: ReplyTarget) -> None:
        await target.edit(await target.post("hal"), "half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await make_terminal(io.StringIO("hello\n"), stdout).run(answer)
    assert stdout.getvalue() == "half\n"


class Pipes:
    """A terminal between two pipes: `write` to it, `read` from it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stdin, self._to_stdin = os.pipe()
        self._from_stdout, self._stdout = os.pipe()
        self.stdin = stack.enter_context(os.fdopen(self._stdin, encoding="utf-8"))
        self.stdout = stack.enter_context(os.fdopen(self._stdout, "w", encoding="utf-8"))
        self._ours = {self._to_stdin, self._from_stdout}
        stack.callback(self._close_all)

    def write(self, data: bytes) -> None:
        """Send bytes to the terminal's input."""
        os.write(self._to_stdin, data)

    async def read(self) -> str:
        """Wait for output."""
        return (await asyncio.to_thread(os.read, self._from_stdout, 1000)).decode()

    def close(self, descriptor: int) -> None:
        """Close an end of ours."""
        if descriptor in self._ours:
            self._ours.remove(descriptor)
            os.close(descriptor)

    def _close_all(self) -> None:
        for descriptor in tuple(self._ours):
            self.close(descriptor)

    def end_input(self) -> None:
        """Let the terminal's input end."""
        self.close(self._to_stdin)

    def stop_reading(self) -> None:
        """Close the pipe that the terminal writes to."""
        self.close(self._from_stdout)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    """Two pipes, closed after the test."""
    with ExitStack() as stack:
        yield Pipes(stack)


@asynccontextmanager
async def running(terminal: Terminal, handler: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    """Run a terminal beside the test and wait for its end."""
    async with asyncio.TaskGroup() as group:
        yield group.create_task(terminal.run(handler))


async def test_reading_a_pipe_does_not_block_the_loop(pipes: Pipes) -> None:
    """While no line comes, others go on; each line is answered as it comes."""
    recorder = Recorder()
    async with running(make_terminal(pipes.stdin, pipes.stdout), recorder):
        pipes.write(b"one\ntw")
        assert await pipes.read() == "one!\n"
        pipes.write(b"o\n")
        assert await pipes.read() == "two!\n"
        pipes.end_input()
    assert recorder.texts == ["one", "two"]


async def test_bytes_that_do_not_decode_are_replaced(pipes: Pipes) -> None:
    """A stray byte costs one character; a character may arrive in two halves."""
    recorder = Recorder()
    async with running(make_terminal(pipes.stdin, pipes.stdout), recorder):
        pipes.write(b"a\xffb\n")
        assert await pipes.read() == "a\N{REPLACEMENT CHARACTER}b!\n"
        half, other = "é".encode()[:1], "é".encode()[1:]
        pipes.write(half)
        pipes.write(other + b"\n\xc3")
        assert await pipes.read() == "é!\n"
        pipes.end_input()
    assert recorder.texts[-1] == "\N{REPLACEMENT CHARACTER}"


async def test_a_regular_file_is_read_to_its_end(tmp_path: Path) -> None:
    """Input may be redirected from a file, which no loop can watch."""
    file = tmp_path / "input"
    file.write_text("one\ntwo")
    recorder = Recorder()
    with file.open() as stdin:
        await make_terminal(stdin, io.StringIO()).run(recorder)
    assert recorder.texts == ["one", "two"]


async def test_it_ends_quietly_when_nobody_reads(pipes: Pipes) -> None:
    """A closed pipe ends it after the answer that found it closed, and nothing is raised later."""
    recorder = Recorder()
    pipes.stop_reading()
    pipes.write(b"one\ntwo\n")
    await make_terminal(pipes.stdin, pipes.stdout).run(recorder)
    assert recorder.texts == ["one"]
    pipes.stdout.close()


async def test_it_can_be_cancelled_while_it_waits_for_input(pipes: Pipes) -> None:
    """No thread waits for a line that never comes, and the loop no longer watches for it."""
    async with running(make_terminal(pipes.stdin, pipes.stdout), Recorder()) as task:
        pipes.write(b"one\n")
        await pipes.read()
        task.cancel()
    assert task.cancelled()
    assert not asyncio.get_running_loop().remove_reader(pipes.stdin)


async def test_half_a_surrogate_pair_does_not_end_it(pipes: Pipes) -> None:
    """What no encoding can express is written as a question mark."""

    async def answer(incoming: object, target: ReplyTarget) -> None:
        await target.post("a\ud800b", final=True)

    pipes.write(b"hello\n")
    pipes.end_input()
    await make_terminal(pipes.stdin, pipes.stdout).run(answer)
    assert await pipes.read() == "a?b\n"


async def test_a_pipe_takes_what_other_places_put_into_a_file() -> None:
    """The text and the file's content are written, and waiting for the next edit takes no time."""
    stdout = io.StringIO()
    reply = PipedReply(SnowflakeSequence(NOW.timestamp), Writer(stdout))
    assert reply.max_length is None
    message_id = await reply.post("one")
    await reply.ready(message_id)
    await reply.edit(message_id, "one!", final=True)
    assert await reply.attach("All of it:", "answer.md", "two") > message_id
    assert stdout.getvalue() == "one!\nAll of it:\n\ntwo\n"


async def test_nothing_can_be_fetched_from_a_pipe() -> None:
    """A line comes without files."""
    reply = PipedReply(SnowflakeSequence(NOW.timestamp), Writer(io.StringIO()))
    with pytest.raises(FileUnreadable, match=r"a\.txt"):
        await reply.fetch(
            Attachment(id=1, name="a.txt", media_type="text/plain", size=1, url="file:a.txt")
        )


async def test_a_terminal_finds_nothing_wrong_with_itself() -> None:
    """It needs its streams only, and has them."""
    assert await make_terminal(io.StringIO(), io.StringIO()).examine() == ()
